"""Stages of work in threads of their own, with bounded queues between them.

with running_ahead(decode(), 2, "decode") as frames:     items are made while earlier ones are used
with Consumer(encode, 2, "encode") as consumer:          what is put is used while the next is made
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

from sr_batch.trace import NO_TRACE, Stage, Trace

__all__ = ["Consumer", "room_for", "running_ahead"]

T = TypeVar("T")

WAITING_BYTES = 32 << 20  # of what waits between two stages, or one item
MOST_WAITING = 8  # items: more do not make it faster
POLL_SECONDS = 0.1  # how often a waiting thread looks whether the other side is still there


def room_for(bytes_of_one: int) -> int:
    """How many items of that size may wait between two stages."""
    return max(1, min(MOST_WAITING, WAITING_BYTES // bytes_of_one))


class _End:
    """Nothing follows."""


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


@contextmanager
def running_ahead(
    items: Iterable[T], room: int, name: str, trace: Trace = NO_TRACE, stage: Stage = Stage.CONVERT
) -> Iterator[Iterator[T]]:
    """The items, made in a thread up to `room` ahead. What they raise is raised where they are used.

    `trace` records that making one is of this `stage`, and who waits.

    When the block ends, the thread ends after the item it is at, and the iterator is closed in it.
    """
    queue: Queue[T | _End | _Raised] = Queue(room)
    stop = Event()

    def put(item: T | _End | _Raised) -> None:
        with trace.span(Stage.WAIT_ROOM):
            while not stop.is_set():
                try:
                    return queue.put(item, timeout=POLL_SECONDS)
                except Full:
                    continue

    def make() -> None:
        iterator = iter(items)
        try:
            for item in trace.each(stage, iterator):
                put(item)
                if stop.is_set():
                    return
            put(_End())
        except BaseException as error:  # whatever it is, it belongs to whoever uses the items
            put(_Raised(error))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def use() -> Iterator[T]:
        while True:
            with trace.span(Stage.WAIT_INPUT):
                item = queue.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Raised):
                raise item.error
            yield item

    thread = Thread(target=make, name=name, daemon=True)
    thread.start()
    try:
        yield use()
    finally:
        stop.set()
        thread.join()


class Consumer(Generic[T]):
    """A thread that runs `consume` on an iterator of all that is put, in order.

    A context manager. However the block ends, the iterator ends after what was put, so the thread can finish what it
    has; the block's end waits for that. An error in the thread is raised by the next `put`, or by the block's end.
    """

    def __init__(self, consume: Callable[[Iterator[T]], None], room: int, name: str, trace: Trace = NO_TRACE) -> None:
        self._queue: Queue[T | _End] = Queue(room)
        self._error: BaseException | None = None
        self._consume, self._trace = consume, trace
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def put(self, item: T) -> None:
        """Hand over, waiting for room."""
        self._put(item)
        if self._error is not None:
            raise self._error

    def _put(self, item: T | _End) -> None:
        with self._trace.span(Stage.WAIT_ROOM):
            while self._thread.is_alive():
                try:
                    return self._queue.put(item, timeout=POLL_SECONDS)
                except Full:
                    continue

    def _items(self) -> Iterator[T]:
        while not isinstance(item := self._get(), _End):
            yield item

    def _get(self) -> T | _End:
        with self._trace.span(Stage.WAIT_INPUT):
            while True:
                try:
                    return self._queue.get(timeout=POLL_SECONDS)
                except Empty:
                    continue

    def _run(self) -> None:
        try:
            self._consume(self._items())
        except BaseException as error:  # raised where the items come from
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put(_End())
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error
