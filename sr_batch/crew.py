"""Ray actors, one for each device of the cluster, and the work that they have. What the work is, its caller knows.

Each GPU gets an actor; a machine without one gets an actor with all its cores. Machines may come and go: what an actor
had in hand when it died is given to another. Placement and transport are Ray's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Generic, TypeVar

from sr_train.errors import SRError, UsageError

__all__ = ["Crew", "Hire"]

T = TypeVar("T")
# Starts an actor with these options of Ray's, on so many CPU threads (None: it has a GPU). Its class has a method
# `where`, which answers once the engine is open.
Hire = Callable[[dict[str, Any], int | None], Any]

MOST_TRIES = 3  # of work whose worker dies
LOOK_SECONDS = 1.0  # between looks for machines that joined
PULSE_SECONDS = 2.0


@dataclass
class _Task(Generic[T]):
    work: T
    tries: int = 0


@dataclass
class _Device(Generic[T]):
    """An actor, and the work that it has."""

    actor: Any
    node: str
    ready: Any  # a reference that resolves when its engine is open
    is_ready: bool = False
    calls: dict[Any, _Task[T]] = field(default_factory=dict)

    def is_on_trial(self) -> bool:
        """It has work that may be its death."""
        return any(task.tries > 2 for task in self.calls.values())


class Crew(Generic[T]):
    """The actors of a run, hired when there is work. For one thread; `close` lets them go."""

    def __init__(self, hire: Hire, ask: Callable[[Any, T], Any], in_flight: int) -> None:
        """`ask` calls an actor with a piece of work, for Ray's reference. `in_flight`: pieces that each holds."""
        self._hire, self._ask, self._in_flight = hire, ask, in_flight
        self._devices: list[_Device[T]] = []
        self._nodes: set[str] = set()  # that have had their actors
        self._again: deque[_Task[T]] = deque()  # whose workers died
        self._problem = ""  # why a device could not open its engine

    def run(
        self,
        work: Iterator[T],
        finished: Callable[[T, Any], None],
        failed: Callable[[T, Exception], None],
        pulse: Callable[[Sequence[Any]], None] = lambda _: None,
    ) -> None:
        """Have all of it done. `finished` gets each piece with what its call returned, `failed` with what it raised, or
        with an SRError where its workers died. `pulse` gets the actors at work every few seconds.

        Raises UsageError when no machine can work. What the callbacks raise comes through, and all actors are let go.
        """
        try:
            self._run((_Task(piece) for piece in work), finished, failed, pulse)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        import ray

        for device in self._devices:
            with suppress(Exception):
                ray.kill(device.actor)
        self._devices, self._nodes, self._again = [], set(), deque()

    def _run(
        self,
        tasks: Iterator[_Task[T]],
        finished: Callable[[T, Any], None],
        failed: Callable[[T, Exception], None],
        pulse: Callable[[Sequence[Any]], None],
    ) -> None:
        import ray

        first = next(tasks, None)
        if first is None:
            return  # nobody is hired for nothing
        tasks, felt = chain([first], tasks), time.monotonic()
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
            over, _ = ray.wait(waiting + opening, num_returns=1, timeout=LOOK_SECONDS)
            for ref in over:
                self._take(ref, finished, failed)
            if time.monotonic() - felt >= PULSE_SECONDS:
                pulse([device.actor for device in self._devices if device.calls])
                felt = time.monotonic()

    def _look_for_nodes(self) -> None:
        """An actor for each device of machines that joined."""
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
                options = {"max_restarts": 0, "max_concurrency": self._in_flight + 1, "scheduling_strategy": strategy}
                actor = self._hire({**needs, **options}, None if gpus else cpus)
                self._devices.append(_Device(actor, name, actor.where.remote()))

    def _feed(self, tasks: Iterator[_Task[T]]) -> bool:
        """Give ready actors what they can hold. Whether there may be more to give."""
        for device in self._devices:
            while device.is_ready and len(device.calls) < self._in_flight and not device.is_on_trial():
                if self._again and self._again[0].tries > 1 and device.calls:
                    break  # whose workers died twice is tried alone: the others do not suffer for it
                task = self._again.popleft() if self._again else next(tasks, None)
                if task is None:
                    return False
                task.tries += 1
                device.calls[self._ask(device.actor, task.work)] = task
        return True

    def _take(self, ref: Any, finished: Callable[[T, Any], None], failed: Callable[[T, Exception], None]) -> None:
        import ray
        from ray.exceptions import RayError, RayTaskError

        device = next(device for device in self._devices if ref == device.ready or ref in device.calls)
        task = device.calls.pop(ref, None)
        try:
            value = ray.get(ref)
        except RayTaskError as error:
            if task is None:  # it could not open its engine
                return self._lose(device, None, error, failed)
            cause = error.cause
            return failed(task.work, cause if isinstance(cause, Exception) else error)
        except RayError as error:
            return self._lose(device, task, error, failed)
        if task is None:
            device.is_ready = True
            return None
        return finished(task.work, value)

    def _lose(
        self, device: _Device[T], task: _Task[T] | None, error: Exception, failed: Callable[[T, Exception], None]
    ) -> None:
        """A worker died, or could not open its engine: others get what it had. Its machine may be back later."""
        from ray.exceptions import OutOfMemoryError

        self._devices.remove(device)
        cause = getattr(error, "cause", None) or error
        if not device.is_ready:
            full = "Ray ended a worker because its machine's memory was nearly full"
            self._problem = full if isinstance(error, OutOfMemoryError) else str(cause).strip().splitlines()[-1]
        elif any(node["NodeID"] == device.node and node["Alive"] for node in _nodes()):
            self._nodes.discard(device.node)  # the process died, not the machine: a new one is started there
        for lost in [*([task] if task is not None else []), *device.calls.values()]:
            if lost.tries >= MOST_TRIES:
                reason = f"its worker died {MOST_TRIES} times (out of memory, or a fault of the machine)"
                failed(lost.work, SRError(reason))
            else:
                self._again.append(lost)


def _nodes() -> list[dict[str, Any]]:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes
