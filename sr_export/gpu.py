"""The NVIDIA GPUs of this machine, asked of the driver itself, before any framework is touched.

TensorRT raises "factory function returned nullptr", or crashes the interpreter, where no driver is. So the driver's
library is asked first, through ctypes. Calls and numbers: CUDA Driver API, docs.nvidia.com/cuda/cuda-driver-api,
"Initialization", "Version Management", "Device Management".
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["Driver", "Gpu", "ask_driver"]

NAME_BYTES = 256
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    index: int  # as CUDA numbers them (CUDA_VISIBLE_DEVICES counts)
    name: str
    compute_capability: str  # "8.9"
    memory_bytes: int


@dataclass(frozen=True)
class Driver:
    """What the driver answers. Without a GPU, `problem` says why, as a clause."""

    gpus: tuple[Gpu, ...] = ()
    cuda: str = ""  # newest CUDA that the driver runs: "13.0"
    problem: str = ""


@cache
def ask_driver() -> Driver:
    """The driver's GPUs, or why there are none. Takes milliseconds without a driver; never raises."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return Driver(problem=f"no NVIDIA driver is installed ({LIBRARY} is not there)")
    return _ask(library)


def _ask(library: Any) -> Driver:
    """`library`: the loaded driver library, or a stand-in with the same functions."""
    status = library.cuInit(0)
    if status != 0:
        return Driver(problem=f"the NVIDIA driver finds no usable GPU (cuInit gives error {status})")
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDeviceGetCount(ctypes.byref(count))
    library.cuDriverGetVersion(ctypes.byref(version))
    if count.value == 0:
        return Driver(problem="the NVIDIA driver finds no GPU")
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Driver(tuple(_ask_gpu(library, index) for index in range(count.value)), cuda)


def _ask_gpu(library: Any, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    memory, name = ctypes.c_size_t(0), ctypes.create_string_buffer(NAME_BYTES)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, NAME_BYTES, device)
    library.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(index, name.value.decode(errors="replace"), f"{major.value}.{minor.value}", memory.value)
