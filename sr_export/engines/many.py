"""Several engines as one, a GPU or some cores each: fed from one queue, results in the order of the batches."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from queue import Empty, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Self

from sr_export.engines.base import Engine, Pixels, Watch

__all__ = ["ManyEngines"]

AHEAD = 3  # batches handed out for each engine and not yet given back in order
# How long an engine waits for one more batch before it finishes those that it holds. Without an end to the wait an
# engine that reads ahead could hold the batch that is next in order while nobody may hand out another.
PATIENCE_SECONDS = 0.02


class ManyEngines:
    """See sr_export.engines.base.Engine. The engines are of one model, kind and precision; closes them all.

    Each engine runs in a thread of its own. Who is faster takes more batches. Yielded arrays are copies.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        first = engines[0].traits
        self._engines = engines
        self.traits = replace(
            first,
            device=",".join(engine.traits.device for engine in engines),
            tile=min(engine.traits.tile for engine in engines),
            threads=sum(engine.traits.threads for engine in engines),
        )

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:
        tasks: Queue[tuple[int, Pixels] | None] = Queue()
        results: Queue[tuple[int, Pixels | BaseException]] = Queue()
        stop = Event()
        threads = [
            Thread(target=_work, args=(engine, tasks, results, stop, _in_lane(watch, lane)), daemon=True)
            for lane, engine in enumerate(self._engines)
        ]
        for thread in threads:
            thread.start()
        try:
            yield from _in_order(iter(batches), tasks, results, AHEAD * len(self._engines))
        finally:
            stop.set()
            for _ in threads:
                tasks.put(None)
            for thread in threads:
                thread.join()

    def close(self) -> None:
        for engine in self._engines:
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _in_lane(watch: Watch | None, lane: int) -> Watch | None:
    return None if watch is None else partial(watch, lane=lane)


def _in_order(
    batches: Iterator[Pixels],
    tasks: Queue[tuple[int, Pixels] | None],
    results: Queue[tuple[int, Pixels | BaseException]],
    ahead: int,
) -> Generator[Pixels]:
    """Hand out batches, at most `ahead` beyond the last yielded one; yield results by number; raise what failed."""
    handed_out = yielded = 0
    done: dict[int, Pixels] = {}
    more = True
    while more or yielded < handed_out:
        while more and handed_out - yielded < ahead:
            batch = next(batches, None)
            if batch is None:
                more = False
            else:
                tasks.put((handed_out, batch))
                handed_out += 1
        while yielded in done:
            yield done.pop(yielded)
            yielded += 1
            if more:
                break  # keep the engines fed before the next one
        else:
            if yielded < handed_out:
                number, result = results.get()
                if isinstance(result, BaseException):
                    raise result
                done[number] = result


def _work(
    engine: Engine,
    tasks: Queue[tuple[int, Pixels] | None],
    results: Queue[tuple[int, Pixels | BaseException]],
    stop: Event,
    watch: Watch | None,
) -> None:
    """In an engine's thread: batches from the queue until None comes. An error is handed on and ends the thread."""
    numbers: list[int] = []

    def available(first: tuple[int, Pixels]) -> Iterator[Pixels]:
        task: tuple[int, Pixels] | None = first
        while task is not None and not stop.is_set():
            numbers.append(task[0])
            yield task[1]
            try:
                task = tasks.get(timeout=PATIENCE_SECONDS)
            except Empty:
                return
        if task is None:
            tasks.put(None)  # for the outer loop to see

    while (first := tasks.get()) is not None and not stop.is_set():
        try:
            for result in engine.stream(available(first), watch):
                results.put((numbers.pop(0), result.copy()))
        except BaseException as error:
            results.put((-1, error))
            return
