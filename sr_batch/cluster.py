"""More than one machine: the jobs of a run as calls of Ray actors, one for each device of the cluster.

    driver: jobs ─to do?─▶ calls, a few in flight for each actor ─▶ staged results ─journal, rename─▶ results

The driver has the journal and the only word: a worker writes to a staging folder beside the result, and the driver
gives the result its name. So whatever dies, results are complete, and none is made twice: a call that is lost with its
worker goes to another one, and what the first had finished is found there. Files must be on storage that all machines
see under the same paths; pixels never travel. Placement and transport are Ray's.
"""

from __future__ import annotations

import logging
import shutil
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from sr_batch.cluster_worker import EngineSource, Outcome, Worker
from sr_batch.due import due
from sr_batch.events import Events, Failure, Summary
from sr_batch.folders import PhotoJob
from sr_batch.journal import Journals
from sr_batch.settings import Settings
from sr_batch.upscale import Counts
from sr_train.errors import UsageError

__all__ = ["connected", "run_on_cluster"]

IN_FLIGHT = 4  # calls for each actor: one decoding, one or two in the engine, one encoding
MOST_TRIES = 3  # of a photo whose worker dies
REACH_SECONDS = 5.0  # for the head to answer
LOOK_SECONDS = 1.0  # between looks for machines that joined
STAGING = ".sr-batch-staging-"  # a hidden folder beside the results, gone when the run has ended


@dataclass
class _Device:
    """An actor, and the photos that it has."""

    actor: Any
    node: str
    ready: Any  # a reference that resolves when its engine is open
    is_ready: bool = False
    calls: dict[Any, _Task] = field(default_factory=dict)

    def is_on_trial(self) -> bool:
        """It has a photo that may be its death."""
        return any(task.tries > 2 for task in self.calls.values())


@dataclass
class _Task:
    job: PhotoJob
    staged: Path
    tries: int = 0


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
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"no Ray cluster can be used at {address} ({first}); start one with: ray start --head (see docs/cluster.md)"
        ) from error
    try:
        yield
    finally:
        if not already:
            ray.shutdown()


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
) -> None:
    """Upscale every job's photo on the connected cluster, filling in `summary`: run_batch for many machines.

    Interrupts pass through: unfinished results go. Raises UsageError when no machine can upscale.
    """
    begun = time.monotonic()
    driver = _Driver(source, settings, events, summary, journals)
    try:
        driver.run(due(jobs, events, summary, journals, overwrite=settings.overwrite))
    finally:
        driver.close()
        summary.seconds += time.monotonic() - begun


class _Driver:
    """The calls in flight of one run."""

    def __init__(
        self,
        source: EngineSource,
        settings: Settings,
        events: Events,
        summary: Summary,
        journals: Journals,
    ) -> None:
        self._source, self._settings = source, settings
        self._events, self._summary, self._journals = events, summary, journals
        self._devices: list[_Device] = []
        self._nodes: set[str] = set()  # that have had their actors
        self._again: deque[_Task] = deque()  # whose workers died
        self._staging = f"{STAGING}{uuid4().hex[:12]}"
        self._staged_in: set[Path] = set()
        self._problem = ""  # why a device could not open its engine

    def run(self, jobs: Iterator[PhotoJob]) -> None:
        import ray

        tasks = (_Task(job, self._stage(job, number)) for number, job in enumerate(jobs))
        while True:
            self._look_for_nodes()
            more = self._feed(tasks)
            waiting = [ref for device in self._devices for ref in device.calls]
            if not more and not waiting:
                return
            opening = [device.ready for device in self._devices if not device.is_ready]
            if not waiting and not opening:
                reason = self._problem or "it has no machine with CPUs or GPUs"
                raise UsageError(f"the cluster cannot upscale: {reason}")
            finished, _ = ray.wait(waiting + opening, num_returns=1, timeout=LOOK_SECONDS)
            for ref in finished:
                self._take(ref)

    def close(self) -> None:
        import ray

        for device in self._devices:
            with suppress(Exception):
                ray.kill(device.actor)
        for folder in self._staged_in:
            shutil.rmtree(folder, ignore_errors=True)

    def _stage(self, job: PhotoJob, number: int) -> Path:
        """Where a worker writes the result: in a folder of its own, on the same file system as its place."""
        folder = job.target.absolute().parent / self._staging
        self._staged_in.add(folder)
        return folder / str(number) / f"result{job.target.suffix}"

    def _look_for_nodes(self) -> None:
        """An actor for each device of machines that joined: each GPU, or all cores of a machine that has none."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for node in _nodes():
            name, resources = node["NodeID"], node.get("Resources", {})
            if not node["Alive"] or name in self._nodes:
                continue
            self._nodes.add(name)
            gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
            for _ in range(gpus or min(cpus, 1)):
                needs = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": cpus}
                strategy = NodeAffinitySchedulingStrategy(node_id=name, soft=False)
                options = {"max_restarts": 0, "max_concurrency": IN_FLIGHT + 1, "scheduling_strategy": strategy}
                threads = None if gpus else cpus
                remote: Any = ray.remote(Worker)
                actor = remote.options(**needs, **options).remote(self._source, self._settings, threads)
                self._devices.append(_Device(actor, name, actor.where.remote()))

    def _feed(self, tasks: Iterator[_Task]) -> bool:
        """Give ready actors what they can hold. Whether there may be more to give."""
        for device in self._devices:
            while device.is_ready and len(device.calls) < IN_FLIGHT and not device.is_on_trial():
                if self._again and self._again[0].tries > 1 and device.calls:
                    break  # whose workers died twice is tried alone: the others do not suffer for it
                task = self._again.popleft() if self._again else next(tasks, None)
                if task is None:
                    return False
                task.tries += 1
                job = replace(task.job, source=task.job.source.absolute(), target=task.staged, root=None)
                device.calls[device.actor.do.remote(job)] = task
        return True

    def _take(self, ref: Any) -> None:
        import ray
        from ray.exceptions import RayError, RayTaskError

        device = next(device for device in self._devices if ref == device.ready or ref in device.calls)
        task = device.calls.pop(ref, None)
        try:
            value = ray.get(ref)
        except RayTaskError as error:  # of the pipeline itself: not to be expected
            assert task is not None
            self._fail(task, f"unexpected {error.cause!r} on {device.node[:8]}; please report this with the photo")
        except RayError as error:
            self._lose(device, task, error)
        else:
            if task is None:
                device.is_ready = True
            else:
                self._finish(task, value)

    def _lose(self, device: _Device, task: _Task | None, error: Exception) -> None:
        """A worker died, or could not open its engine: others get what it had. Its machine may be back later."""
        self._devices.remove(device)
        cause = getattr(error, "cause", None) or error
        if not device.is_ready:
            self._problem = str(cause).strip().splitlines()[-1]
        elif any(node["NodeID"] == device.node and node["Alive"] for node in _nodes()):
            self._nodes.discard(device.node)  # the process died, not the machine: a new one is started there
        for lost in [*([task] if task is not None else []), *device.calls.values()]:
            if lost.tries >= MOST_TRIES:
                self._fail(lost, f"its worker died {MOST_TRIES} times (out of memory, or a fault of the machine)")
            else:
                self._again.append(lost)

    def _finish(self, task: _Task, outcome: Outcome) -> None:
        """Give a staged result its name, after the journal has it."""
        _add(self._summary.tiles, outcome.seen)
        done, job, journal = outcome.done, task.job, self._journals.of(task.job)
        if done is None:
            if outcome.damaged and journal is not None:
                with suppress(OSError):
                    journal.add_failed(job, outcome.reason)
            return self._fail(task, outcome.reason)
        try:
            if journal is not None and outcome.stamp is not None:
                journal.add_done(job, outcome.stamp, outcome.content, task.staged)
            task.staged.replace(job.target)
        except OSError as error:
            return self._fail(task, f"{job.target} cannot be written ({error.strerror or error})")
        self._events.started(job, done.size)
        self._events.advanced(done.pixels)
        self._summary.add(done)
        return self._events.finished(job, done)

    def _fail(self, task: _Task, reason: str) -> None:
        failure = Failure(task.job.source, reason)
        self._summary.failures.append(failure)
        self._events.failed(failure)


def _nodes() -> list[dict[str, Any]]:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _add(total: Counts, more: Counts) -> None:
    total.tiles += more.tiles
    total.reused += more.reused
    total.computed_pixels += more.computed_pixels
    total.rerun += more.rerun
    total.redone += more.redone
