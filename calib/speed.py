"""How fast engines run the same tile: interleaved, so that a machine whose speed drifts treats them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import numpy as np

from sr_export.engines import Engine

__all__ = ["seconds_a_tile"]

SIDE = 128  # LR pixels
ROUNDS = 5


def seconds_a_tile(engines: Mapping[str, Engine], side: int = SIDE, rounds: int = ROUNDS) -> dict[str, float]:
    """The median seconds that each open engine takes for one tile of `side` pixels; the first run does not count."""
    tile = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for lap in range(rounds + 1):
        for name, engine in engines.items():
            begun = time.perf_counter()
            for _ in engine.stream([tile]):
                pass
            if lap:
                taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}
