from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sr_export.deploy import DeepDoor, deploy
from sr_export.engines import Engine, EngineName, Pixels, Precision, Watch, choose, open_engine
from sr_export.engines.openvino_engine import computes_in_bf16
from sr_export.errors import EngineUnavailable
from sr_export.model import ModelKind, Prepared, prepare
from sr_export.parity import Difference, compare
from sr_train.checkpoint import load_checkpoint
from sr_train.generator import random_generator
from tests.conftest import TINY, random_pixels

CPU_ENGINES = (EngineName.TORCH, EngineName.ONNX, EngineName.OPENVINO)


def _run(engine: Engine, batches: Sequence[Pixels]) -> list[Pixels]:
    return [result.copy() for result in engine.stream(batches)]


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_batches_of_many_shapes_come_back_in_order_and_equal_torch(name: EngineName, tiny: Prepared) -> None:
    module = deploy(random_generator(TINY, seed=1))
    shapes = [(1, 20, 30), (2, 8, 8), (1, 1, 1), (3, 20, 30), (1, 5, 40)]
    batches = [np.stack([random_pixels(h, w, 10 * i + j) for j in range(n)]) for i, (n, h, w) in enumerate(shapes)]
    with open_engine(tiny, name, Precision.FP32) as engine:
        results = _run(engine, batches)
        assert engine.traits.scale == 4
    assert len(results) == len(batches)
    for batch, result in zip(batches, results, strict=True):
        expected = module(torch.from_numpy(batch)).numpy()
        assert compare(result, expected).max_levels <= 1


OPEN_CLOSE_INTERRUPT = """
import os, signal, sys
from pathlib import Path
from sr_export.engines import Precision, open_engine
from sr_export.model import find_model, prepare

model = prepare(find_model(Path(sys.argv[1])))
engines = [open_engine(model, sys.argv[2], Precision.FP32, threads=1) for _ in range(2)]
for engine in engines:
    engine.close()
del engine, engines
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_ctrl_c_after_two_engines_were_closed_is_one(name: EngineName, tiny_checkpoint: Path) -> None:
    """OpenVINO left a signal stack behind that was no more: a segmentation fault."""
    done = subprocess.run([sys.executable, "-c", OPEN_CLOSE_INTERRUPT, str(tiny_checkpoint), name], capture_output=True)
    assert done.returncode == 130, done.stderr.decode()


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_the_deep_door_keeps_the_steps_of_16_bits(name: EngineName, tiny: Prepared) -> None:
    """Neither the ends nor the arithmetic between them round to 8 bits, or to a half precision's 8 or 11."""
    ramp = np.linspace(0.2, 0.6, 4096, dtype=np.float32).reshape(1, 16, 256, 1).repeat(3, axis=3)
    expected = DeepDoor(deploy(load_checkpoint(tiny.model.path)[0]).core)(torch.from_numpy(ramp)).numpy()
    with open_engine(prepare(tiny.model, door="deep"), name) as engine:
        assert engine.traits.precision is Precision.FP32
        [result] = _run(engine, [ramp])
    assert result.dtype == np.float32
    assert result.shape == (1, 64, 1024, 3)
    assert np.abs(result - expected).max() <= 1e-4 / 4
    with pytest.raises(EngineUnavailable, match="computed in fp32"):
        open_engine(prepare(tiny.model, door="deep"), name, Precision.BF16)


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_windows_of_a_picture_that_may_not_be_written_are_taken_as_they_are(name: EngineName, tiny: Prepared) -> None:
    picture = random_pixels(40, 50)
    picture.flags.writeable = False
    window = picture[None, ::-1, 3:40]
    with open_engine(tiny, name) as engine:
        results = _run(engine, [picture[None], window, np.ascontiguousarray(window)])
    assert np.array_equal(results[1], results[2])


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_an_abandoned_stream_does_not_disturb_the_next(name: EngineName, tiny: Prepared) -> None:
    batches = [random_pixels(30, 30, seed)[None] for seed in range(5)]
    with open_engine(tiny, name) as engine:
        expected = _run(engine, batches)
        stream = engine.stream(batches)
        next(stream)
        stream.close()
        for result, wanted in zip(_run(engine, batches), expected, strict=True):
            assert np.array_equal(result, wanted)
        assert _run(engine, []) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [EngineName.ONNX, EngineName.OPENVINO])
def test_the_shipped_model_gives_torchs_pictures_of_the_samples(
    name: EngineName, shipped: Prepared, samples: list[Path]
) -> None:
    """Rounding at a tie is all that may differ: one level, on almost no pixel."""
    for path in samples[:3]:
        pixels = np.asarray(Image.open(path).convert("RGB"))[None, 60:188, 60:188]
        results = []
        for engine_name in (EngineName.TORCH, name):
            with open_engine(shipped, engine_name, Precision.FP32) as engine:
                results += _run(engine, [np.ascontiguousarray(pixels)])
        difference = compare(results[1], results[0])
        assert difference.max_levels <= 1
        assert difference.psnr_db > 70


def _bf16_emulated(module: nn.Module) -> nn.Module:
    """The module as bf16 hardware runs it: weights and each layer's output rounded to bfloat16, sums in float32."""
    twin = copy.deepcopy(module)
    for layer in twin.modules():
        if isinstance(layer, (nn.Conv2d, nn.PReLU)):
            for parameter in layer.parameters():
                parameter.data = parameter.data.bfloat16().float()
            layer.register_forward_hook(lambda _layer, _inputs, output: output.bfloat16().float())
    return twin


def _on_samples(samples: list[Path], first: nn.Module, second: nn.Module) -> Difference:
    crops = [np.asarray(Image.open(path).convert("RGB"))[100:196, 100:196] for path in samples]
    batch = torch.from_numpy(np.stack(crops))
    with torch.inference_mode():
        return compare(first(batch).numpy(), second(batch).numpy())


@pytest.mark.slow
def test_bf16_emulated_in_torch_keeps_50_db_on_the_samples(shipped: Prepared, samples: list[Path]) -> None:
    """The arithmetic of bf16, on any CPU. The engine itself is tested below, where the CPU has it."""
    module = deploy(load_checkpoint(shipped.model.path)[0])
    assert _on_samples(samples, _bf16_emulated(module), module).psnr_db >= 50


@pytest.mark.slow
@pytest.mark.skipif(not computes_in_bf16(), reason="this CPU does not compute in bf16 (AVX512_BF16 or AMX)")
def test_openvino_bf16_keeps_50_db_on_the_samples(shipped: Prepared, samples: list[Path]) -> None:
    batches = [np.asarray(Image.open(path).convert("RGB"))[None, 60:188, 60:188].copy() for path in samples]
    with open_engine(shipped, EngineName.TORCH, Precision.FP32) as engine:
        expected = np.concatenate(_run(engine, batches))
    with open_engine(shipped, EngineName.OPENVINO, Precision.BF16) as engine:
        assert compare(np.concatenate(_run(engine, batches)), expected).psnr_db >= 50


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about its own insides
def test_torch_compiled_gives_the_same_pictures_at_any_shape(tiny: Prepared) -> None:
    batches = [random_pixels(20, 30)[None], random_pixels(33, 17)[None]]
    with open_engine(tiny, EngineName.TORCH, device="cpu") as engine:
        expected = _run(engine, batches)
    with open_engine(tiny, EngineName.TORCH, device="cpu", compiled=True) as engine:
        for result, wanted in zip(_run(engine, batches), expected, strict=True):
            assert compare(result, wanted).max_levels <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_torch_on_cuda_gives_the_cpus_pictures(precision: Precision, shipped: Prepared, samples: list[Path]) -> None:
    batches = [np.asarray(Image.open(path).convert("RGB"))[None, 60:188, 60:188].copy() for path in samples]
    with open_engine(shipped, EngineName.TORCH, Precision.FP32, "cpu") as engine:
        expected = np.concatenate(_run(engine, batches))
    with open_engine(shipped, EngineName.TORCH, precision, "cuda") as engine:
        assert compare(np.concatenate(_run(engine, batches)), expected).passes_gate()


def test_auto_takes_openvino_and_says_why_nothing_better(tiny: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "has_nvidia_driver", lambda: False)
    reasons: list[str] = []
    with open_engine(tiny, explain=reasons.append) as engine:
        assert engine.traits.name is EngineName.OPENVINO
    assert any("no NVIDIA driver" in reason for reason in reasons)


def test_auto_falls_to_the_next_engine_when_a_package_is_missing(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda name: None if name == "openvino" else object())
    reasons: list[str] = []
    with open_engine(tiny, device="cpu", explain=reasons.append) as engine:
        assert engine.traits.name is EngineName.ONNX
    assert any("pip install openvino" in reason for reason in reasons)


class _FakeFast:
    """An engine of a faster precision whose pictures are off by a constant."""

    def __init__(self, engine: Engine, off: int) -> None:
        self._engine, self._off, self.closed = engine, off, False
        self.traits = replace(engine.traits, precision=Precision.BF16, version=f"fake {off}")

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:
        for result in self._engine.stream(batches, watch):
            yield np.clip(result.astype(int) + self._off, 0, 255).astype(np.uint8)

    def close(self) -> None:
        self.closed = True
        self._engine.close()


@pytest.mark.parametrize(("off", "taken"), [(0, Precision.BF16), (20, Precision.FP32)])
def test_auto_takes_a_faster_precision_only_if_its_pictures_pass_the_gate(
    off: int, taken: Precision, tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = choose._open

    def fake_open(prepared: Prepared, name: EngineName, precision: Precision, wish: choose._Wish) -> object:
        engine = real_open(prepared, name, Precision.FP32, wish)
        return _FakeFast(engine, off) if precision is Precision.BF16 else engine

    monkeypatch.setattr(choose, "_faster_precisions", lambda *_: [Precision.BF16])
    monkeypatch.setattr(choose, "_open", fake_open)
    reasons: list[str] = []
    opened = open_engine(tiny, EngineName.OPENVINO, explain=reasons.append)
    assert opened.traits.precision is taken
    assert any("too far from fp32" in reason for reason in reasons) == (taken is Precision.FP32)
    opened.close()


@pytest.mark.parametrize(
    ("engine", "precision", "device", "words"),
    [
        ("trt", "auto", "auto", "use --engine auto"),
        ("rtx", "auto", "auto", "use --engine auto"),
        ("auto", "int8", "auto", "make its INT8 form: sr-calib quantize"),
        ("onnx", "bf16", "cpu", "use --precision fp32"),
        ("openvino", "fp16", "cpu", "use --precision fp32, bf16 or int8"),
        ("torch", "bf16", "cpu", "use --precision fp32"),
        ("openvino", "auto", "cuda:0", "use --engine torch"),
        ("auto", "auto", "tpu", "use auto, cpu, cuda or cuda:N"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_fix(
    engine: str, precision: str, device: str, words: str, tiny: Prepared
) -> None:
    with pytest.raises(EngineUnavailable, match=words):
        open_engine(
            tiny,
            "auto" if engine == "auto" else EngineName(engine),
            "auto" if precision == "auto" else Precision(precision),
            device,
        )


@pytest.mark.skipif(computes_in_bf16(), reason="this CPU computes in bf16")
def test_bf16_is_refused_on_a_cpu_without_it(tiny: Prepared) -> None:
    with pytest.raises(EngineUnavailable, match="use --precision fp32"):
        open_engine(tiny, EngineName.OPENVINO, Precision.BF16)


def test_torch_refuses_an_onnx_model_with_what_runs_it(tiny: Prepared) -> None:
    foreign = replace(tiny, model=replace(tiny.model, kind=ModelKind.ONNX))
    with pytest.raises(EngineUnavailable, match="use --engine openvino or onnx"):
        open_engine(foreign, EngineName.TORCH)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "0", "7"])
def test_a_gpu_that_is_not_there_is_refused(device: str, tiny: Prepared) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(EngineUnavailable, match="use --device cpu"):
        open_engine(tiny, EngineName.TORCH, device=device)
    with pytest.raises(EngineUnavailable, match="use --device cpu"):
        open_engine(tiny, device=device)


def test_ctrl_c_while_an_engine_is_imported_stays_ctrl_c(tiny: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled modules answer it with an ImportError of their own."""

    class Interrupted(dict[str, object]):
        def __getattr__(self, name: str) -> object:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as interrupt:
                raise ImportError("initialization failed") from interrupt

    monkeypatch.setitem(sys.modules, "sr_export.engines.openvino_engine", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        open_engine(tiny, EngineName.OPENVINO, Precision.FP32)
