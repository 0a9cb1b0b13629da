"""From pictures to batches: every crop a pure function of (seed, epoch, index), so a resumed run sees the same ones.

An epoch is a random order of all pictures, each `repeats` times; the order, the place of each crop, its flip and its
degradation come from the numbers alone. A batch is two uint8 NHWC RGB tensors, LR and HR; `pixels.py` has the ranges.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_train.config import DataConfig
from sr_train.degrade import degrade
from sr_train.errors import DataError, OutOfMemory
from sr_train.metrics import Pixels
from sr_train.pack import SUFFIX as PACK_SUFFIX
from sr_train.pack import open_pack
from sr_train.pictures import Pictures, Skipped, Window, open_folder

__all__ = [
    "Batch",
    "Batches",
    "CropSource",
    "HeldOut",
    "Subset",
    "batch_items",
    "detail",
    "open_pairs",
    "open_pictures",
    "split",
]

ORDER, CROP = 0, 1  # tell the streams of random numbers apart
PLACES = 8  # of a crop that are tried until one has enough detail
AHEAD = 4  # batches made in advance, per loader thread


class Batch(NamedTuple):
    """Crops of one step: uint8 NHWC RGB, `hr` `scale` times as large as `lr`."""

    lr: Tensor
    hr: Tensor


@dataclass(frozen=True)
class Subset:
    """Some of a set's pictures."""

    pictures: Pictures
    chosen: Sequence[int]

    @property
    def names(self) -> Sequence[str]:
        return [self.pictures.names[i] for i in self.chosen]

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        return [self.pictures.sizes[i] for i in self.chosen]

    def read(self, index: int, window: Window) -> Pixels:
        return self.pictures.read(self.chosen[index], window)


@dataclass(frozen=True)
class CropSource:
    """HR pictures, their LR pictures where there are any, and how a crop is cut."""

    hr: Pictures
    lr: Pictures | None  # index by index the same pictures, `scale` times smaller; None: made on the fly
    config: DataConfig
    scale: int
    seed: int

    def __len__(self) -> int:
        """Crops in an epoch."""
        return len(self.hr.names) * self.config.repeats

    def crop(self, epoch: int, index: int) -> tuple[Pixels, Pixels]:
        """Crop `index` (below len) of an epoch: LR and HR, uint8 HWC RGB. Raises DataError."""
        random = np.random.default_rng((self.seed, CROP, epoch, index))
        picture = index % len(self.hr.names)
        window = self._place(picture, random)
        if self.lr is None:
            lr, hr = self._degraded(picture, window, random)
        else:
            lr, hr = self.lr.read(picture, window.divided(self.scale)), self.hr.read(picture, window)
        turn = int(random.integers(8)) if self.config.augment else 0
        return _turned(lr, turn), _turned(hr, turn)

    def _place(self, picture: int, random: np.random.Generator) -> Window:
        """A random place with enough detail; after so many without, the last: the picture may have no other."""
        window = self._any_place(picture, random)
        for _ in range(PLACES - 1):
            if self.config.least_detail == 0 or detail(self.hr.read(picture, window)) >= self.config.least_detail:
                break
            window = self._any_place(picture, random)
        return window

    def _any_place(self, picture: int, random: np.random.Generator) -> Window:
        """A random place on the LR grid, so that the LR crop is exactly a part of the whole picture's LR."""
        crop, size = self.config.crop, self.hr.sizes[picture]
        top, left = (int(random.integers((side - crop) // self.scale + 1)) * self.scale for side in size)
        return Window(top, left, crop, crop)

    def _degraded(self, picture: int, window: Window, random: np.random.Generator) -> tuple[Pixels, Pixels]:
        """The window is read with what is around it, so that no border enters but the picture's own."""
        height, width = self.hr.sizes[picture]
        whole = (height - height % self.scale, width - width % self.scale)
        around = window.grown(self.config.degradation.context * self.scale, whole)
        pixels = self.hr.read(picture, around)
        lr = degrade(pixels, self.scale, self.config.degradation, random)
        inner = window.inside(around)
        return inner.divided(self.scale).of(lr), inner.of(pixels)


def detail(pixels: Pixels) -> float:
    """How far neighbours differ on average, across and down, in levels of 255.

    pixels: uint8 HWC RGB; its green is looked at.
    """
    green = pixels[:, :, 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean()) / 2


def _turned(pixels: Pixels, turn: int) -> Pixels:
    """One of the eight flips and quarter turns of HWC pixels."""
    turned = np.rot90(pixels, turn % 4)
    return turned[:, ::-1] if turn >= 4 else turned


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, ORDER, epoch)).permutation(count)


def batch_items(seed: int, step: int, batch: int, count: int) -> list[tuple[int, int]]:
    """(epoch, index) of each crop of step `step`. An epoch ends with a full batch: its last one begins anew."""
    steps_per_epoch = -(-count // batch)
    epoch, within = divmod(step, steps_per_epoch)
    order = _order(seed, epoch, count)
    return [(epoch, int(order[(within * batch + i) % count])) for i in range(batch)]


class Batches:
    """The batches of steps `start` to `stop` - 1, made in advance by threads. A context manager.

    Of each batch only `share`'s crops are made: (first, last + 1) of this process. `wait_seconds` is how long the
    training loop has stood waiting for a batch.
    """

    def __init__(
        self, source: CropSource, batch: int, share: tuple[int, int], start: int, stop: int, threads: int
    ) -> None:
        self._source, self._batch, self._share = source, batch, share
        self._steps = iter(range(start, stop))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="crops")
        self._ahead = AHEAD * threads
        self._waiting: deque[Future[Batch]] = deque()
        self.wait_seconds = 0.0

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            while len(self._waiting) < self._ahead and (step := next(self._steps, None)) is not None:
                self._waiting.append(self._pool.submit(self._make, step))
            if not self._waiting:
                return
            asked = time.perf_counter()
            batch = self._waiting.popleft().result()
            self.wait_seconds += time.perf_counter() - asked
            yield batch

    def _make(self, step: int) -> Batch:
        source, count = self._source, self._share[1] - self._share[0]
        hr_side, lr_side = source.config.crop, source.config.crop // source.scale
        try:
            lr = np.empty((count, lr_side, lr_side, 3), np.uint8)
            hr = np.empty((count, hr_side, hr_side, 3), np.uint8)
        except MemoryError as error:
            raise OutOfMemory(
                f"{count} crops of {hr_side}x{hr_side} pixels do not fit in memory; use a smaller "
                f"batch or crop: --set resnet.batch=N, gan.batch=N or data.crop=N"
            ) from error
        items = batch_items(source.seed, step, self._batch, len(source))[slice(*self._share)]
        for i, (epoch, index) in enumerate(items):
            lr[i], hr[i] = source.crop(epoch, index)
        return Batch(torch.from_numpy(lr), torch.from_numpy(hr))


def open_pictures(roots: Sequence[Path], least: int, threads: int, skip: Callable[[Skipped], None]) -> Pictures:
    """The pictures of folders, or of one pack, with at least `least` pixels a side. Raises DataError."""
    if not any(root.suffix == PACK_SUFFIX for root in roots):
        return open_folder(roots, least, threads, skip)
    if len(roots) > 1:
        raise DataError("a pack is used alone; pack all folders into one with sr-train pack")
    packed = open_pack(roots[0])
    large = [i for i, size in enumerate(packed.sizes) if min(size) >= least]
    for i in sorted(set(range(len(packed.sizes))) - set(large)):
        height, width = packed.sizes[i]
        skip(Skipped(Path(packed.names[i]), f"is {height}x{width} pixels, at least {least} a side are needed"))
    if not large:
        raise DataError(f"{roots[0]}: no picture has {least} pixels a side; use smaller crops, --set data.crop=N")
    return Subset(packed, large)


def open_pairs(hr: Pictures, lr: Pictures, scale: int, skip: Callable[[Skipped], None]) -> tuple[Pictures, Pictures]:
    """The pictures that both sets have, checked pair by pair: HR `scale` times as large, to the pixel.

    Names pair as in DIV2K: `0001` with `0001` or `0001x4`. Raises DataError when no pair is left.
    """
    marked = re.compile(rf"x{scale}$", re.IGNORECASE)
    by_name = {marked.sub("", Path(name).name): i for i, name in enumerate(lr.names)}
    pairs: list[tuple[int, int]] = []
    for i, name in enumerate(hr.names):
        j = by_name.get(Path(name).name)
        if j is None:
            skip(Skipped(Path(name), "has no LR picture of its name"))
        elif (lr.sizes[j][0] * scale, lr.sizes[j][1] * scale) != hr.sizes[i]:
            sizes = " and ".join(f"{h}x{w}" for h, w in (hr.sizes[i], lr.sizes[j]))
            skip(Skipped(Path(name), f"HR and LR are {sizes} pixels, not {scale} to 1"))
        else:
            pairs.append((i, j))
    if not pairs:
        raise DataError(f"no HR picture has an LR picture {scale} times smaller of its name; check both folders")
    return Subset(hr, [i for i, _ in pairs]), Subset(lr, [j for _, j in pairs])


@dataclass(frozen=True)
class HeldOut:
    """Pictures kept for validation."""

    hr: Pictures
    lr: Pictures | None


def split(source: CropSource, held_out: int) -> tuple[CropSource, HeldOut]:
    """Keep some pictures, spread evenly, for validation: at most `held_out` and at most a tenth, at least one.

    Of a single picture both are the same.
    """
    count = len(source.hr.names)
    if count == 1:
        return source, HeldOut(source.hr, source.lr)
    keep = max(1, min(held_out, count // 10))
    held = sorted({round((i + 0.5) * count / keep - 0.5) for i in range(keep)})
    rest = [i for i in range(count) if i not in held]

    def some(pictures: Pictures | None, chosen: list[int]) -> Pictures | None:
        return Subset(pictures, chosen) if pictures else None

    trained = replace(source, hr=Subset(source.hr, rest), lr=some(source.lr, rest))
    return trained, HeldOut(Subset(source.hr, held), some(source.lr, held))
