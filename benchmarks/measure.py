"""Shared by the benchmarks: interleaved timing, and what machine this is."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

from sr_export.machine import cpu_threads

__all__ = ["WATCH", "interleaved_seconds", "machine", "print_table"]

# A small process in between: on Linux a child's peak memory starts at what its parent had when it was forked.
WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def interleaved_seconds(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each function: one uncounted call each, then all in turn, `rounds` times over.

    Interleaved, so that a machine whose speed drifts treats them alike: quote ratios.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            begun = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}


def machine() -> str:
    """One line: processor, threads, what it computes in, date."""
    name, flags = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
        info = {key.strip(): value.strip() for key, value in lines.items()}
        name = info.get("model name", name)
        found = set(info.get("flags", "").split())
        flags = ", ".join(f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if f in found)
    return f"{name} ({flags}), {cpu_threads()} threads, Python {platform.python_version()}, {date.today()}"


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A markdown table on stdout."""
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
