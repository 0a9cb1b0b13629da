"""Which engine runs a model here: the one that was named, or the best that this machine has.

`auto`, best first: TensorRT, TensorRT-RTX, PyTorch on CUDA, OpenVINO, ONNX Runtime, PyTorch on the CPU. Why each
better one was not taken is told to `explain`. A named engine, precision or device is used or refused, never replaced.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from sr_export.derived import derived_file
from sr_export.engines.base import Engine, EngineName, Precision
from sr_export.errors import EngineUnavailable
from sr_export.flavour import Flavour, refuse_without_gpu
from sr_export.machine import cpu_threads, has_nvidia_driver
from sr_export.model import ModelKind, Prepared
from sr_export.parity import Difference, compare

__all__ = ["open_engine", "refuse_what_is_not_built"]

Explain = Callable[[str], None]
Auto = Literal["auto"]


def open_engine(
    prepared: Prepared,
    engine: EngineName | Auto = "auto",
    precision: Precision | Auto = "auto",
    device: str = "auto",
    threads: int | None = None,
    explain: Explain = lambda _: None,
) -> Engine:
    """An open engine for the model. `device`: "auto", "cpu", "cuda" or "cuda:N". `threads`: None for all there are.

    Raises EngineUnavailable with the fix when what was named cannot be had, EngineFailed when it does not load.
    """
    refuse_what_is_not_built(engine, precision)
    threads = threads or cpu_threads()
    device = _parse_device(device)
    name = engine if engine != "auto" else _choose(prepared, device, explain)
    if precision != "auto":
        return _open(prepared, name, precision, device, threads)
    for faster in _faster_precisions(name, device, explain):
        opened = _open(prepared, name, faster, device, threads)
        if _passes_gate(prepared, opened, explain):
            return opened
        opened.close()
    return _open(prepared, name, Precision.FP32, device, threads)


def refuse_what_is_not_built(engine: EngineName | Auto, precision: Precision | Auto) -> None:
    """Raise EngineUnavailable for what cannot be had here; cheap: can be asked before a model is made."""
    if precision is Precision.INT8:
        raise EngineUnavailable("int8 comes with the calibration release; use --precision auto")
    if engine in (EngineName.TRT, EngineName.RTX):
        refuse_without_gpu(Flavour(engine))


def _choose(prepared: Prepared, device: str, explain: Explain) -> EngineName:
    explain("trt, rtx: come with the TensorRT release")
    if device != "cpu":
        if prepared.model.kind is not ModelKind.CHECKPOINT:
            explain("torch on cuda: runs checkpoints only, this model is an ONNX file")
        elif not has_nvidia_driver():
            explain("torch on cuda: no NVIDIA driver or GPU answers")
        else:
            return EngineName.TORCH
        if device != "auto":
            raise EngineUnavailable(f"nothing can run this model on {device} here; use --device cpu")
    for name, package in ((EngineName.OPENVINO, "openvino"), (EngineName.ONNX, "onnxruntime")):
        if find_spec(package) is not None:
            return name
        explain(f"{name}: the package {package} is not installed (pip install {package})")
    return EngineName.TORCH


def _open(prepared: Prepared, name: EngineName, precision: Precision, device: str, threads: int) -> Engine:
    try:
        match name:
            case EngineName.OPENVINO:
                from sr_export.engines.openvino_engine import OpenVinoEngine

                _refuse_gpu(name, device)
                return OpenVinoEngine(prepared, precision, threads)
            case EngineName.ONNX:
                from sr_export.engines.onnx_engine import OnnxEngine

                _refuse_gpu(name, device)
                return OnnxEngine(prepared, precision, threads)
            case EngineName.TORCH:
                from sr_export.engines.torch_engine import TorchEngine

                return TorchEngine(prepared, precision, _torch_device(device), threads)
            case EngineName.TRT | EngineName.RTX:
                raise AssertionError(f"{name} was refused before")
    except ImportError as error:
        raise EngineUnavailable(
            f"engine {name} cannot be loaded ({error}); reinstall sr-toolkit, or use --engine auto"
        ) from error


def _parse_device(device: str) -> str:
    """auto, cpu, cuda:N; a bare number is that GPU and -1 the CPU, as other upscalers have it."""
    if device in ("auto", "cpu"):
        return device
    if device == "-1":
        return "cpu"
    number = device.removeprefix("cuda").removeprefix(":") or "0"
    if number.isdecimal() and (device.startswith("cuda") or device.isdecimal()):
        return f"cuda:{number}"
    raise EngineUnavailable(f"device '{device}' is not known; use auto, cpu, cuda or cuda:N")


def _refuse_gpu(name: EngineName, device: str) -> None:
    if device.startswith("cuda"):
        raise EngineUnavailable(f"engine {name} runs on the CPU in this release; use --engine torch for {device}")


def _torch_device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda:0" if has_nvidia_driver() else "cpu"


def _faster_precisions(name: EngineName, device: str, explain: Explain) -> list[Precision]:
    """The precisions faster than fp32 that this engine could run here, fastest first."""
    if name is EngineName.OPENVINO:
        from sr_export.engines.openvino_engine import computes_in_bf16

        if computes_in_bf16():
            return [Precision.BF16]
        explain("bf16: this CPU does not compute in it (AVX512_BF16 or AMX)")
    if name is EngineName.TORCH and _torch_device(device) != "cpu":
        return [Precision.FP16]
    return []


def _passes_gate(prepared: Prepared, engine: Engine, explain: Explain) -> bool:
    """Whether this engine's pictures are close enough to fp32 ones; measured once for a model, engine and machine."""
    traits = engine.traits
    recipe = {
        "recipe": "gate 1",
        "source_sha256": prepared.model.sha256,
        "engine": f"{traits.name} {traits.version} {traits.precision} {traits.device}",
        "machine": f"{platform.machine()} {platform.processor()}",
    }

    def measure(path: Path) -> None:
        difference = _difference_to_fp32(prepared, engine)
        path.write_text(json.dumps({"passes": difference.passes_gate(), "difference": str(difference)}))

    verdict = json.loads(derived_file(prepared.model.name, ".gate.json", recipe, measure).read_text())
    if not verdict["passes"]:
        explain(f"{traits.precision}: too far from fp32 for this model ({verdict['difference']})")
    return bool(verdict["passes"])


def _difference_to_fp32(prepared: Prepared, engine: Engine) -> Difference:
    from sr_export.engines.onnx_engine import OnnxEngine
    from sr_export.halo import probe_crops

    crops = [crop[None] for crop in probe_crops()]
    with OnnxEngine(prepared, Precision.FP32, cpu_threads()) as reference:
        expected = np.concatenate([result.copy() for result in reference.stream(crops)])
    return compare(np.concatenate([result.copy() for result in engine.stream(crops)]), expected)
