"""Video frames to RGB and back: our conversion against swscale's, in CPU time and error.

    python benchmarks/colour.py [--size 480x854] [--large 1920x3416]

Error: a photo as BT.709 4:2:0 with its chroma on the left, to RGB, and back. "RGB": mean and largest distance to the
same codes converted in float64 after H.273 with cubic chroma (the first number is a bias, in levels of 8 bits). "luma"
and "chroma": codes of the format, mean and mean distance, after the round trip. Speed: CPU milliseconds of the small
size to RGB and of the large size back: what a frame of a 4x video costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from measure import machine, print_table
from numpy.typing import NDArray

from sr_batch.depth import full_scale
from sr_batch.videos.chroma import enlarge
from sr_batch.videos.colour import Raster, from_rgb, to_rgb
from sr_batch.videos.picture import ChromaSiting, Colour, Picture, Samples
from sr_batch.videos.planes import planes_of

SAMPLE = Path(__file__).parent.parent / "samples" / "coffee.jpg"
ROUNDS = 7
RED, BLUE = 0.2126, 0.0722
BILINEAR, BICUBIC = 0x2, 0x4
ACCURATE = BICUBIC | 0x40000 | 0x2000 | 0x4000  # SWS_ACCURATE_RND, FULL_CHR_H_INT, FULL_CHR_H_INP

Floats = NDArray[np.float64]
ToRgb = Callable[[VideoFrame], NDArray[Any]]
FromRgb = Callable[[NDArray[Any]], VideoFrame]


@dataclass(frozen=True)
class Format:
    name: str
    full_range: bool

    @property
    def colour(self) -> Colour:
        return Colour(1, self.full_range, 1, 1, ChromaSiting.LEFT)

    @property
    def depth(self) -> int:
        return Samples.named(self.name).depth

    def picture(self, size: tuple[int, int]) -> Picture:
        return Picture(*size, Samples.named(self.name), self.colour, None, 0, None, interlaced=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="480x854", help="height x width of what is converted to RGB")
    parser.add_argument("--large", default="1920x3416", help="height x width of what is converted back")
    options = parser.parse_args()
    small, large = (tuple(int(side) for side in text.split("x")) for text in (options.size, options.large))
    print(f"{machine()}\n")
    for video in (Format("yuv420p", False), Format("yuv420p", True), Format("yuv420p10le", False)):
        print(f"\n{video.name}, {'full' if video.full_range else 'limited'} range\n")
        rows = [row(name, video, photo(small), photo(large), *way) for name, way in ways(video).items()]
        print_table(["", "RGB", "luma", "chroma", "to RGB, ms", "back at 4x, ms"], rows)


def photo(size: tuple[int, ...]) -> Floats:
    """[h, w, 3] in [0.1, 0.9]: no colour is outside of RGB after the chroma's interpolation, or few are."""
    pixels = cv2.imread(str(SAMPLE))
    assert pixels is not None
    large = cv2.resize(pixels[..., ::-1], size[::-1], interpolation=cv2.INTER_CUBIC)
    return 0.1 + 0.8 * large.astype(np.float64) / 255


def ways(video: Format) -> dict[str, tuple[ToRgb, FromRgb]]:
    def ours(frame: VideoFrame) -> NDArray[Any]:
        return to_rgb(frame, video.picture((frame.height, frame.width))).rgb

    def back(rgb: NDArray[Any]) -> VideoFrame:
        return from_rgb(Raster(rgb), video.name, video.colour)

    found: dict[str, tuple[ToRgb, FromRgb]] = {}
    flags = {"swscale, as it comes": BILINEAR, "swscale, accurate": ACCURATE}
    for name, flag in flags.items():
        found[name] = (partial(swscale_to, VideoReformatter(), video, flag), partial(swscale_from, video, flag))
    return found | {"ours": (ours, back)}


def swscale_to(reformatter: VideoReformatter, video: Format, flags: int, frame: VideoFrame) -> NDArray[Any]:
    rgb = reformatter.reformat(
        frame, format="rgb48le" if video.depth > 8 else "rgb24", src_colorspace=1,
        src_color_range=2 if video.full_range else 1, dst_color_range=2, interpolation=flags, threads=1,
    ).to_ndarray()  # fmt: skip
    return rgb.astype(np.float32) / np.float32(65535) if video.depth > 8 else np.ascontiguousarray(rgb)


def swscale_from(video: Format, flags: int, rgb: NDArray[Any]) -> VideoFrame:
    if rgb.dtype == np.uint8:
        source = VideoFrame.from_ndarray(rgb, format="rgb24")
    else:
        source = VideoFrame.from_ndarray(np.rint(rgb * np.float32(65535)).astype(np.uint16), format="rgb48le")
    return source.reformat(
        format=video.name,
        dst_colorspace=1,
        dst_color_range=2 if video.full_range else 1,
        interpolation=flags,
        threads=1,
    )


def row(name: str, video: Format, small: Floats, large: Floats, to: ToRgb, back: FromRgb) -> list[str]:
    frame = from_rgb(Raster(small.astype(np.float32)), video.name, video.colour)
    codes = [plane.astype(np.float64) for plane in planes_of(frame)]
    rgb = to(frame)
    top = 255 / full_scale(rgb.dtype)
    distance = rgb.astype(np.float64) * top - exact(codes, video) * 255
    again = [plane.astype(np.float64) for plane in planes_of(back(rgb))]
    luma, chroma = again[0] - codes[0], np.stack(again[1:]) - np.stack(codes[1:])
    scaled = large * full_scale(rgb.dtype)
    pixels = (scaled if rgb.dtype == np.float32 else np.rint(scaled)).astype(rgb.dtype)
    return [
        name,
        f"{distance.mean():+.2f}, {np.abs(distance).max():.1f}",
        f"{luma.mean():+.3f}, {np.abs(luma).mean():.3f}",
        f"{chroma.mean():+.3f}, {np.abs(chroma).mean():.3f}",
        f"{milliseconds(lambda: to(frame)):.1f}",
        f"{milliseconds(lambda: back(pixels)):.1f}",
    ]


def exact(codes: list[Floats], video: Format) -> Floats:
    """RGB in [0, 1] of these codes, in float64; the chroma is enlarged as ours is."""
    size = codes[0].shape
    planes = [
        enlarge(c.astype(np.float32), (size[0], size[1]), (2, 2), (0.5, 0.0)).astype(np.float64) for c in codes[1:]
    ]
    unit, middle = 2.0 ** (video.depth - 8), 2.0 ** (video.depth - 1)
    top = 2.0**video.depth - 1
    luma = codes[0] / top if video.full_range else (codes[0] / unit - 16) / 219
    cb, cr = ((plane - middle) / (top if video.full_range else 224 * unit) for plane in planes)
    red, blue = luma + 2 * (1 - RED) * cr, luma + 2 * (1 - BLUE) * cb
    green = (luma - RED * red - BLUE * blue) / (1 - RED - BLUE)
    return np.clip(np.stack([red, green, blue], -1), 0, 1)


def milliseconds(function: Callable[[], object]) -> float:
    """CPU time of all threads, the median."""
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        function()
        times.append(time.process_time() - begun)
    return float(np.median(times) * 1000)


if __name__ == "__main__":
    main()
