"""One device's share of a cluster run: an engine, and photos through the same pipeline as on one machine.

Runs in a Ray actor; knows no Ray. Several calls of `do` are in work at a time, so that decoding, the engine and
encoding overlap and photos share batches as they do at home. Paths come and go, never pixels.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Literal, Protocol

from sr_batch.events import Done, Failure, Summary
from sr_batch.folders import Job, PhotoJob
from sr_batch.glimpse import Glimpse, Look
from sr_batch.guard import Guard, Stream
from sr_batch.journal import Journal, Journals, Stamp
from sr_batch.photos import Photo, Size, use_own_limits
from sr_batch.pipeline import run_batch
from sr_batch.settings import Settings
from sr_batch.upscale import Band, Counts
from sr_train.atomic_file import atomic_file

__all__ = ["EngineSource", "ModelSource", "Outcome", "Worker"]

PATIENCE_SECONDS = 0.05  # for one more photo before those in work are finished without it
OUTCOME = "outcome"  # file beside a staged result: it is complete, and what the driver must know of it


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    done: Done | None
    reason: str = ""  # of a failure
    damaged: bool = False  # the photo itself is at fault: the journal keeps it
    stamp: Stamp | None = None  # of the photo that it was made from
    content: str = ""  # its sha256
    seen: Counts = field(default_factory=Counts)  # by the engine, since the outcome before
    glimpse: Glimpse | None = None  # for a report, where one was asked for


class EngineSource(Protocol):
    """How a worker comes to its engine; travels to it."""

    def open(self, stack: ExitStack, threads: int | None) -> tuple[Stream, Guard | None]:
        """An engine's stream, open until the stack is closed, on so many CPU threads. Raises SRError."""


@dataclass(frozen=True)
class ModelSource:
    """A model file's content, and what to run it with."""

    name: str  # of the file
    content: bytes
    engine: str
    precision: str

    def open(self, stack: ExitStack, threads: int | None) -> tuple[Stream, Guard | None]:
        from sr_batch.doors import Doors
        from sr_batch.exact import Exact
        from sr_export.engines import EngineName, Precision, open_engine
        from sr_export.model import find_model, prepare

        path = Path(stack.enter_context(TemporaryDirectory(prefix="sr-batch-model-"))) / self.name
        path.write_bytes(self.content)
        prepared = prepare(find_model(str(path)))
        name: EngineName | Literal["auto"] = EngineName(self.engine) if self.engine != "auto" else "auto"
        engine = open_engine(prepared, name, Precision(self.precision), threads=threads)
        deep = engine.traits.name
        doors = stack.enter_context(Doors(engine, lambda: open_engine(prepare(prepared.model, door="deep"), deep)))
        exact = stack.enter_context(Exact(prepared, lambda _: None))
        return doors.stream, Guard(exact.stream)


class Worker:
    """Takes photos from any thread; a thread of its own runs them."""

    def __init__(self, source: EngineSource, settings: Settings, threads: int | None) -> None:
        """Opens the engine. Raises SRError when it cannot be had here."""
        use_own_limits()
        self._stream, self._guard = source.open(ExitStack(), threads)  # until the process ends
        self._settings = replace(settings, overwrite=True)
        self._waiting: Queue[_Waiting] = Queue()
        Thread(target=self._run, name="upscale", daemon=True).start()

    def do(self, job: PhotoJob, window: Size | None = None) -> Outcome:
        """Upscale one photo to the job's target, which is in a folder of its own; what became of it.

        `window`: a report shows at most so much of the result. What an earlier try finished there is not done again.
        """
        note = job.target.parent / OUTCOME
        if note.exists():
            outcome: Outcome = pickle.loads(note.read_bytes())  # our own, written below
            return outcome
        future: Future[Outcome] = Future()
        self._waiting.put(_Waiting(job, future, window))
        outcome = future.result()
        if outcome.done is not None:
            with atomic_file(note) as partial:
                partial.write_bytes(pickle.dumps(outcome))
        return outcome

    def where(self) -> tuple[str, int]:
        """The machine and the process, for people and for tests."""
        return os.uname().nodename if hasattr(os, "uname") else "", os.getpid()

    def _run(self) -> None:
        while True:
            waiting: dict[Path, _Waiting] = {}
            tally = _Tally(waiting)
            try:
                jobs = self._until_idle(waiting)
                run_batch(jobs, self._stream, self._settings, tally, tally.summary, tally.notes, self._guard)
            except BaseException as error:
                for one in waiting.values():
                    if not one.future.done():
                        one.future.set_exception(error)

    def _until_idle(self, waiting: dict[Path, _Waiting]) -> Iterator[PhotoJob]:
        """Waits for the first, not for long for the others: what is in the engine must come out."""
        one = self._waiting.get()
        while True:
            waiting[one.job.source] = one
            yield one.job
            try:
                one = self._waiting.get(timeout=PATIENCE_SECONDS)
            except Empty:
                return


@dataclass(frozen=True)
class _Waiting:
    job: PhotoJob
    future: Future[Outcome]
    window: Size | None  # of the glimpse that is wanted


class _Note(Journal):
    """Takes down what a journal would, for the driver who has it."""

    def __init__(self) -> None:
        self.done: dict[Path, tuple[Stamp, str]] = {}
        self.damaged: set[Path] = set()

    def add_done(self, job: Job, source: Stamp, content: str, _result: Path) -> None:
        self.done[job.source] = (source, content)

    def add_failed(self, job: Job, _reason: str) -> None:
        self.damaged.add(job.source)


class _Notes(Journals):
    def __init__(self, note: _Note) -> None:
        super().__init__({})
        self._note = note

    def of(self, _job: Job) -> Journal | None:
        return self._note


class _Tally:
    """Events become outcomes."""

    def __init__(self, waiting: dict[Path, _Waiting]) -> None:
        self._waiting, self._note = waiting, _Note()
        self._looks: dict[Path, Look] = {}
        self._begun: dict[Path, float] = {}  # by time.monotonic
        self.summary, self.notes = Summary(), _Notes(self._note)
        self._told = Counts()

    def started(self, job: Job, _size: Size) -> None:
        self._begun[job.source] = time.monotonic()

    def advanced(self, pixels: int) -> None: ...

    def frame(self, job: Job, done: int, total: int) -> None: ...

    def drawn(self, job: PhotoJob, photo: Photo, band: Band) -> None:
        window = self._waiting[job.source].window
        if window is not None and band.top == 0:
            self._looks[job.source] = Look(photo, band.pixels.shape[1], window)
        if look := self._looks.get(job.source):
            look.add(band)

    def finished(self, job: Job, done: Done) -> None:
        stamp, content = self._note.done.pop(job.source, (None, ""))
        look = self._looks.pop(job.source, None)
        glimpse = look.glimpse(done.result.width) if look else None
        done = replace(done, seconds=time.monotonic() - self._begun[job.source])
        self._answer(job.source, Outcome(done, stamp=stamp, content=content, seen=self._since(), glimpse=glimpse))

    def skipped(self, job: Job, reason: str) -> None:
        self._answer(job.source, Outcome(None, reason, seen=self._since()))

    def failed(self, failure: Failure) -> None:
        damaged = failure.source in self._note.damaged
        self._answer(failure.source, Outcome(None, failure.reason, damaged=damaged, seen=self._since()))

    def _answer(self, source: Path, outcome: Outcome) -> None:
        self._looks.pop(source, None)
        self._begun.pop(source, None)
        self._waiting.pop(source).future.set_result(outcome)

    def _since(self) -> Counts:
        now, before = self.summary.tiles, self._told
        self._told = replace(now)
        return now.less(before)
