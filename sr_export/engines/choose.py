"""Which engine runs a model here: the one that was named, or the best that this machine has.

`auto`, best first: TensorRT, TensorRT-RTX, ONNX Runtime on CUDA, PyTorch on CUDA, OpenVINO, ONNX Runtime, PyTorch on
the CPU. Why each better one was not taken is told to `explain`. A named engine, precision or device is used or
refused, never replaced.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from sr_export.derived import derived_file
from sr_export.engines.base import Engine, EngineName, Pixels, Precision
from sr_export.errors import EngineUnavailable
from sr_export.flavour import Flavour, missing_package, refuse_without_gpu
from sr_export.gpu import ask_driver
from sr_export.machine import cpu_threads, has_nvidia_driver
from sr_export.model import ModelKind, Prepared
from sr_export.parity import Difference, compare
from sr_export.shape import BatchShape
from sr_train.errors import SRError

__all__ = ["open_engine", "refuse_what_is_not_built"]

Explain = Callable[[str], None]
Auto = Literal["auto"]
TENSORRT = (EngineName.TRT, EngineName.RTX)


@dataclass(frozen=True)
class _Wish:
    """What open_engine was asked for, besides the model and the engine."""

    precision: Precision | Auto
    device: str  # auto, cpu, mps, cuda:N
    threads: int
    shape: BatchShape | None  # what trt and rtx are built for
    compiled: bool  # torch: through torch.compile
    explain: Explain
    say: Explain


def open_engine(
    prepared: Prepared,
    engine: EngineName | Auto = "auto",
    precision: Precision | Auto = "auto",
    device: str = "auto",
    threads: int | None = None,
    explain: Explain = lambda _: None,
    shape: BatchShape | None = None,
    say: Explain = lambda _: None,
    compiled: bool = False,
) -> Engine:
    """An open engine for the model.

    `device`: "auto", "cpu", "mps", "cuda", "cuda:N", "0,1" or "all": several GPUs get an engine each; "cpu,cpu": two
    engines on the CPU share its threads. `threads`: None for all there are. `shape`: the largest batch and window that
    will come, for engines that are built for one.
    `compiled`: engine torch goes through torch.compile; the other engines compile anyway.
    `explain` is told why better engines were not taken, `say` what takes a while.
    Raises EngineUnavailable with the fix when what was named cannot be had, EngineFailed when it does not load.
    """
    refuse_what_is_not_built(engine, precision)
    precision = _precision_of_file(prepared, precision)
    devices = _parse_devices(device)
    each = _threads_of_each(devices, threads or cpu_threads())
    wishes = [_Wish(precision, one, each, shape, compiled, explain, say) for one in devices]
    first = _open_best(prepared, wishes[0]) if engine == "auto" else _open_named(prepared, engine, wishes[0])
    if len(wishes) == 1:
        return first
    from sr_export.engines.many import ManyEngines

    opened = [first]
    try:
        if first.traits.name is EngineName.TORCH and first.traits.device == "cpu":
            raise EngineUnavailable("engine torch has one pool of CPU threads only; use --engine openvino or onnx")
        opened += [_open_named(prepared, first.traits.name, wish) for wish in wishes[1:]]
    except SRError:
        for one in opened:
            one.close()
        raise
    return ManyEngines(opened)


def _precision_of_file(prepared: Prepared, precision: Precision | Auto) -> Precision | Auto:
    """The deep door runs in fp32, an INT8 file in int8, and int8 needs such a file. Raises EngineUnavailable."""
    if prepared.facts.door == "deep":
        if precision not in ("auto", Precision.FP32):
            raise EngineUnavailable(f"pictures of more than 8 bits are computed in fp32, not {precision}")
        return Precision.FP32
    is_int8 = prepared.facts.precision == Precision.INT8
    if is_int8 and precision in ("auto", Precision.INT8):
        return Precision.INT8
    if is_int8:
        raise EngineUnavailable(
            f"{prepared.model.path.name} is quantised to int8 and cannot run in {precision}; "
            "leave --precision out, or name the model that it was made from"
        )
    if precision is Precision.INT8:
        raise EngineUnavailable(f"model {prepared.model.name} is not quantised; make its INT8 form: sr-calib quantize")
    return precision


def refuse_what_is_not_built(engine: EngineName | Auto, precision: Precision | Auto) -> None:
    """Raise EngineUnavailable for what cannot be had here; cheap: can be asked before a model is made."""
    if engine is EngineName.TORCH and precision is Precision.INT8:
        raise EngineUnavailable("engine torch has no int8; use --engine openvino, onnx, trt or rtx")
    if engine in TENSORRT:
        refuse_without_gpu(Flavour(engine))


def _open_best(prepared: Prepared, wish: _Wish) -> Engine:
    """The first candidate that opens. The last one's error is the caller's."""
    candidates = _candidates(prepared, wish)
    for name, device in candidates[:-1]:
        try:
            return _open_named(prepared, name, _on(wish, device))
        except SRError as error:
            wish.explain(f"{name} on {device}: {error}")
    name, device = candidates[-1]
    return _open_named(prepared, name, _on(wish, device))


def _on(wish: _Wish, device: str) -> _Wish:
    return replace(wish, device=device)


def _candidates(prepared: Prepared, wish: _Wish) -> list[tuple[EngineName, str]]:
    """Engines and devices worth trying, best first, at least one. Raises EngineUnavailable if the device has none."""
    checkpoint = prepared.model.kind is ModelKind.CHECKPOINT
    if wish.device == "mps":
        return [(EngineName.TORCH, "mps")]
    found = _gpu_candidates(wish, checkpoint) if wish.device != "cpu" else []
    if wish.device.startswith("cuda"):
        if not found:
            raise EngineUnavailable(f"nothing can run this model on {wish.device} here; use --device cpu")
        return found
    for name, package in ((EngineName.OPENVINO, "openvino"), (EngineName.ONNX, "onnxruntime")):
        if find_spec(package) is not None:
            found.append((name, "cpu"))
        else:
            wish.explain(f"{name}: the package {package} is not installed (pip install {package})")
    if checkpoint or not found:
        found.append((EngineName.TORCH, "cpu"))
    return found


def _gpu_candidates(wish: _Wish, checkpoint: bool) -> list[tuple[EngineName, str]]:
    if not has_nvidia_driver():
        problem = ask_driver().problem or "no NVIDIA driver or GPU answers"
        wish.explain(f"trt, rtx, onnx on cuda, torch on cuda: {problem}")
        return []
    device = "cuda:0" if wish.device == "auto" else wish.device
    found = []
    for flavour in Flavour:
        missing = missing_package(flavour)
        if missing is None:
            found.append((EngineName(flavour.value), device))
        else:
            wish.explain(f"{flavour}: {missing}")
    if _has_cuda_provider():
        found.append((EngineName.ONNX, device))
    else:
        wish.explain("onnx on cuda: this ONNX Runtime has no CUDA provider (pip install onnxruntime-gpu)")
    if checkpoint:
        found.append((EngineName.TORCH, device))
    else:
        wish.explain("torch on cuda: runs checkpoints only, this model is an ONNX file")
    return found


def _has_cuda_provider() -> bool:
    if find_spec("onnxruntime") is None:
        return False
    from sr_export.engines.onnx_engine import has_cuda_provider

    return has_cuda_provider()


def _open_named(prepared: Prepared, name: EngineName, wish: _Wish) -> Engine:
    """The engine in the precision that was named, or in the fastest one that gives fp32's pictures."""
    if wish.precision != "auto":
        return _open_any(prepared, name, wish.precision, wish)
    for faster in _faster_precisions(name, wish.device, wish.explain):
        try:
            opened = _open_any(prepared, name, faster, wish)
        except SRError as error:  # fp16 of an ONNX model, or of one that overflows
            if name in TENSORRT or faster is Precision.FP16:
                wish.explain(f"{name} {faster}: {error}")
                continue
            raise
        if _passes_gate(prepared, opened, wish.explain):
            return opened
        opened.close()
    return _open_any(prepared, name, Precision.FP32, wish)


def _open_any(prepared: Prepared, name: EngineName, precision: Precision, wish: _Wish) -> Engine:
    if name not in TENSORRT:
        return _open(prepared, name, precision, wish)
    if not (wish.device == "auto" or wish.device.startswith("cuda")):
        raise EngineUnavailable(f"engine {name} runs on NVIDIA GPUs, not on {wish.device}; use --device cuda")
    try:
        from sr_export.engines.tensorrt_engine import DEFAULT_SHAPE, TensorRtEngine
    except ImportError as error:
        _pass_interrupts_on(error)
        raise EngineUnavailable(f"engine {name} cannot be loaded ({error}); use --engine auto") from error
    index = int(wish.device.partition(":")[2] or 0)
    return TensorRtEngine(prepared, Flavour(name.value), precision, index, wish.shape or DEFAULT_SHAPE, wish.say)


def _open(prepared: Prepared, name: EngineName, precision: Precision, wish: _Wish) -> Engine:
    device, threads = wish.device, wish.threads
    try:
        match name:
            case EngineName.OPENVINO:
                from sr_export.engines.openvino_engine import OpenVinoEngine

                if device not in ("auto", "cpu"):
                    raise EngineUnavailable(f"engine openvino runs on the CPU; use --engine torch or onnx for {device}")
                return OpenVinoEngine(prepared, precision, threads)
            case EngineName.ONNX:
                from sr_export.engines.onnx_engine import OnnxEngine

                if device == "mps":
                    raise EngineUnavailable("engine onnx runs on the CPU and on CUDA; use --engine torch for mps")
                return OnnxEngine(prepared, precision, threads, _onnx_device(device))
            case EngineName.TORCH:
                from sr_export.engines.torch_engine import TorchEngine

                return TorchEngine(prepared, precision, _torch_device(device), threads, wish.compiled)
            case EngineName.TRT | EngineName.RTX:
                raise AssertionError(f"{name} is opened by _open_any")
    except ImportError as error:
        _pass_interrupts_on(error)
        raise EngineUnavailable(
            f"engine {name} cannot be loaded ({error}); reinstall sr-toolkit, or use --engine auto"
        ) from error


def _pass_interrupts_on(error: ImportError) -> None:
    """Raise what ended the import, if that was Ctrl-C or the like: compiled modules turn it into an ImportError."""
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, Exception):
            raise cause
        cause = cause.__cause__ or cause.__context__


def _parse_devices(text: str) -> list[str]:
    """One or more devices; "all" is every NVIDIA GPU."""
    if text == "all":
        driver = ask_driver()
        if not driver.gpus:
            raise EngineUnavailable(f"device 'all' means all NVIDIA GPUs, and {driver.problem}; use --device cpu")
        return [f"cuda:{gpu.index}" for gpu in driver.gpus]
    devices = [_parse_device(part.strip()) for part in text.split(",")]
    several_gpus = len(set(devices)) == len(devices) and all(d.startswith("cuda:") for d in devices)
    if len(devices) > 1 and not several_gpus and set(devices) != {"cpu"}:
        raise EngineUnavailable(f"devices '{text}' are not several different GPUs; write them as 0,1 or all")
    return devices


def _threads_of_each(devices: list[str], threads: int) -> int:
    """Of as many engines as there are devices. Raises EngineUnavailable when they are too few."""
    if "cpu" not in devices:
        return threads
    if len(devices) > threads:
        raise EngineUnavailable(f"{len(devices)} engines do not fit on {threads} CPU threads; write cpu fewer times")
    return threads // len(devices)


def _parse_device(device: str) -> str:
    """auto, cpu, mps, cuda:N; a bare number is that GPU and -1 the CPU, as other upscalers have it."""
    if device in ("auto", "cpu", "mps"):
        return device
    if device == "-1":
        return "cpu"
    number = device.removeprefix("cuda").removeprefix(":") or "0"
    if number.isdecimal() and (device.startswith("cuda") or device.isdecimal()):
        return f"cuda:{number}"
    raise EngineUnavailable(f"device '{device}' is not known; use auto, cpu, cuda or cuda:N, or mps, or all")


def _torch_device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda:0" if has_nvidia_driver() else "cpu"


def _onnx_device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda:0" if has_nvidia_driver() and _has_cuda_provider() else "cpu"


def _faster_precisions(name: EngineName, device: str, explain: Explain) -> list[Precision]:
    """The precisions faster than fp32 that this engine could run here, fastest first."""
    if name is EngineName.OPENVINO:
        from sr_export.engines.openvino_engine import computes_in_bf16

        if computes_in_bf16():
            return [Precision.BF16]
        explain("bf16: this CPU does not compute in it (AVX512_BF16 or AMX)")
    on_gpu = {EngineName.TORCH: _torch_device, EngineName.ONNX: _onnx_device}.get(name)
    if name in TENSORRT or (on_gpu is not None and on_gpu(device) != "cpu"):
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
    if traits.device.startswith("cuda"):
        recipe["gpu"] = ", ".join(gpu.name for gpu in ask_driver().gpus)

    def measure(path: Path) -> None:
        difference = _difference_to_fp32(prepared, engine)
        path.write_text(json.dumps({"passes": difference.passes_gate(), "difference": str(difference)}))

    verdict = json.loads(derived_file(prepared.model.name, ".gate.json", recipe, measure).read_text())
    if not verdict["passes"]:
        explain(f"{traits.precision}: too far from fp32 for this model ({verdict['difference']})")
    return bool(verdict["passes"])


def _difference_to_fp32(prepared: Prepared, engine: Engine) -> Difference:
    from sr_export.engines.onnx_engine import OnnxEngine

    crops = _gate_images(engine)
    with OnnxEngine(prepared, Precision.FP32, cpu_threads()) as reference:
        expected = np.concatenate([result.copy() for result in reference.stream(crops)])
    return compare(np.concatenate([result.copy() for result in engine.stream(crops)]), expected)


def _gate_images(engine: Engine) -> list[Pixels]:
    """The probe crops, one to a batch; for an engine of one tile shape, all of them in one image of that shape."""
    from sr_export.halo import probe_crops

    crops = probe_crops()
    if not engine.traits.fixed_tile:
        return [crop[None] for crop in crops]
    side = engine.traits.tile
    strip = np.concatenate(crops, axis=1)
    wide = np.tile(strip, (-(-side // strip.shape[0]), -(-side // strip.shape[1]), 1))
    return [np.ascontiguousarray(wide[None, :side, :side])]
