from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sr_export.deploy import deploy
from sr_export.halo import CANDIDATES, RunFloat, measure_halo, measure_reach, probe_crops
from sr_export.model import Prepared
from sr_train.checkpoint import load_checkpoint
from sr_train.generator import Generator, GeneratorConfig, random_generator

Floats = NDArray[np.float32]


def _runner(generator: Generator) -> RunFloat:
    core = deploy(generator).core

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            result: NDArray[np.float32] = core(torch.from_numpy(image)).numpy()
        return result

    return run


def test_the_probe_shows_three_real_pictures() -> None:
    crops = probe_crops()
    assert crops.shape == (3, 96, 96, 3)
    assert all(crop.std() > 20 for crop in crops)


@pytest.mark.parametrize("config", [GeneratorConfig(4, 1, 1), GeneratorConfig(4, 0, 2), GeneratorConfig(4, 2, 4)])
def test_the_reach_of_an_unknown_network_is_found_by_running_it(config: GeneratorConfig) -> None:
    generator = random_generator(config, seed=0)
    assert measure_reach(_runner(generator), config.scale) == generator.halo()


def test_a_network_that_looks_at_the_whole_image_has_no_reach_and_no_halo() -> None:
    def run(image: NDArray[np.float32]) -> Floats:
        centred: Floats = image - image.mean(axis=(2, 3), keepdims=True)
        return centred.repeat(2, axis=2).repeat(2, axis=3)

    assert measure_reach(run, 2) is None
    assert measure_halo(run, 2, None) is None


def test_a_pointwise_network_needs_the_smallest_halo() -> None:
    def run(image: NDArray[np.float32]) -> Floats:
        return image.repeat(2, axis=2).repeat(2, axis=3)

    assert measure_reach(run, 2) == 0
    assert measure_halo(run, 2, 0) == 0
    assert measure_halo(run, 2, None) == CANDIDATES[0]


@pytest.mark.slow
def test_the_shipped_models_measured_halo_keeps_errors_below_half_a_level_on_photos(
    shipped: Prepared, samples: list[Path]
) -> None:
    """On pictures that the measurement did not see: cut in the middle, compared with the whole."""
    halo = shipped.facts.halo_measured
    assert shipped.facts.halo == 40
    assert halo is not None and halo < 40
    generator, _ = load_checkpoint(shipped.model.path)
    run = _runner(generator)
    for path in samples:
        pixels = np.asarray(Image.open(path).convert("RGB"))[80:176, 90:218].transpose(2, 0, 1)[None]
        image = pixels.astype(np.float32) / np.float32(255)
        whole = run(image)[..., 64 * 4 :]
        cut = run(np.ascontiguousarray(image[..., 64 - halo :]))[..., halo * 4 :]
        assert np.abs(whole.clip(0, 1) - cut.clip(0, 1)).max() * 255 < 0.5, path.name
