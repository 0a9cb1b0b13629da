from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from sr_batch.doors import Doors
from sr_export.engines import Engine, EngineName, Pixels, Precision, open_engine
from sr_export.errors import EngineFailed
from sr_export.model import Prepared, prepare
from sr_train.errors import UsageError
from tests.conftest import random_pixels


def _doors(tiny: Prepared, opened: list[str]) -> Doors:
    def open_deep() -> Engine:
        opened.append("deep")
        return open_engine(prepare(tiny.model, door="deep"), EngineName.OPENVINO)

    return Doors(open_engine(tiny, EngineName.OPENVINO, Precision.FP32), open_deep)


def test_eight_bits_go_through_the_pixel_door_and_floats_through_the_deep_one(tiny: Prepared) -> None:
    opened: list[str] = []
    pixels = random_pixels(12, 15)[None]
    with _doors(tiny, opened) as doors:
        [eight] = [result.copy() for result in doors.stream([pixels])]
        assert eight.dtype == np.uint8
        assert opened == []
        [deep] = [result.copy() for result in doors.stream([pixels.astype(np.float32) / np.float32(255)])]
        assert deep.dtype == np.float32
        assert opened == ["deep"]
        list(doors.stream([pixels.astype(np.float32)]))
        assert opened == ["deep"]
    assert np.abs(np.rint(deep * 255) - eight).max() <= 1


def test_no_batches_open_nothing(tiny: Prepared) -> None:
    opened: list[str] = []
    with _doors(tiny, opened) as doors:
        assert list(doors.stream([])) == []
    assert opened == []


def test_an_engine_that_cannot_be_opened_fails_the_picture_that_asked_for_it(tiny: Prepared) -> None:
    def refuse() -> Engine:
        raise EngineFailed("no memory")

    open_pixel: Callable[[], Engine] = partial(open_engine, tiny, EngineName.ONNX, Precision.FP32)
    with Doors(open_pixel(), refuse) as doors:
        with pytest.raises(EngineFailed, match="no memory"):
            list(doors.stream([np.zeros((1, 4, 4, 3), dtype=np.float32)]))
        assert len(list(doors.stream([random_pixels(4, 4)[None]]))) == 1


def test_pictures_that_lie_on_the_engines_device_stay_there(tiny: Prepared) -> None:
    def open_deep() -> Engine:
        return open_engine(prepare(tiny.model, door="deep"), EngineName.TORCH, Precision.FP32)

    pixels = random_pixels(12, 15)[None]
    with Doors(open_engine(tiny, EngineName.TORCH, Precision.FP32), open_deep) as doors:
        batches: list[Pixels] = [pixels, pixels.astype(np.float32) / np.float32(255)]
        for deep, batch in zip((False, True), batches, strict=True):
            [usual] = [result.copy() for result in doors.stream([batch])]
            engine = doors.on_device(deep)
            [result] = list(engine.stream([torch.from_numpy(batch)]))
            assert engine.device == "cpu"
            assert np.array_equal(result.numpy(), usual)


def test_an_engine_without_a_way_in_for_them_says_which_has_one(tiny: Prepared) -> None:
    with _doors(tiny, []) as doors, pytest.raises(UsageError, match="use --engine trt, rtx or torch"):
        doors.on_device(deep=False)
