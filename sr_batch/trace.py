"""Profiles: what each thread did, and when, as a file that Perfetto (ui.perfetto.dev) and chrome://tracing open.

with open_trace(path) as trace:
    with trace.span(Stage.DECODE, "cat.jpg"): ...    a slice on the track of this thread, inside the one around it
    engine.stream(batches, trace.watch)               slices on tracks of the engine's own
    trace.verdict()                                   what set the pace, in one sentence

The format is Chrome's "Trace Event Format", as an array: complete events ("X"), times in microseconds, and the names of
the process and the threads. It is written as it goes, so that memory stays flat, and the array may lack its end: what
an interrupted run leaves opens too. Without a profile `NO_TRACE` takes the place of a recording and does nothing.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar

from sr_batch.verdict import Shares, verdict
from sr_train.errors import UsageError

if TYPE_CHECKING:
    from sr_export.engines.base import Watch

__all__ = ["NO_TRACE", "Recording", "Stage", "Trace", "open_trace"]

T = TypeVar("T")
Name = str | Callable[[], str]  # of what a stage works on; asked only where somebody records it
FLUSH_SECONDS = 0.5  # of events that a kill may lose
SHORTEST_WAIT = 1e-4  # seconds: shorter ones are counted, and not written
ENGINE_TRACK = 1000  # the first of the engine's tracks; threads have smaller numbers
ENGINE_STEPS = ("upload", "compute", "download")


class Stage(StrEnum):
    """What a thread is at. Waits are stages too."""

    DECODE = "decode"
    CONVERT = "convert"  # a video's frames, to RGB and back
    CUT = "cut"  # windows for the engine
    STITCH = "stitch"  # results into bands
    ENCODE = "encode"
    WAIT_ENGINE = "wait for the engine"
    WAIT_INPUT = "wait for input"  # nothing has come from the stage before
    WAIT_ROOM = "wait for room"  # the stage behind takes no more


WAITS = (Stage.WAIT_ENGINE, Stage.WAIT_INPUT, Stage.WAIT_ROOM)


class Trace(Protocol):
    """Who is told what takes how long."""

    @property
    def watch(self) -> Watch | None:
        """For engines; None where nobody looks."""

    def span(self, stage: Stage, name: Name = "") -> AbstractContextManager[object]:
        """What the block does belongs to this stage, but for what spans inside it say. No `yield` inside."""

    def each(self, stage: Stage, items: Iterator[T]) -> Iterator[T]:
        """The items, each made in a span of its own."""


class _NoTrace:
    """Nobody looks."""

    watch = None
    _nothing = nullcontext()

    def span(self, stage: Stage, name: Name = "") -> AbstractContextManager[object]:  # noqa: ARG002
        return self._nothing

    def each(self, stage: Stage, items: Iterator[T]) -> Iterator[T]:  # noqa: ARG002
        return items


NO_TRACE: Trace = _NoTrace()


@contextmanager
def open_trace(path: Path) -> Iterator[Recording]:
    """A recording into the file, from now until the block ends, by the thread that feeds the engine.

    Raises UsageError when the file cannot be opened, or is no .json by its name. When it cannot be written later, the
    recording knows (`problem`), and the run goes on.
    """
    if path.suffix.lower() != ".json":
        raise UsageError(f"the profile {path} must end in .json, so that no photo is written over by mistake")
    try:
        file = path.open("w", encoding="ascii")
    except OSError as error:
        raise UsageError(f"the profile {path} cannot be written ({error.strerror}); choose another place") from error
    recording = Recording(file)
    try:
        yield recording
    finally:
        recording.close()
        with suppress(OSError):  # it was told already
            file.close()


class _Open(threading.local):
    """Of one thread: for each span that is open, the seconds of those inside it."""

    def __init__(self) -> None:
        self.inner: list[float] = []


class Recording:
    """See Trace. Spans of one thread lie inside each other or apart, engine steps of one track apart."""

    def __init__(self, file: TextIO) -> None:
        self.problem: str | None = None  # why nothing more is written
        self._closed = False  # threads that end late may still tell
        self._file, self._lock, self._open = file, threading.Lock(), _Open()
        self._began = self._flushed = time.perf_counter()
        self._waiting: list[str] = []  # lines not yet written
        self._tracks: dict[tuple[int, str], int] = {}  # by a thread's ident, which the next may get, and its name
        self._feeder = threading.get_ident()
        self._own: defaultdict[Stage, float] = defaultdict(float)  # seconds of the feeding thread, inner spans apart
        self._until: dict[tuple[str, int], float] = {}  # end of the last step on each engine track
        self._computed: defaultdict[int, float] = defaultdict(float)  # seconds, by lane
        self._write("[\n")
        self._separator = ""
        self._say("process_name", 0, "sr-batch")

    @property
    def watch(self) -> Watch:
        return self._engine_step

    @contextmanager
    def span(self, stage: Stage, name: Name = "") -> Iterator[None]:
        open_spans = self._open.inner
        open_spans.append(0.0)
        begun = time.perf_counter()
        try:
            yield
        finally:
            ended = time.perf_counter()
            inside = open_spans.pop()
            if open_spans:
                open_spans[-1] += ended - begun
            self._thread_event(stage, begun, ended, ended - begun - inside, name if isinstance(name, str) else name())

    def each(self, stage: Stage, items: Iterator[T]) -> Iterator[T]:
        while True:
            with self.span(stage):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def shares(self) -> Shares:
        """Of the time from the beginning until now."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        own = self._own
        return Shares(
            engine=sum(self._computed.values()) / max(len(self._computed), 1) / seconds,
            waiting_for_engine=own[Stage.WAIT_ENGINE] / seconds,
            waiting_for_input=own[Stage.WAIT_INPUT] / seconds,
            waiting_for_room=own[Stage.WAIT_ROOM] / seconds,
            working=(own[Stage.CUT] + own[Stage.STITCH]) / seconds,
        )

    def verdict(self) -> str:
        """What set the pace until now, in one sentence."""
        return verdict(self.shares())

    def close(self) -> None:
        """Write the array's end."""
        with self._lock:
            self._flush()
            self._write("\n]\n")
            self._closed = True

    def _thread_event(self, stage: Stage, begun: float, ended: float, own: float, name: str) -> None:
        ident = threading.get_ident()
        with self._lock:
            if ident == self._feeder:
                self._own[stage] += own
            if stage in WAITS and ended - begun < SHORTEST_WAIT:
                return
            thread = "feeding the engine" if ident == self._feeder else threading.current_thread().name
            track = self._tracks.get((ident, thread))
            if track is None:
                track = self._tracks[ident, thread] = len(self._tracks) + 1
                self._say("thread_name", track, thread)
            self._complete(stage, track, begun, ended, {"file": name} if name else {})

    def _engine_step(self, what: str, begun: float, ended: float, lane: int = 0) -> None:
        """See sr_export.engines.base.Watch."""
        with self._lock:
            key = (what, lane)
            track = ENGINE_TRACK + len(ENGINE_STEPS) * lane + ENGINE_STEPS.index(what)
            if key not in self._until:
                self._say("thread_name", track, f"engine {lane + 1}, {what}")
            begun = max(begun, self._until.get(key, self._began))  # before that it waited for the step before
            if ended <= begun:
                return
            self._until[key] = ended
            if what == "compute":
                self._computed[lane] += ended - begun
            self._complete(what, track, begun, ended, {})

    def _complete(self, stage: str, track: int, begun: float, ended: float, facts: dict[str, str]) -> None:
        micros = (begun - self._began) * 1e6, (ended - begun) * 1e6
        event: dict[str, object] = {"name": stage, "ph": "X", "pid": os.getpid(), "tid": track}
        event |= {"ts": round(micros[0], 1), "dur": round(micros[1], 1)}
        self._add(event | ({"args": facts} if facts else {}))

    def _say(self, what: str, track: int, name: str) -> None:
        """The name of the process or of a track."""
        self._add({"name": what, "ph": "M", "pid": os.getpid(), "tid": track, "args": {"name": name}})

    def _add(self, event: dict[str, object]) -> None:
        self._waiting.append(json.dumps(event))
        now = time.perf_counter()
        if now - self._flushed >= FLUSH_SECONDS:
            self._flushed = now
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._write(self._separator + ",\n".join(self._waiting))
            self._separator, self._waiting = ",\n", []

    def _write(self, text: str) -> None:
        if self.problem is None and not self._closed:
            try:
                self._file.write(text)
                self._file.flush()
            except OSError as error:
                self.problem = error.strerror or str(error)
