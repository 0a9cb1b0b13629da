"""Shared by all tests: a tiny model, so that a test takes what it needs and no more, and a cache of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray

from sr_export.model import Prepared, find_model, prepare
from sr_train.checkpoint import save_checkpoint
from sr_train.generator import GeneratorConfig, random_generator

# Shared machines stall: no deadline. The same examples in every run: a failure can be run again.
settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")

SAMPLES = Path(__file__).parent.parent / "samples"
TINY = GeneratorConfig(channels=4, blocks=1, scale=4)

# Started in the background of a script, this process ignores Ctrl-C, and so would every command that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Threads of a tiny network only wait for each other. An engine that is opened sets its own number."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the user's derived files, and subprocesses share the session's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SR_TOOLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a 4x network so small that a photo takes milliseconds; its pictures are colourful noise."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(path, random_generator(TINY, seed=1))
    return path


@pytest.fixture(scope="session")
def tiny(tiny_checkpoint: Path) -> Prepared:
    return prepare(find_model(str(tiny_checkpoint)))


@pytest.fixture(scope="session")
def shipped() -> Prepared:
    """The model that is the default."""
    return prepare(find_model("srresnet"))


@pytest.fixture
def samples() -> list[Path]:
    return sorted(p for p in SAMPLES.iterdir() if p.suffix != ".md")


def random_pixels(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth random colour, uint8 [h, w, 3]: noise at a quarter of the size, enlarged."""
    random = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, height // 4 + 2, width // 4 + 2, generator=random)
    large = torch.nn.functional.interpolate(small, size=(height, width), mode="bilinear")
    pixels: NDArray[np.uint8] = (large[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return pixels


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked gpu are skipped, with the reason, where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))
