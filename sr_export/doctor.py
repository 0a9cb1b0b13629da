"""What this machine has for the engines, and what to install for those it lacks. It asks, and changes nothing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from sr_export.errors import EngineUnavailable
from sr_export.flavour import MODULES, Flavour, load_flavour
from sr_export.gpu import ask_driver
from sr_export.machine import cpu_threads

__all__ = ["Finding", "examine", "to_text"]

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
CPU_INFO = Path("/proc/cpuinfo")
MB = 1e6


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    found: str  # "" if it is not there
    fix: str = ""  # what to install or do to have it

    @property
    def good(self) -> bool:
        return bool(self.found)


def examine() -> list[Finding]:
    """All findings, in a fixed order. A part that breaks while it is asked is a finding too."""
    parts: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("sr-toolkit", _ourselves),
        ("CPU", _cpu),
        ("NVIDIA driver", _gpus),
        ("PyTorch", _torch),
        ("TensorRT", lambda: [_tensorrt(Flavour.TRT)]),
        ("TensorRT-RTX", lambda: [_tensorrt(Flavour.RTX)]),
        ("ONNX Runtime", _onnxruntime),
        ("OpenVINO", _openvino),
    ]
    findings: list[Finding] = []
    for name, ask in parts:
        try:
            findings += ask()
        except Exception as error:  # a broken installation raises anything; the rest of the table is still wanted
            findings.append(Finding(name, "", f"is broken ({type(error).__name__}: {error}); reinstall it"))
    return findings


def to_text(findings: list[Finding]) -> str:
    """The table as plain text, to be copied into a bug report."""
    width = max(len(finding.what) for finding in findings)
    lines = []
    for finding in findings:
        mark = "ok" if finding.good else "--"
        text = finding.found or "not available"
        fix = f"   -> {finding.fix}" if finding.fix else ""
        lines.append(f"{mark}  {finding.what:<{width}}  {text}{fix}")
    return "\n".join(lines)


def _ourselves() -> list[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    system = f"{platform.system()} {platform.machine()}"
    return [Finding("sr-toolkit", f"{version('sr-toolkit')}, Python {python}, {system}")]


def _cpu() -> list[Finding]:
    flags = _cpu_flags()
    known = ", ".join(flag for flag in CPU_FLAGS if flag in flags) or "no AVX-512 or AMX seen"
    bf16 = not flags or {"avx512_bf16", "amx_bf16"} & flags
    fix = "" if bf16 else "bf16 in OpenVINO needs AVX512_BF16 or AMX"
    return [Finding("CPU", f"{cpu_threads()} threads; {known}", fix)]


def _cpu_flags() -> set[str]:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def _gpus() -> list[Finding]:
    driver = ask_driver()
    if driver.problem:
        fix = f"{driver.problem}; for the GPU engines install NVIDIA's driver (r580 or newer for CUDA 13)"
        return [Finding("NVIDIA driver", "", fix)]
    findings = [Finding("NVIDIA driver", f"runs CUDA up to {driver.cuda}")]
    for gpu in driver.gpus:
        capability = f"compute capability {gpu.compute_capability}, {gpu.memory_bytes / MB:.0f} MB"
        findings.append(Finding(f"GPU {gpu.index}", f"{gpu.name}, {capability}"))
    return findings


def _torch() -> list[Finding]:
    if find_spec("torch") is None:
        return [Finding("PyTorch", "", "pip install torch")]
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    usable = (
        "CUDA usable" if torch.cuda.is_available() else "MPS usable" if torch.backends.mps.is_available() else "CPU"
    )
    fix = ""
    if ask_driver().gpus and not torch.cuda.is_available():
        fix = "a GPU is here that PyTorch does not use: reinstall torch from PyTorch's CUDA index"
    return [Finding("PyTorch", f"{torch.__version__} (built for {built}; {usable})", fix)]


def _tensorrt(flavour: Flavour) -> Finding:
    name = {Flavour.TRT: "TensorRT (trt)", Flavour.RTX: "TensorRT-RTX (rtx)"}[flavour]
    try:
        module = load_flavour(flavour)
    except EngineUnavailable as error:
        return Finding(name, "", str(error))
    problem = ask_driver().problem
    fix = f"builds plans only, cannot run them: {problem}" if problem else ""
    return Finding(name, f"{MODULES[flavour]} {module.__version__}", fix)


def _onnxruntime() -> list[Finding]:
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if find_spec("onnxruntime") is None:
        return [Finding("ONNX Runtime", "", "pip install onnxruntime-gpu (or onnxruntime, without CUDA)")]
    import onnxruntime

    names = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    providers = ", ".join(names)
    fix = ""
    if len(both) > 1:
        fix = "onnxruntime and onnxruntime-gpu overwrite each other: pip uninstall both, then install one"
    elif "CUDA" not in names and ask_driver().gpus:
        fix = "for CUDA: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
    return [Finding("ONNX Runtime", f"{onnxruntime.__version__}, built with {providers}", fix)]


def _openvino() -> list[Finding]:
    if find_spec("openvino") is None:
        return [Finding("OpenVINO", "", "pip install openvino")]
    import openvino

    from sr_export.engines.openvino_engine import openvino_core

    core = openvino_core()
    capabilities = ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    devices = ", ".join(core.available_devices)
    return [Finding("OpenVINO", f"{openvino.get_version().split('-')[0]} on {devices}; CPU computes in {capabilities}")]


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
