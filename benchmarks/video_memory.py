"""What memory a video takes while it is upscaled: its peak, and whether it grows with the video's length.

    python benchmarks/video_memory.py [--frames 120] [--long 10000] [--codec h264] [--preset NAME]

Each row is a process of its own that runs `upscale_video` with a stand-in for the network (each pixel becomes 4x4, no
weights) on a clip that was made for it, its resident memory read from /proc ten times a second (Linux only). "Peak" is
the kernel's own (VmHWM). "Slope": a line through the readings of the second half of a long clip.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from typing import Any

from measure import machine, print_table
from video import SCALE, SIZE, SMALL, ours, write_clip

from sr_batch.videos.codecs import Codec
from sr_batch.videos.encoding import EncodingOptions
from sr_batch.videos.heap import give_large_blocks_back

MEGA = 1e6
SECONDS = 0.1


@dataclass(frozen=True)
class Readings:
    """MB."""

    start: float  # imports done, nothing begun
    peak: float
    during: list[tuple[int, float]]  # (frames done, resident)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=120, help="of the 480p clip; 0: leave it out")
    parser.add_argument("--long", type=int, default=10000, help="of the 64x96 clip; 0: leave it out")
    parser.add_argument("--codec", choices=list(Codec), default=Codec.COPY, type=Codec)
    parser.add_argument("--preset")
    chosen = parser.parse_args()
    encoding = EncodingOptions(chosen.codec, preset=chosen.preset)
    folder = Path(tempfile.mkdtemp())
    print(f"{machine()}\n{chosen.codec}, preset {chosen.preset or 'as it comes'}\n")
    try:
        rows = []
        for frames, size in ((chosen.frames, SIZE), (chosen.long, SMALL)):
            if frames:
                write_clip(folder / "clip.mp4", frames, size)
                rows.append(row(frames, size, measured(folder, encoding)))
        columns = ["", "start, MB", "peak, MB", "most in each tenth, MB", "slope, MB / 1000 frames"]
        print_table(columns, rows)
    finally:
        shutil.rmtree(folder)


def row(frames: int, size: tuple[int, int], found: Readings) -> list[str]:
    tenths = []
    for tenth in range(10):
        first, last = frames * tenth // 10, frames * (tenth + 1) // 10
        tenths.append(max((used for done, used in found.during if first <= done <= last), default=0.0))
    half = [(done, used) for done, used in found.during if done >= frames // 2]
    slope = 1000 * linear_regression(*zip(*half, strict=True)).slope
    return [
        f"{frames} frames, {size[0]}x{size[1]} to {size[0] * SCALE}x{size[1] * SCALE}",
        f"{found.start:.0f}",
        f"{found.peak:.0f}",
        ", ".join(f"{used:.0f}" for used in tenths),
        f"{slope:+.1f}" if frames >= 1000 else "",
    ]


def measured(folder: Path, encoding: EncodingOptions) -> Readings:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    paths = (str(folder / "clip.mp4"), str(folder / "large.mp4"))
    process = context.Process(target=child, args=(*paths, encoding, answer))
    process.start()
    found: Readings = answer.get()
    process.join()
    return found


def child(source: str, target: str, encoding: EncodingOptions, answer: Any) -> None:
    give_large_blocks_back()  # as the command does
    done, over = 0, threading.Event()
    readings: list[tuple[int, float]] = []

    def read() -> None:
        while not over.wait(SECONDS):
            readings.append((done, resident("VmRSS")))

    def progress(now: int, _total: int) -> None:
        nonlocal done
        done = now

    start = resident("VmRSS")
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    ours(Path(source), Path(target), encoding, progress)
    over.set()
    reader.join()
    answer.put(Readings(start, resident("VmHWM"), readings))


def resident(key: str) -> float:
    """MB of this process: now (VmRSS), or its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024 / MEGA


if __name__ == "__main__":
    main()
