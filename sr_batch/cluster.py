"""More than one machine: the photos of a run as calls of Ray actors (crew.py); videos are in cluster_videos.py.

    driver: jobs ─to do?─▶ calls, a few in flight for each actor ─▶ staged results ─journal, rename─▶ results

The driver has the journal and the only word: a worker writes to a staging folder beside the result, and the driver
gives the result its name. So whatever dies, results are complete, and none is made twice: a call that is lost with its
worker goes to another one, and what the first had finished is found there. Files must be on storage that all machines
see under the same paths; pixels never travel. Placement and transport are Ray's.
"""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from sr_batch.cluster_worker import EngineSource, Outcome, Worker
from sr_batch.crew import Crew
from sr_batch.due import due
from sr_batch.events import Events, Failure, Summary
from sr_batch.folders import PhotoJob
from sr_batch.journal import Journals
from sr_batch.page import Page
from sr_batch.settings import Settings
from sr_train.errors import SRError, UsageError

__all__ = ["connected", "run_on_cluster"]

IN_FLIGHT = 4  # calls for each actor: one decoding, one or two in the engine, one encoding
REACH_SECONDS = 5.0  # for the head to answer
STAGING = ".sr-batch-staging-"  # a hidden folder beside the results, gone when the run has ended


@dataclass
class _Task:
    job: PhotoJob
    staged: Path


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to the Ray cluster at `address` ("auto", host:port). Raises UsageError with the fix."""
    try:
        import ray
    except ImportError as error:
        raise UsageError("--cluster needs Ray: pip install 'sr-toolkit[cluster]'") from error
    already = ray.is_initialized()
    try:
        if not already:
            _reach(address)
            with _own_sigterm():
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"no Ray cluster can be used at {address} ({first}); start one with: ray start --head; one "
            "that asks for a token needs RAY_AUTH_MODE=token here too (see docs/cluster.md)"
        ) from error
    try:
        yield
    finally:
        if not already:
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """SIGTERM is answered after the block as it was before it: Ray sets an answer of its own."""
    answer = signal.getsignal(signal.SIGTERM)
    yield
    if answer is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, answer)


def _reach(address: str) -> None:
    """Raise OSError at once where nobody listens at host:port; Ray itself would try for most of a minute."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()


def run_on_cluster(
    jobs: Iterable[PhotoJob],
    source: EngineSource,
    settings: Settings,
    events: Events,
    summary: Summary,
    journals: Journals,
    pages: Sequence[Page] = (),
) -> None:
    """Upscale every job's photo on the connected cluster, filling in `summary`: run_batch for many machines.

    `pages` are shown a part of each result, which the workers cut out. Interrupts pass through: unfinished results go.
    Raises UsageError when no machine can upscale.
    """
    begun = time.monotonic()
    driver = _Driver(source, settings, events, summary, journals, pages)
    try:
        driver.run(due(jobs, events, summary, journals, overwrite=settings.overwrite))
    finally:
        driver.close()
        summary.seconds += time.monotonic() - begun


class _Driver:
    """One run's photos on their way."""

    def __init__(
        self,
        source: EngineSource,
        settings: Settings,
        events: Events,
        summary: Summary,
        journals: Journals,
        pages: Sequence[Page],
    ) -> None:
        import ray

        def hire(options: dict[str, Any], threads: int | None) -> Any:
            remote: Any = ray.remote(Worker)
            return remote.options(**options).remote(source, settings, threads)

        self._events, self._summary, self._journals = events, summary, journals
        self._pages = pages
        self._crew = Crew(hire, self._ask, IN_FLIGHT)
        self._staging = f"{STAGING}{uuid4().hex[:12]}"
        self._staged_in: set[Path] = set()

    def run(self, jobs: Iterator[PhotoJob]) -> None:
        tasks = (_Task(job, self._stage(job, number)) for number, job in enumerate(jobs))
        self._crew.run(tasks, self._finish, self._fail)

    def close(self) -> None:
        self._crew.close()
        for folder in self._staged_in:
            shutil.rmtree(folder, ignore_errors=True)

    def _stage(self, job: PhotoJob, number: int) -> Path:
        """Where a worker writes the result: in a folder of its own, on the same file system as its place."""
        folder = job.target.absolute().parent / self._staging
        self._staged_in.add(folder)
        return folder / str(number) / f"result{job.target.suffix}"

    def _ask(self, actor: Any, task: _Task) -> Any:
        job = replace(task.job, source=task.job.source.absolute(), target=task.staged, root=None)
        window = next((page.window for page in self._pages if page.wants_pictures()), None)
        return actor.do.remote(job, window)

    def _finish(self, task: _Task, outcome: Outcome) -> None:
        """Give a staged result its name, after the journal has it."""
        self._summary.tiles.add(outcome.seen)
        done, job, journal = outcome.done, task.job, self._journals.of(task.job)
        if done is None:
            if outcome.damaged and journal is not None:
                with suppress(OSError):
                    journal.add_failed(job, outcome.reason)
            return self._fail(task, SRError(outcome.reason))
        try:
            if journal is not None and outcome.stamp is not None:
                journal.add_done(job, outcome.stamp, outcome.content, task.staged)
            task.staged.replace(job.target)
        except OSError as error:
            return self._fail(task, SRError(f"{job.target} cannot be written ({error.strerror or error})"))
        self._events.started(job, done.size)
        self._events.advanced(done.pixels)
        self._summary.add(done)
        if outcome.glimpse is not None:
            for page in self._pages:
                page.shown(job, outcome.glimpse)
        return self._events.finished(job, done)

    def _fail(self, task: _Task, error: Exception) -> None:
        unexpected = f"unexpected {error!r} on another machine; please report this with the photo"
        failure = Failure(task.job.source, str(error) if isinstance(error, SRError) else unexpected)
        self._summary.failures.append(failure)
        self._events.failed(failure)
