"""What a folder of very many photos costs before the first is opened: seconds and memory of finding all jobs.

python benchmarks/scan.py [--files 100000]
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from measure import machine, print_table

from sr_batch.folders import Naming, find_jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="empty ones, named as photos (100000)")
    files = parser.parse_args().files
    print(machine(), "\n")
    rows = []
    for name, folders in (("in 100 folders", 100), ("in one folder", 1)):
        with tempfile.TemporaryDirectory() as root:
            fill(Path(root), files, folders)
            with get_context("spawn").Pool(1) as pool:  # its own peak, not ours
                found, seconds, before, peak = pool.apply(scan, (root,))
        assert found == files
        rows.append([name, f"{found}", f"{seconds:.1f}", f"{before:.0f}", f"{peak:.0f}"])
    print_table(["photos", "", "s", "MB before", "MB at most"], rows)


def fill(root: Path, files: int, folders: int) -> None:
    for index in range(files):
        folder = root / f"{index % folders:03}"
        if index < folders:
            folder.mkdir()
        (folder / f"photo_{index:06}.jpg").touch()


def scan(root: str) -> tuple[int, float, float, float]:
    """(jobs, seconds, peak resident MB before, and after) of finding all jobs and going through them once."""
    before, begun = peak_megabytes(), time.perf_counter()
    count = sum(1 for _ in find_jobs([Path(root)], Naming("x4")).photos())
    return count, time.perf_counter() - begun, before, peak_megabytes()


def peak_megabytes() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
