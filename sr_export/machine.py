"""What this machine offers: how many threads may run, and which number formats the CPU computes in."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import sys
from functools import cache
from pathlib import Path

__all__ = ["cpu_name", "cpu_threads", "has_nvidia_driver"]

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
CPU_INFO = Path("/proc/cpuinfo")


def cpu_name() -> str:
    """The processor as it calls itself, or what Python knows of it."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def cpu_threads() -> int:
    """Threads that can run at once: the CPU affinity, cut to the container's quota (cgroup v1 or v2), rounded up."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(CGROUPS, OWN_CGROUP)
    return max(1, min(affinity, math.ceil(quota)) if quota else affinity)


def _cgroup_quota(root: Path, own: Path) -> float | None:
    """CPUs that the cgroups of this process grant: the least of its own group and all above. None: no limit."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:  # "0::/a/b" in v2, "4:cpu,cpuacct:/a/b" in v1
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        folder = top / group.lstrip("/")
        while True:
            quotas += _quota_of(folder)
            if folder == top or top not in folder.parents:
                break
            folder = folder.parent
    return min(quotas, default=None)


def _quota_of(folder: Path) -> list[float]:
    """CPUs granted by one cgroup folder, v2 or v1; empty without a limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return [int(quota) / int(period)] if quota != "max" and int(quota) > 0 else []
    except (OSError, ValueError):
        return []


@cache
def has_nvidia_driver() -> bool:
    """Whether an NVIDIA driver answers and finds a GPU. Cheap: asks libcuda, imports no framework."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return bool(cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0)
