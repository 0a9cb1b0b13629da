"""How faithful a model is on test sets: PSNR and SSIM of bicubic and of the model, as a markdown table.

    python benchmarks/quality.py [--model PATH.safetensors] SET_DIR [SET_DIR ...]

Each SET_DIR holds HR images. The reading, for a model of scale s (4 for the shipped one):

    HR          8-bit RGB (grey becomes RGB), cropped at the right and bottom to a multiple of s
    LR          HR shrunk s times by Pillow's antialiased BICUBIC, 8 bit
    bicubic     LR enlarged s times by Pillow's BICUBIC, 8 bit
    model       LR through the deployed graph (uint8 to uint8, rounded inside)
    Y           BT.601 studio range, [16, 235], not rounded
    compared    without a border of s pixels on each side; the mean over a set is the mean over its images

Check of the reading: bicubic gives 28.43 dB / 0.811 on Set5 and 26.09 dB / 0.705 on Set14. PSNR over RGB is lower
than over Y by about 1.8 dB: the two are never to be compared with each other.
Runs on the CPU. Needs the toolkit and nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sr_export.deploy import PixelDoor, deploy
from sr_train.checkpoint import load_checkpoint
from sr_train.errors import SRError, UsageError
from sr_train.metrics import SSIM_TAPS, Pixels, Scores, mean, score

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}  # Pillow's modes of at most 8 bits that convert to RGB without loss


def read_hr(path: Path, scale: int) -> Image.Image:
    """An 8-bit image file as RGB, cropped at the right and bottom to a multiple of `scale`; alpha is dropped.

    Raises UsageError, naming the file, for one that cannot be read or measured.
    """
    try:
        with Image.open(path) as image:
            mode, rgb = image.mode, image.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: cannot be read as an image ({error}); replace or remove it") from error
    if mode not in MODES:
        raise UsageError(f"{path}: has pixels of mode {mode}, only 8-bit grey and RGB can be measured; convert it")
    width, height = (side - side % scale for side in rgb.size)
    least = SSIM_TAPS + 2 * scale
    if min(height, width) < least:
        raise UsageError(
            f"{path}: is {height}x{width} pixels after cropping, at least {least} a side are needed; remove it"
        )
    return rgb.crop((0, 0, width, height))


def measure_image(path: Path, door: PixelDoor) -> tuple[Scores, Scores]:
    """The scores of bicubic and of the model for one HR image file. Raises UsageError."""
    hr = read_hr(path, door.scale)
    lr = hr.resize((hr.width // door.scale, hr.height // door.scale), Image.Resampling.BICUBIC)
    bicubic = np.asarray(lr.resize(hr.size, Image.Resampling.BICUBIC))
    with torch.inference_mode():
        upscaled: Pixels = door(torch.from_numpy(np.array(lr))[None])[0].numpy()
    reference = np.asarray(hr)
    return score(bicubic, reference, door.scale), score(upscaled, reference, door.scale)


def measure_set(folder: Path, door: PixelDoor) -> list[tuple[Scores, Scores]]:
    """The scores of bicubic and of the model for each image in `folder`, by name. Raises UsageError."""
    return [measure_image(path, door) for path in list_images(folder)]


def list_images(folder: Path) -> list[Path]:
    """The image files directly in `folder`, by name. Raises UsageError if there is no folder or no image."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; name a folder of HR images")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise UsageError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))}); name a folder of HR images")
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 with one sentence on stderr when something must be mended first."""
    parser = argparse.ArgumentParser(description="PSNR and SSIM of bicubic and of a model on folders of HR images.")
    shipped = Path(str(files("sr_export").joinpath("models/srresnet.safetensors")))
    parser.add_argument(
        "--model", type=Path, default=shipped, metavar="PATH.safetensors", help="checkpoint; default: the shipped one"
    )
    parser.add_argument("sets", type=Path, nargs="+", metavar="SET_DIR", help="folder of HR images")
    options = parser.parse_args(arguments)
    folders: list[Path] = options.sets
    try:
        for folder in folders:  # before the minutes of work, not in the middle of them
            list_images(folder)
        door = deploy(load_checkpoint(options.model)[0])
        print("| set | images | method | PSNR-Y, dB | SSIM-Y | PSNR-RGB, dB |\n|---|---|---|---|---|---|")
        for folder in folders:
            scores = measure_set(folder, door)
            name = "/".join(folder.resolve().parts[-2:])
            for method, of_images in zip(("bicubic", options.model.stem), zip(*scores, strict=True), strict=True):
                print(f"| {name} | {len(scores)} | {method} | {mean(of_images)} |", flush=True)
    except SRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
