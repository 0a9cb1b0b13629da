"""--tune: which tile, batch and number of engines run this model fastest here. Measured, in about a minute.

Three races, one after the other, each with the winners of those before: engines (on a CPU: one on all cores, or
several on fewer), tiles, batches. In a race all take turns, so that a machine whose speed drifts treats them alike;
medians are compared, and who is far behind drops out. What counts is the time for a photo, halos included.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from sr_batch.tiles import plan_tiles
from sr_batch.tuned import Tuned
from sr_export.engines.base import Engine, EngineName
from sr_export.shape import BatchShape
from sr_train.errors import SRError

__all__ = ["CPU_BYTES", "Measured", "OpenAs", "print_measured", "tune"]

PHOTO = (3000, 4000)  # height, width: 12 MP, for the share of pixels that halos add
SIDES = (192, 256, 320, 448, 512, 768)  # LR pixels
FIRST_SIDE = 192  # of the race of engines: large enough that a window keeps many cores busy
BATCHES = (1, 2, 4, 8)
RACE_SECONDS = {"engines": 15.0, "tiles": 35.0, "batches": 15.0}
LAGGING = 0.8  # of the best one's speed: who is below drops out of the race
AS_GOOD = 0.97  # of the best one's speed: that is no difference
MOST_RUNS = 7  # of each candidate in a race
SHORTEST_RUN = 0.1  # seconds: what takes less is run several times for one measurement
MOST_REPEATS = 64
# Of a window while it is computed; OpenVINO fp32 takes 5.4 kB with the shipped model (benchmarks/README.md).
BYTES_PER_PIXEL = 6_000
CPU_BYTES = 1_250_000_000  # for windows in work: a run is to stay below 1.5 GB
Clock = Callable[[], float]  # seconds
OpenAs = Callable[[int, BatchShape], Engine]  # so many engines as one, for windows and batches up to this


@dataclass(frozen=True)
class Measured:
    """How fast a choice is."""

    tuned: Tuned
    speed: float  # LR pixels of a photo a second, the halos' share taken off; 0: it failed
    overhead: float  # computed pixels for each pixel of a 12 MP photo
    runs: int
    problem: str = ""  # why it failed


def tune(
    engine: Engine,
    open_as: OpenAs,
    halo: int,
    memory_bytes: int | None,
    clock: Clock = time.perf_counter,
) -> tuple[Tuned, list[list[Measured]]]:
    """The best choice for this kind of engine and all that was measured, by race.

    `engine` is open, in the way that is the default; `open_as` opens further ones like it. `memory_bytes` for
    windows in work (None: any) bound what is tried. Raises what the engine raises when nothing at all can be run.
    """
    best, races = Tuned(max(engine.traits.tile, 4 * halo)), []
    with ExitStack() as opened:
        bench = _Bench(engine, open_as, halo, opened)
        for race, candidates in (("engines", _engines), ("tiles", _tiles), ("batches", _batches)):
            field = [tuned for tuned in candidates(best, engine, halo) if _fits(tuned, memory_bytes)]
            if len(field) < 2:
                continue
            runners = {tuned: bench.runner(tuned) for tuned in field}
            measured = bench.judged(_race(runners, RACE_SECONDS[race], clock))
            races.append(measured)
            winner = _winner(measured, field[0])
            best = replace(winner, tile=best.tile) if race == "engines" else winner
    return best, races


def print_measured(best: Tuned, races: Iterable[list[Measured]], out: TextIO) -> None:
    """The table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table("engines", "tile", "batch", "MP/s of a photo", "computed", "")
    for measured in races:
        for one in measured:
            taken = "◀" if one.tuned == best else ""
            speed = f"{one.speed / 1e6:.4f}" if one.speed else "failed"
            row = (str(one.tuned.engines), str(one.tuned.tile), str(one.tuned.batch))
            table.add_row(*row, speed, f"{one.overhead:.2f}x", one.problem or taken)
        table.add_section()
    Console(file=out, highlight=False).print(table)


def _engines(best: Tuned, engine: Engine, halo: int) -> list[Tuned]:
    """One on all cores, or several that share them: on a CPU, where engines can."""
    traits, tile = engine.traits, max(FIRST_SIDE, 4 * halo)
    if traits.device != "cpu" or traits.name not in (EngineName.OPENVINO, EngineName.ONNX):
        return []
    counts = [count for count in (1, 2, 4, 8, 16) if count <= traits.threads]
    return [replace(best, tile=tile, engines=count) for count in counts]


def _tiles(best: Tuned, _engine: Engine, halo: int) -> list[Tuned]:
    """And, where several engines won, one with the default tile: it may be larger than fits several times."""
    sides = [best.tile, *(side for side in SIDES if side >= 4 * halo and side != best.tile)]
    return [replace(best, tile=side) for side in sides] + ([Tuned(best.tile)] if best.engines > 1 else [])


def _batches(best: Tuned, _engine: Engine, _halo: int) -> list[Tuned]:
    return [replace(best, batch=batch) for batch in BATCHES]


def _fits(tuned: Tuned, memory_bytes: int | None) -> bool:
    wanted = tuned.tile**2 * tuned.batch * tuned.engines * BYTES_PER_PIXEL
    return memory_bytes is None or wanted <= memory_bytes


@dataclass(frozen=True)
class _Runner:
    """A candidate at work."""

    ready: Callable[[], Engine]  # opened at the first call: a TensorRT plan takes minutes
    batch: NDArray[np.uint8]
    engines: int

    @property
    def pixels(self) -> int:
        """LR pixels of one run."""
        return self.batch.size // 3 * self.engines

    def run(self) -> None:
        """One batch in each engine."""
        for _ in self.ready().stream([self.batch] * self.engines):
            pass


class _Bench:
    """Engines in the forms that candidates need, opened when they are first run, open until the stack closes."""

    def __init__(self, engine: Engine, open_as: OpenAs, halo: int, stack: ExitStack) -> None:
        self._engine, self._open_as, self._halo, self._stack = engine, open_as, halo, stack
        self._fixed = engine.traits.fixed_tile
        self._devices = len(engine.traits.device.split(","))  # of each engine, with several GPUs
        self._opened: dict[Tuned, Engine] = {}

    def runner(self, tuned: Tuned) -> _Runner:
        random = np.random.default_rng(tuned.tile)
        batch = random.integers(0, 256, (tuned.batch, tuned.tile, tuned.tile, 3), dtype=np.uint8)
        return _Runner(partial(self._engine_for, tuned), batch, tuned.engines * self._devices)

    def judged(self, raced: Mapping[Tuned, tuple[list[float], str]]) -> list[Measured]:
        measured = []
        for tuned, (speeds, problem) in raced.items():
            plan = plan_tiles(*PHOTO, tuned.tile, self._halo, self._fixed)
            overhead = plan.computed_pixels() / (PHOTO[0] * PHOTO[1])
            speed = statistics.median(speeds) / overhead if speeds else 0.0
            measured.append(Measured(tuned, speed, overhead, len(speeds), problem))
        return measured

    def _engine_for(self, tuned: Tuned) -> Engine:
        if tuned.engines == 1 and not self._fixed:
            return self._engine
        form = tuned if self._fixed else Tuned(0, 0, tuned.engines)  # others take every shape
        if form not in self._opened:
            shape = BatchShape(tuned.batch, tuned.tile, tuned.tile)
            self._opened[form] = self._stack.enter_context(self._open_as(tuned.engines, shape))
        return self._opened[form]


def _race(runners: Mapping[Tuned, _Runner], seconds: float, clock: Clock) -> dict[Tuned, tuple[list[float], str]]:
    """Speeds of each candidate in LR pixels a second, and why it failed.

    Each runs once to warm up, then all in turn until the time is over. A candidate that would not end in time does not
    begin; but the first, the usual one, always runs once. Opening engines is not counted.
    """
    lanes = {tuned: _Lane(runner) for tuned, runner in runners.items()}
    over, alive = clock() + seconds, dict(lanes)
    while alive:
        rate = max((lane.speed for lane in lanes.values()), default=0.0)
        for tuned, lane in list(alive.items()):
            before = clock()
            try:
                lane.runner.ready()
                over += clock() - before
                if rate and clock() + lane.repeats * lane.runner.pixels / rate > over:
                    del alive[tuned]
                    continue
                lane.once(clock)
            except (SRError, MemoryError) as error:
                lane.problem = str(error) or "not enough memory"
                del alive[tuned]
                if all(lane.problem for lane in lanes.values()):
                    raise
            rate = max(rate, lane.speed)
        alive = {t: lane for t, lane in alive.items() if len(lane.speeds) < MOST_RUNS and lane.speed >= LAGGING * rate}
    return {tuned: (lane.speeds, lane.problem) for tuned, lane in lanes.items() if lane.speeds or lane.problem}


class _Lane:
    """One candidate in a race."""

    def __init__(self, runner: _Runner) -> None:
        self.runner = runner
        self.repeats = 1  # of a run, for one measurement
        self.speeds: list[float] = []  # LR pixels a second; the warm-up's until there are others
        self.problem = ""
        self._warm = False

    @property
    def speed(self) -> float:
        return statistics.median(self.speeds) if self.speeds and not self.problem else 0.0

    def once(self, clock: Clock) -> None:
        begun = clock()
        for _ in range(self.repeats):
            self.runner.run()
        taken = max(clock() - begun, 1e-9) / self.repeats
        if len(self.speeds) == 1 and not self._warm:
            self.speeds, self._warm = [], True
        if not self.speeds and not self._warm:
            self.repeats = min(MOST_REPEATS, max(1, round(SHORTEST_RUN / taken)))
        self.speeds.append(self.runner.pixels / taken)


def _winner(measured: list[Measured], usual: Tuned) -> Tuned:
    """Of those that are as good as the best: the usual one, or else the one that needs the least memory."""
    best = max(one.speed for one in measured)
    good = [one.tuned for one in measured if one.speed >= AS_GOOD * best]
    return (
        usual
        if usual in good
        else min(good, key=lambda tuned: (tuned.tile**2 * tuned.batch * tuned.engines, tuned.engines))
    )
