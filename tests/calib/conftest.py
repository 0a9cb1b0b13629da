"""Shared by the tests of calibration: small samples, and ranges that are measured once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from calib.network import load_network
from calib.ranges import Method, Ranges, measure_ranges
from calib.samples import Samples, built_in_samples
from sr_export.model import Prepared
from tests.conftest import random_pixels


@pytest.fixture(scope="session")
def few() -> Samples:
    """A few built-in tiles: what they measure is rough, and takes a moment."""
    samples = built_in_samples()
    return Samples(tuple(tile[:64, :64] for tile in samples.calibration[:5]), samples.held_out[:3], "few")


@pytest.fixture(scope="session")
def tiny_graph(tiny: Prepared) -> onnx.ModelProto:
    return load_network(tiny)


@pytest.fixture(scope="session")
def tiny_ranges(tiny: Prepared, few: Samples) -> Ranges:
    return ranges_of(tiny, few)


@pytest.fixture(scope="session")
def shipped_ranges(shipped: Prepared) -> Ranges:
    tiles = built_in_samples().calibration[:6]
    return ranges_of(shipped, Samples(tuple(tile[:40, :40] for tile in tiles), (), "few"))


@pytest.fixture(scope="session")
def dark() -> Samples:
    """Nearly black tiles, such as a folder of underexposed photos gives."""
    dark = np.random.default_rng(0).integers(0, 3, (4, 192, 192, 3), dtype=np.uint8)
    return Samples(tuple(dark[:2, :64, :64]), tuple(dark[2:]), "dark")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of eight colour photos of 220x200, four of them dark."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(8):
        pixels = random_pixels(200, 220, seed=index) // (1 + 5 * (index % 2))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return folder


def ranges_of(prepared: Prepared, samples: Samples) -> Ranges:
    return measure_ranges(
        load_network(prepared),
        samples.calibration,
        Method.MINMAX,
        prepared.model.sha256,
        data=(samples.source, samples.sha256()),
        equalised=False,
    )
