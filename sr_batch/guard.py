"""The guard: results that cannot be right are done again in fp32 before anybody sees them.

Enlarging keeps a window's mean colour. A result whose mean is far from it, that is black where the picture is not, or
that is not finite, comes from an engine that overflowed, from memory that was not what it should be, or from a model
that is not made for this. The same window in fp32 tells which: its result is taken. Where that is black or not finite
too, the picture fails. A model that shifts colours in fp32 as well is what the user asked for: its shift is told once,
and allowed from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sr_batch.depth import EnginePixels
from sr_batch.errors import WrongPixels

__all__ = ["Guard", "Stream"]

Stream = Callable[[Iterable[NDArray[Any]]], Generator[NDArray[Any]]]  # Doors.stream, Engine.stream, or a stand-in
Colour = NDArray[np.float64]  # [3], grey levels of 255

MOST_SHIFT = 24.0  # grey levels of a window's mean, in any channel: good models stay below 2
LEAST_PIXELS = 32 * 32  # of a window whose mean says something: in smaller ones the border is everything
SAME_SHIFT = 8.0  # grey levels between two results that tell the same
DARK = 8.0  # grey levels: a window below may well become black
BLACK = 0.5
HEADROOM = 1.5  # of a model's own shift: other windows shift by somewhat more


class _Tally(Protocol):
    redone: int


class Guard:
    """Looks at results. Its one memory is how far the model itself shifts colours."""

    def __init__(self, fp32: Stream, say: Callable[[str], None] = lambda _: None) -> None:
        """`fp32`: the same model in fp32, opened at first use."""
        self._fp32, self._say = fp32, say
        self._allowed = MOST_SHIFT

    def checked(self, window: EnginePixels, result: EnginePixels, tally: _Tally) -> EnginePixels:
        """The result, or a better one: [h, w, 3] -> [scale·h, scale·w, 3]. Raises WrongPixels when fp32 fails too."""
        before, after = _mean(window), _mean(result)
        if not self._is_wrong(window, before, after):
            return result
        tally.redone += 1
        with closing(self._fp32([np.ascontiguousarray(window)[None]])) as results:
            again: EnginePixels = next(results)[0].copy()
        exact = _mean(again)
        if not np.isfinite(exact).all() or _is_black(before, exact):
            raise WrongPixels(
                "the model gives no picture here (black, or not finite numbers), in fp32 neither; check it with "
                "sr-export parity, or use another with -n"
            )
        shift = float(np.abs(exact - before).max())
        if shift > self._allowed:
            self._allowed = shift * HEADROOM
            self._say(f"note: this model changes mean colours by {shift:.0f} levels of 255, in exact arithmetic too")
        return result if np.abs(exact - after).max() <= SAME_SHIFT else again

    def _is_wrong(self, window: EnginePixels, before: Colour, after: Colour) -> bool:
        if not np.isfinite(after).all() or _is_black(before, after):
            return True
        pixels = window.shape[0] * window.shape[1]
        return pixels >= LEAST_PIXELS and float(np.abs(after - before).max()) > self._allowed


def _is_black(before: Colour, after: Colour) -> bool:
    return bool(after.max() <= BLACK and before.max() > DARK)


def _mean(pixels: EnginePixels) -> Colour:
    import cv2

    levels = 1.0 if pixels.dtype == np.uint8 else 255.0
    return np.asarray(cv2.mean(np.ascontiguousarray(pixels))[:3]) * levels
