"""What of the GPU engines can be tested without one: choosing, refusing, backing off, the order of binding calls."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from sr_export.engines import EngineName, Precision, choose, open_engine
from sr_export.engines import onnx_engine as onnx_module
from sr_export.engines.onnx_engine import OnnxEngine
from sr_export.engines.tensorrt_engine import open_at_a_size_that_fits
from sr_export.errors import EngineUnavailable, OutOfDeviceMemory
from sr_export.flavour import Flavour
from sr_export.gpu import Driver, Gpu, ask_driver
from sr_export.model import Prepared
from sr_export.shape import BatchShape
from tests.conftest import random_pixels

no_gpu = pytest.mark.skipif(bool(ask_driver().gpus), reason="this machine has a GPU")


@pytest.mark.parametrize(
    ("limit", "sides"), [(1000, [500]), (300, [500, 384, 256]), (96, [500, 384, 256, 192, 128, 96])]
)
def test_out_of_memory_takes_the_next_smaller_tile_and_says_so(limit: int, sides: list[int]) -> None:
    tried: list[int] = []
    said: list[str] = []

    def attempt(shape: BatchShape) -> str:
        tried.append(shape.height)
        if shape.height > limit:
            raise OutOfDeviceMemory("out of memory")
        return "opened"

    assert open_at_a_size_that_fits(attempt, BatchShape(2, 500, 500), said.append) == (
        "opened", BatchShape(2, sides[-1], sides[-1])
    )  # fmt: skip
    assert tried == sides and len(said) == len(sides) - 1


def test_out_of_memory_at_the_smallest_tile_is_an_error() -> None:
    def attempt(_shape: BatchShape) -> None:
        raise OutOfDeviceMemory("out of memory")

    with pytest.raises(OutOfDeviceMemory):
        open_at_a_size_that_fits(attempt, BatchShape(1, 256, 256), lambda _: None)


def test_auto_tries_the_gpu_engines_in_order_and_gives_each_reason(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a driver that answers, but nothing that works on it: the CPU is taken in the end."""
    tried: list[str] = []
    real_open = choose._open_any

    def failing(prepared: Prepared, name: EngineName, precision: Precision, wish: choose._Wish) -> object:
        tried.append(f"{name} {wish.device}")
        if wish.device != "cpu":
            raise EngineUnavailable(f"{name} does not work")
        return real_open(prepared, name, precision, wish)

    monkeypatch.setattr(choose, "has_nvidia_driver", lambda: True)
    monkeypatch.setattr(choose, "missing_package", lambda _: None)
    monkeypatch.setattr(choose, "_has_cuda_provider", lambda: True)
    monkeypatch.setattr(choose, "_open_any", failing)
    reasons: list[str] = []
    with open_engine(tiny, explain=reasons.append) as engine:
        assert engine.traits.name is EngineName.OPENVINO
    order = list(dict.fromkeys(tried))
    assert order == ["trt cuda:0", "rtx cuda:0", "onnx cuda:0", "torch cuda:0", "openvino cpu"]
    for name in ("trt", "rtx", "onnx", "torch"):
        assert any(f"{name} on cuda:0: {name} does not work" in reason for reason in reasons)


def test_a_missing_tensorrt_is_a_reason_with_the_command_that_installs_it(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "has_nvidia_driver", lambda: True)
    monkeypatch.setattr(choose, "missing_package", lambda flavour: f"no {flavour} (pip install sr-toolkit[{flavour}])")
    reasons: list[str] = []
    wish = choose._Wish("auto", "cuda:0", 1, None, False, reasons.append, reasons.append)
    names = [name for name, _ in choose._candidates(tiny, wish)]
    assert EngineName.TRT not in names and EngineName.TORCH in names
    assert any("sr-toolkit[rtx]" in reason for reason in reasons)


@no_gpu
@pytest.mark.parametrize("name", [EngineName.TRT, EngineName.RTX])
def test_a_named_tensorrt_engine_without_a_gpu_is_refused(name: EngineName, tiny: Prepared) -> None:
    with pytest.raises(EngineUnavailable, match=rf"engine {name} cannot run here: .*driver.*--engine auto"):
        open_engine(tiny, name)


@no_gpu
def test_the_engine_itself_asks_the_driver_before_it_touches_tensorrt(tiny: Prepared) -> None:
    from sr_export.engines.tensorrt_engine import TensorRtEngine

    with pytest.raises(EngineUnavailable, match="driver"):
        TensorRtEngine(tiny, Flavour.RTX, Precision.FP16)


def test_bound_inputs_and_outputs_give_what_a_plain_run_gives(tiny: Prepared) -> None:
    """The calls of the CUDA path, on CPU memory."""
    with OnnxEngine(tiny, Precision.FP32, 1) as engine:
        for height, width in ((16, 24), (5, 7)):
            batch = random_pixels(height, width)[None]
            assert np.array_equal(engine._run_bound(batch), engine._run(batch))


def test_a_provider_that_silently_fell_back_to_the_cpu_is_refused(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FellBack:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get_providers(self) -> list[str]:
            return [onnx_module.CPU]

    monkeypatch.setattr(onnx_module, "ask_driver", lambda: Driver((Gpu(0, "A", "8.9", 1),), "13.0"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [onnx_module.CUDA, onnx_module.CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", FellBack)
    with pytest.raises(EngineUnavailable, match="CUDA provider does not load here"):
        OnnxEngine(tiny, Precision.FP32, 1, "cuda:0")


def test_an_onnxruntime_without_cuda_is_refused_with_the_package_that_has_it(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [onnx_module.CPU])
    with pytest.raises(EngineUnavailable, match="pip install onnxruntime-gpu"):
        OnnxEngine(tiny, Precision.FP32, 1, "cuda:0")
