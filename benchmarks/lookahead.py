"""What looking ahead at fewer frames costs x264: bytes and luma PSNR of real clips, at their own size.

    python benchmarks/lookahead.py CLIP ... [--frames 250] [--ahead 40,20,10] [--preset medium]

Each clip is encoded with each look-ahead at two qualities (CRF 17 and 20, 8 bits 4:2:0), decoded again and compared
with what went in. The last column is the size at equal PSNR against the first look-ahead, by the line through its two
points (log bytes over dB).
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from measure import machine, print_table

from sr_batch.videos.planes import planes_of

QUALITIES = (17, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--ahead", default="40,20,10", help="frames, the first is what the others are compared with")
    parser.add_argument("--preset", default="medium")
    chosen = parser.parse_args()
    print(f"{machine()}, x264 {chosen.preset}\n")
    rows = []
    for clip in chosen.clips:
        frames = list(islice(decoded(clip), chosen.frames))
        points = {
            ahead: [encoded(frames, chosen.preset, ahead, quality) for quality in QUALITIES]
            for ahead in map(int, chosen.ahead.split(","))
        }
        usual = next(iter(points.values()))
        for ahead, found in points.items():
            cells = [f"{size / 1000:.0f} kB, {psnr:.2f} dB" for size, psnr in found]
            rows.append([clip.name, str(ahead), *cells, f"{100 * (larger(usual, found[0]) - 1):+.1f} %"])
    print_table(["clip", "frames ahead", *(f"crf {quality}" for quality in QUALITIES), "size at equal PSNR"], rows)


def decoded(source: Path | io.BytesIO) -> Iterator[VideoFrame]:
    with av.open(source, "r") as container:
        for frame in container.decode(video=0):
            yield frame.reformat(format="yuv420p")


def encoded(frames: list[VideoFrame], preset: str, ahead: int, quality: int) -> tuple[int, float]:
    """(bytes, luma PSNR in dB)."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        options = {"preset": preset, "crf": str(quality), "rc-lookahead": str(ahead)}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.codec_context.height, stream.codec_context.width = frames[0].height, frames[0].width
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, 1 / stream.codec_context.framerate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    size = len(file.getvalue())
    file.seek(0)
    errors = [
        float(np.mean((planes_of(before)[0].astype(np.float32) - planes_of(after)[0]) ** 2))
        for before, after in zip(frames, decoded(file), strict=True)
    ]
    return size, 10 * math.log10(255**2 / float(np.mean(errors)))


def larger(usual: list[tuple[int, float]], found: tuple[int, float]) -> float:
    """The size of a point against that on the usual line with the same PSNR."""
    (size, psnr), (other, lower) = usual
    slope = math.log(size / other) / (psnr - lower)
    return found[0] / (size * math.exp(slope * (found[1] - psnr)))


if __name__ == "__main__":
    main()
