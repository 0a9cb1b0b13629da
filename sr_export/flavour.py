"""The two TensorRTs, `tensorrt` and `tensorrt_rtx`: one Python API, two packages. Found, imported, or refused."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType

from sr_export.errors import EngineUnavailable
from sr_export.gpu import ask_driver

__all__ = ["Flavour", "load_flavour", "missing_package", "refuse_without_gpu"]


class Flavour(StrEnum):
    TRT = "trt"  # full TensorRT: times kernels on the GPU that it builds for
    RTX = "rtx"  # TensorRT-RTX: builds for chosen GPUs anywhere, finishes on the user's


MODULES = {Flavour.TRT: "tensorrt", Flavour.RTX: "tensorrt_rtx"}
PACKAGES = {
    # NVIDIA's PyPI entries for full TensorRT fetch the wheels from NVIDIA's own package index.
    Flavour.TRT: ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    Flavour.RTX: ("tensorrt-rtx",),
}
INSTALL = {Flavour.TRT: "pip install tensorrt", Flavour.RTX: "pip install tensorrt-rtx"}
LEAST_MAJOR = {Flavour.TRT: 10, Flavour.RTX: 1}  # strongly typed networks from 10 on


def missing_package(flavour: Flavour) -> str | None:
    """What to install for this flavour, as a clause; None if its Python package is there (it is not imported)."""
    if find_spec(MODULES[flavour]) is None:
        return f"the package {MODULES[flavour]} is not installed ({INSTALL[flavour]})"
    for package in PACKAGES[flavour]:
        try:
            if int(version(package).partition(".")[0]) < LEAST_MAJOR[flavour]:
                return f"{package} {version(package)} is too old ({INSTALL[flavour]} -U)"
        except (PackageNotFoundError, ValueError):
            continue
    return None


def refuse_without_gpu(flavour: Flavour) -> None:
    """Raise EngineUnavailable, in one sentence, unless there is a GPU with a driver and the package is installed.

    Quick: TensorRT is not imported.
    """
    problem = ask_driver().problem or missing_package(flavour)
    if problem:
        raise EngineUnavailable(
            f"engine {flavour} cannot run here: {problem}; use --engine auto, or see sr-export doctor"
        )


def load_flavour(flavour: Flavour) -> ModuleType:
    """The imported package. Building for TensorRT-RTX needs no GPU, so none is asked for here.

    Raises EngineUnavailable when it is missing, or is there without the libraries that it needs.
    """
    problem = missing_package(flavour)
    if problem:
        raise EngineUnavailable(f"{flavour} plans cannot be made here: {problem}")
    try:
        module = import_module(MODULES[flavour])
        assert module.__version__ and module.Builder  # a folder without its binding imports as an empty package
    except (ImportError, OSError, AttributeError) as error:
        raise EngineUnavailable(
            f"{MODULES[flavour]} is installed but does not load ({error}); "
            f"reinstall it: {INSTALL[flavour]} --force-reinstall"
        ) from error
    return module
