"""Threads that write files: each file's bands one after the other, several files at a time, waiting bytes bounded.

A file is no task that waits in a thread for its next band: whenever it has bands, some thread writes them. So any
number of files may be unfinished, and none of them can keep the others from going on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

from sr_batch.feed import Band
from sr_batch.trace import NO_TRACE, Stage, Trace

__all__ = ["Encoders", "Encoding", "Write"]

# Takes bands by send(), the end as None; it is closed (GeneratorExit) when the file is given up.
Write = Generator[None, Band | None, None]
WAIT_SECONDS = 0.2  # between looks at what a wait is for: signals come through


class Encoders:
    """A pool of writing threads. `shutdown` gives up what is unfinished."""

    def __init__(self, threads: int, most_bytes: int, trace: Trace = NO_TRACE) -> None:
        """`most_bytes`: of bands that wait or are being written; a larger one waits until it is the only one."""
        self._pool = ThreadPoolExecutor(threads, "encode")
        self._most_bytes, self.trace = most_bytes, trace
        self._changed = Condition()
        self._bytes = 0
        self._unfinished: set[Encoding] = set()

    def open(self, write: Write, name: str = "") -> Encoding:
        """A file to write bands to. `write` is started in a writing thread when its first band comes."""
        encoding = Encoding(self, write, name)
        with self._changed:
            self._unfinished.add(encoding)
        return encoding

    def shutdown(self) -> None:
        with self._changed:
            unfinished = list(self._unfinished)
        for encoding in unfinished:
            encoding.abandon()
        self._pool.shutdown()

    def wait_for_room(self, size: int) -> None:
        with self._changed:
            if self._bytes and self._bytes + size > self._most_bytes:
                with self.trace.span(Stage.WAIT_ROOM):
                    while self._bytes and self._bytes + size > self._most_bytes:
                        self._changed.wait(WAIT_SECONDS)
            self._bytes += size

    def released(self, size: int) -> None:
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()

    def ended(self, encoding: Encoding) -> None:
        with self._changed:
            self._unfinished.discard(encoding)
            self._changed.notify_all()

    def wait_for(self, encoding: Encoding) -> None:
        with self._changed:
            if not encoding.is_over:
                with self.trace.span(Stage.WAIT_ROOM, encoding.name):
                    while not encoding.is_over:
                        self._changed.wait(WAIT_SECONDS)

    def submit(self, encoding: Encoding) -> None:
        self._pool.submit(encoding.drain)


class Encoding:
    """One file being written. `put`, `complete` and `abandon` are for one thread."""

    def __init__(self, encoders: Encoders, write: Write, name: str) -> None:
        self._encoders, self._write, self.name = encoders, write, name
        self._lock = Condition()
        self._waiting: deque[Band | None] = deque()
        self._abandoned = self._started = self._busy = False
        self.error: BaseException | None = None
        self.is_over = False  # written, failed or given up

    def put(self, band: Band) -> None:
        """Hand over a band; waits for room. After an error it is dropped."""
        if self.is_over:
            return
        self._encoders.wait_for_room(band.pixels.nbytes)
        self._add(band)

    def complete(self) -> None:
        """All bands were put."""
        self._add(None)

    def abandon(self) -> None:
        """The file will not be finished: what there is of it goes, in a writing thread."""
        self._abandoned = True
        self._add(None)

    def wait(self) -> None:
        """Until the file is written or given up. Raises what went wrong."""
        self._encoders.wait_for(self)
        if self.error is not None:
            raise self.error

    def drain(self) -> None:
        """In a writing thread: all that waits, then the thread is somebody else's."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._busy = False
                    return
                band = self._waiting.popleft()
            try:
                if not self.is_over:
                    with self._encoders.trace.span(Stage.ENCODE, self.name):
                        self._take(band)
            except BaseException as error:
                self.error = error
                self._end()
            finally:
                if band is not None:
                    self._encoders.released(band.pixels.nbytes)

    def _take(self, band: Band | None) -> None:
        if self._abandoned:
            self._write.close()
            return self._end()
        if not self._started:
            self._started = True
            next(self._write)
        try:
            self._write.send(band)
        except StopIteration:
            self._end()
        return None

    def _end(self) -> None:
        self.is_over = True
        self._encoders.ended(self)

    def _add(self, band: Band | None) -> None:
        with self._lock:
            self._waiting.append(band)
            if self._busy:
                return
            self._busy = True
        self._encoders.submit(self)
