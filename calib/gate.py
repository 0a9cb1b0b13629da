"""The gate: is an INT8 form good enough, and fast enough, to be used? Measured on tiles that nothing was calibrated on.

held-out tile ──as it is──────▶ fp32, INT8 ──▶ distance between the two, shift of the mean
              └──shrunk by the scale──▶ fp32, INT8 ──▶ each against the tile: PSNR-Y, SSIM-Y, LPIPS lost
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sr_train.degrade import shrink
from sr_train.metrics import score

__all__ = [
    "Figures",
    "Limits",
    "PerceptualDistance",
    "Pixels",
    "Run",
    "Truth",
    "Verdict",
    "decide",
    "measure",
    "run_all",
]

Pixels = NDArray[np.uint8]  # [h, w, 3] RGB
Run = Callable[[Pixels], Pixels]
PerceptualDistance = Callable[[Pixels, Pixels], float]  # LPIPS of two pictures of one size
AS_IT_IS_SIDE = 96  # pixels of the tile's middle that go through the network unshrunk


@dataclass(frozen=True)
class Limits:
    """What the gate asks for; the project's promise."""

    loss_db: float = 0.10  # PSNR-Y against ground truth, lost to fp32
    ssim_loss: float = 0.003
    lpips_loss: float = 0.01
    shift_levels: float = 0.2  # of the mean of any channel
    psnr_db: float = 40.0  # to fp32


@dataclass(frozen=True)
class Truth:
    """What fp32 makes of the held-out tiles: computed once, compared with every INT8 form."""

    tiles: tuple[Pixels, ...]  # ground truth
    small: tuple[Pixels, ...]  # shrunk by the scale: inputs
    middles: tuple[Pixels, ...]  # unshrunk middles: inputs
    of_small: tuple[Pixels, ...]  # fp32's results
    of_middles: tuple[Pixels, ...]

    @classmethod
    def of(cls, tiles: Sequence[Pixels], scale: int, run: Run) -> Truth:
        """`run`: the fp32 form, uint8 HWC -> uint8 HWC `scale` times as large."""
        cropped = [tile[: tile.shape[0] // scale * scale, : tile.shape[1] // scale * scale] for tile in tiles]
        small = [shrink(tile, scale) for tile in cropped]
        middles = [_middle(tile) for tile in tiles]
        return cls(tuple(cropped), tuple(small), tuple(middles), *(run_all(run, inputs) for inputs in (small, middles)))

    def first(self, count: int) -> Truth:
        """Of the first `count` tiles only."""
        parts = (self.tiles, self.small, self.middles, self.of_small, self.of_middles)
        return Truth(*(part[:count] for part in parts))


@dataclass(frozen=True)
class Figures:
    """How far an INT8 form is from fp32. Means over the held-out tiles."""

    psnr_db: float  # to fp32, over all pixels of the unshrunk tiles
    loss_db: float  # PSNR-Y against ground truth: fp32's minus INT8's
    ssim_loss: float  # likewise
    lpips_loss: float | None  # INT8's minus fp32's; None: no weights for it
    shift_levels: tuple[float, float, float]  # mean of INT8 minus mean of fp32, by channel
    worst_tile: int  # index of the held-out tile that is farthest from fp32
    worst_psnr_db: float  # of that tile, to fp32

    def __str__(self) -> str:
        red, green, blue = self.shift_levels
        lpips = "" if self.lpips_loss is None else f", LPIPS {self.lpips_loss:+.4f}"
        return (
            f"{self.psnr_db:.1f} dB to fp32, PSNR-Y {-self.loss_db:+.3f} dB, SSIM-Y {-self.ssim_loss:+.4f}{lpips}, "
            f"mean shift {red:+.2f} {green:+.2f} {blue:+.2f} levels"
        )


@dataclass(frozen=True)
class Verdict:
    """Use it or not, and why."""

    use: bool
    reasons: tuple[str, ...]  # what speaks against it; empty when it should be used

    def __str__(self) -> str:
        return "use" if self.use else "do not use: " + "; ".join(self.reasons)


def run_all(run: Run, inputs: Sequence[Pixels]) -> tuple[Pixels, ...]:
    """Every result, owned by the caller."""
    return tuple(np.array(run(pixels)) for pixels in inputs)


def measure(truth: Truth, run: Run, lpips: PerceptualDistance | None = None) -> Figures:
    """The figures of an INT8 form, uint8 HWC -> uint8 HWC."""
    of_middles, of_small = run_all(run, truth.middles), run_all(run, truth.small)
    errors = [_error(a, b) for a, b in zip(of_middles, truth.of_middles, strict=True)]
    squares = [float(np.mean(error**2)) for error in errors]
    shift = np.mean([error.mean(axis=(0, 1)) for error in errors], axis=0)
    scale = truth.tiles[0].shape[0] // truth.small[0].shape[0]
    ours = [score(result, tile, scale) for result, tile in zip(of_small, truth.tiles, strict=True)]
    theirs = [score(result, tile, scale) for result, tile in zip(truth.of_small, truth.tiles, strict=True)]
    lost = None
    if lpips is not None:
        pairs = zip(of_small, truth.of_small, truth.tiles, strict=True)
        lost = float(np.mean([lpips(int8, tile) - lpips(fp32, tile) for int8, fp32, tile in pairs]))
    worst = int(np.argmax(squares))
    return Figures(
        psnr_db=_psnr(float(np.mean(squares))),
        loss_db=float(np.mean([b.psnr_y - a.psnr_y for a, b in zip(ours, theirs, strict=True)])),
        ssim_loss=float(np.mean([b.ssim_y - a.ssim_y for a, b in zip(ours, theirs, strict=True)])),
        lpips_loss=lost,
        shift_levels=(float(shift[0]), float(shift[1]), float(shift[2])),
        worst_tile=worst,
        worst_psnr_db=_psnr(squares[worst]),
    )


def decide(figures: Figures, speed: float | None = None, limits: Limits = Limits()) -> Verdict:  # frozen
    """The verdict. `speed`: of INT8 against the fastest float form that passes here, 1 for equal; None: not asked."""
    shift = max(figures.shift_levels, key=abs)
    checks = [
        (figures.psnr_db >= limits.psnr_db, f"{figures.psnr_db:.1f} dB to fp32 (at least {limits.psnr_db:g})"),
        (figures.loss_db <= limits.loss_db, f"loses {figures.loss_db:.2f} dB PSNR-Y (at most {limits.loss_db:g})"),
        (figures.ssim_loss <= limits.ssim_loss, f"loses {figures.ssim_loss:.4f} SSIM-Y (at most {limits.ssim_loss:g})"),
        (abs(shift) <= limits.shift_levels, f"{'brightens' if shift > 0 else 'darkens'} a channel by {abs(shift):.2f} "
         f"levels (at most {limits.shift_levels:g})"),
        ((figures.lpips_loss or 0) <= limits.lpips_loss, f"loses {figures.lpips_loss or 0:.3f} LPIPS"),
        (speed is None or speed > 1, f"is not faster here ({speed or 0:.2f} times the float form's speed)"),
    ]  # fmt: skip
    reasons = tuple(reason for passed, reason in checks if not passed)
    return Verdict(not reasons, reasons)


def _middle(tile: Pixels) -> Pixels:
    top, left = ((side - min(side, AS_IT_IS_SIDE)) // 2 for side in tile.shape[:2])
    return np.ascontiguousarray(tile[top : top + AS_IT_IS_SIDE, left : left + AS_IT_IS_SIDE])


def _error(result: Pixels, reference: Pixels) -> NDArray[np.float64]:
    return result.astype(np.float64) - reference


def _psnr(mse: float) -> float:
    return 10 * math.log10(255**2 / mse) if mse else math.inf
