"""Our PNG writer against Pillow's (8 bits) and libpng's (16 bits), 12 MP: CPU seconds and size.

The photo is a sample; in 16 bits it is enlarged in floats, so its low bytes are real and not noise.

python benchmarks/png.py
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from measure import machine, print_table
from numpy.typing import NDArray
from PIL import Image

from sr_batch.png import PngWriter

SAMPLE = Path(__file__).parent.parent / "samples" / "coffee.jpg"
SIZE = (4000, 3000)  # width, height
ROUNDS = 3


def main() -> None:
    with Image.open(SAMPLE) as image:
        photo = image.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
        channels = [
            np.asarray(band.convert("F").resize(SIZE, Image.Resampling.LANCZOS))
            for band in image.convert("RGB").split()
        ]
    shallow = np.asarray(photo)
    deep = np.ascontiguousarray(np.clip(np.dstack(channels) * 257, 0, 65535).astype(np.uint16))

    def ours(pixels: NDArray[np.uint8 | np.uint16]) -> bytes:
        file = io.BytesIO()
        writer = PngWriter(file, *pixels.shape, depth=8 * pixels.dtype.itemsize)
        for top in range(0, len(pixels), 256):
            writer.write(pixels[top : top + 256])
        writer.finish()
        return file.getvalue()

    def pillow(level: int) -> bytes:
        file = io.BytesIO()
        photo.save(file, "PNG", compress_level=level)
        return file.getvalue()

    ways: dict[str, Callable[[], bytes]] = {
        "8 bits: ours (Up, ISA-L level 1)": lambda: ours(shallow),
        "8 bits: Pillow level 1": lambda: pillow(1),
        "8 bits: Pillow level 6 (default)": lambda: pillow(6),
        "16 bits: ours (Up, ISA-L level 1)": lambda: ours(deep),
        "16 bits: libpng level 1": lambda: bytes(imagecodecs.png_encode(deep, 1)),
    }
    print(machine(), "\n")
    rows = []
    for name, way in ways.items():
        seconds, size = min(_cpu_seconds(way) for _ in range(ROUNDS))
        rows.append([name, f"{seconds:.2f}", f"{size / 1e6:.1f}"])
    print_table(["12 MP RGB", "CPU s", "MB"], rows)


def _cpu_seconds(way: Callable[[], bytes]) -> tuple[float, int]:
    begun = time.process_time()
    size = len(way())
    return time.process_time() - begun, size


if __name__ == "__main__":
    main()
