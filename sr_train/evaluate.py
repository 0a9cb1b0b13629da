"""Test pictures through a generator: what validation shows, and the table of `sr-train eval`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sr_train.degrade import shrink, through_jpeg
from sr_train.errors import DataError, OutOfMemory, is_out_of_memory
from sr_train.generator import Generator
from sr_train.lpips import LEAST_SIDE, Lpips
from sr_train.metrics import SSIM_TAPS, Pixels, Scores, score
from sr_train.pictures import Pictures, Window
from sr_train.pixels import hr_to_tensor, lr_to_tensor, tensor_to_bytes

__all__ = [
    "Figures",
    "TestImage",
    "Upscale",
    "bicubic",
    "least_side",
    "markdown",
    "mean_figures",
    "measure",
    "read_test_images",
    "set_name",
    "to_json",
    "upscaler",
]

Upscale = Callable[[Pixels], Pixels]  # uint8 HWC RGB -> the same, `scale` times as large


@dataclass(frozen=True)
class TestImage:
    """An HR picture and the LR picture that is made of it: uint8 HWC RGB, HR `scale` times as large."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    name: str
    lr: Pixels
    hr: Pixels


@dataclass(frozen=True)
class Figures:
    """How near pictures are to their originals; of one picture, or the means over several."""

    psnr_y: float  # dB, on Y
    ssim_y: float  # on Y, at most 1
    psnr_rgb: float  # dB, on RGB: about 1.8 dB lower than on Y
    lpips: float | None  # LPIPS-alex, lower is better; None: its weights were not given, or the picture is too small


def least_side(scale: int) -> int:
    """Pixels that an HR picture needs on each side to be measured: SSIM's window without the border."""
    return SSIM_TAPS + 2 * scale + scale - 1


def read_test_images(
    pictures: Pictures,
    scale: int,
    lr: Pictures | None = None,
    *,
    most: int = 0,
    size: int = 0,
    jpeg_quality: int | None = None,
) -> Iterator[TestImage]:
    """The pictures, cropped at the right and bottom to a multiple of `scale`, one after the other.

    LR is made by antialiased bicubic, or read from `lr`. `most`: of how many (0: all); `size`: only the centre, at
    most so many HR pixels a side (0: whole); `jpeg_quality`: LR goes through a JPEG of this quality.
    """
    count = len(pictures.names)
    for index in range(min(most, count) if most else count):
        height, width = (side - side % scale for side in pictures.sizes[index])
        kept = [min(side, size - size % scale) if size else side for side in (height, width)]
        top, left = ((side - keep) // 2 // scale * scale for side, keep in zip((height, width), kept, strict=True))
        window = Window(top, left, kept[0], kept[1])
        hr = pictures.read(index, window)
        small = lr.read(index, window.divided(scale)) if lr else shrink(hr, scale)
        if jpeg_quality is not None:
            small = np.asarray(through_jpeg(Image.fromarray(small), jpeg_quality))
        yield TestImage(pictures.names[index], np.array(small), np.array(hr))


def bicubic(scale: int) -> Upscale:
    """Pillow's bicubic enlargement."""

    def upscale(pixels: Pixels) -> Pixels:
        size = (pixels.shape[1] * scale, pixels.shape[0] * scale)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))

    return upscale


def upscaler(generator: Generator, device: torch.device) -> Upscale:
    """The generator (on `device`) as a function of pictures, in float32. Raises OutOfMemory for one too large."""

    def upscale(pixels: Pixels) -> Pixels:
        try:
            with torch.inference_mode():
                lr = lr_to_tensor(torch.from_numpy(pixels)[None].to(device))
                result: Pixels = tensor_to_bytes(generator(lr))[0].cpu().numpy()
                return result
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            height, width = pixels.shape[:2]
            raise OutOfMemory(
                f"an LR picture of {height}x{width} pixels does not fit in memory; measure smaller pictures, "
                "or on the CPU with --device cpu"
            ) from error

    return upscale


def measure(image: TestImage, upscale: Upscale, lpips: Lpips | None, border: int) -> tuple[Figures, Pixels]:
    """The figures of one upscaled picture, without `border` pixels on each side, and the picture."""
    result = upscale(image.lr)
    if result.shape != image.hr.shape:
        raise DataError(f"{image.name}: became {result.shape[:2]} pixels instead of {image.hr.shape[:2]}")
    scores: Scores = score(result, image.hr, border)
    return Figures(scores.psnr_y, scores.ssim_y, scores.psnr_rgb, _lpips(result, image.hr, lpips, border)), result


def _lpips(result: Pixels, hr: Pixels, lpips: Lpips | None, border: int) -> float | None:
    inner = Window(border, border, hr.shape[0] - 2 * border, hr.shape[1] - 2 * border)
    if lpips is None or min(inner.height, inner.width) < LEAST_SIDE:
        return None
    device = lpips.shift.device
    with torch.inference_mode():
        pair = [hr_to_tensor(torch.from_numpy(inner.of(p).copy())[None].to(device)) for p in (result, hr)]
        return float(lpips(*pair))


def mean_figures(figures: Sequence[Figures]) -> Figures:
    """The mean of each figure over at least one picture; LPIPS over those that have it."""
    distances = [one.lpips for one in figures if one.lpips is not None]
    return Figures(
        _mean([one.psnr_y for one in figures]),
        _mean([one.ssim_y for one in figures]),
        _mean([one.psnr_rgb for one in figures]),
        _mean(distances) if distances else None,
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def markdown(rows: Sequence[tuple[str, str, Sequence[Figures]]], border: int) -> str:
    """A table of (set, method, figures per picture), one line for each."""
    lines = [
        "| set | images | method | PSNR-Y, dB | SSIM-Y | PSNR-RGB, dB | LPIPS-alex |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, method, figures in rows:
        mean = mean_figures(figures)
        lpips = "not measured" if mean.lpips is None else f"{mean.lpips:.3f}"
        lines.append(
            f"| {name} | {len(figures)} | {method} | {mean.psnr_y:.2f} | {mean.ssim_y:.4f} | {mean.psnr_rgb:.2f} | "
            f"{lpips} |"
        )
    reading = f"Y: BT.601 studio range; all figures without a border of {border} pixels; LPIPS: lower is better."
    return "\n".join([*lines, "", reading])


def to_json(rows: Sequence[tuple[str, str, Sequence[Figures]]], names: Sequence[Sequence[str]], border: int) -> str:
    """The same as JSON, with each picture's figures; `names` are the pictures' names, row by row."""
    sets = [
        {
            "set": name,
            "method": method,
            "mean": asdict(mean_figures(figures)),
            "images": {image: asdict(one) for image, one in zip(of_row, figures, strict=True)},
        }
        for (name, method, figures), of_row in zip(rows, names, strict=True)
    ]
    units = {"psnr_y": "dB, BT.601 studio range", "psnr_rgb": "dB", "lpips": "LPIPS-alex v0.1, lower is better"}
    return json.dumps({"border": border, "units": units, "results": sets}, indent=1)


def set_name(folder: Path) -> str:
    """What a set is called in a table: the last two parts of its path."""
    return "/".join(folder.resolve().parts[-2:])
