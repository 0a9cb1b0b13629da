"""The few calls that only full TensorRT has a use for, together here because none could be run where this was written.

Each is in TensorRT's Python API reference (docs.nvidia.com/deeplearning/tensorrt, "Python API", IBuilderConfig):

    builder_optimization_level     0 to 5, 3 is the default ("Builder Optimization Level" in the developer guide)
    set_memory_pool_limit          MemoryPoolType.WORKSPACE, in bytes ("Optimizing Builder Performance")
    hardware_compatibility_level   HardwareCompatibilityLevel ("Hardware Compatibility")
    create_timing_cache, set_timing_cache, ITimingCache.serialize    ("Timing Cache")

The names and argument types are checked against TensorRT-RTX's binding, which carries them too (stubs/).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

from sr_export.derived import cache_folder
from sr_export.gpu import Gpu
from sr_train.atomic_file import atomic_file

if TYPE_CHECKING:
    from types import ModuleType

    import tensorrt_rtx

__all__ = ["TimingCache", "tune"]


class TimingCache:
    """How long kernels took on one GPU with one TensorRT version: makes the next build there much shorter."""

    def __init__(self, gpu: Gpu, version: str) -> None:
        key = hashlib.sha256(f"{gpu.name}|{gpu.compute_capability}|{version}".encode()).hexdigest()
        self._path = cache_folder() / f"tensorrt-{key[:20]}.timing"

    def attach(self, config: tensorrt_rtx.IBuilderConfig) -> None:
        try:
            known = self._path.read_bytes()
        except OSError:
            known = b""
        # With False TensorRT itself refuses a cache of another GPU or version, and an empty one takes its place.
        if not config.set_timing_cache(config.create_timing_cache(known), False):
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def save(self, config: tensorrt_rtx.IBuilderConfig) -> None:
        """Keep what this build has learnt. A cache that cannot be written only costs time."""
        cache: tensorrt_rtx.ITimingCache = config.get_timing_cache()
        with suppress(OSError), atomic_file(self._path) as partial:
            partial.write_bytes(bytes(cache.serialize()))


def tune(
    binding: ModuleType,
    config: tensorrt_rtx.IBuilderConfig,
    optimization_level: int,
    workspace_bytes: int,
    portable: bool,
    timing: TimingCache | None,
) -> None:
    """Set the options that PlanOptions describes. `binding`: the imported tensorrt."""
    if TYPE_CHECKING:
        import tensorrt_rtx as trt
    else:
        trt = binding
    config.builder_optimization_level = optimization_level
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    if portable:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    if timing is not None:
        timing.attach(config)
