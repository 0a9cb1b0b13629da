"""Our PNG writer against Pillow's, on a 12 MP photo made from a sample: CPU seconds and size.

python benchmarks/png.py
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import machine, print_table
from PIL import Image

from sr_batch.png import PngWriter

SAMPLE = Path(__file__).parent.parent / "samples" / "coffee.jpg"
SIZE = (4000, 3000)  # width, height
ROUNDS = 3


def main() -> None:
    with Image.open(SAMPLE) as image:
        photo = image.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
    pixels = np.asarray(photo)

    def ours() -> bytes:
        file = io.BytesIO()
        writer = PngWriter(file, *pixels.shape)
        for top in range(0, len(pixels), 256):
            writer.write(pixels[top : top + 256])
        writer.finish()
        return file.getvalue()

    def pillow(level: int) -> bytes:
        file = io.BytesIO()
        photo.save(file, "PNG", compress_level=level)
        return file.getvalue()

    ways: dict[str, Callable[[], bytes]] = {
        "ours (Up, ISA-L level 1)": ours,
        "Pillow level 1": lambda: pillow(1),
        "Pillow level 6 (default)": lambda: pillow(6),
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
