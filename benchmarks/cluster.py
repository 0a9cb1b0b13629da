"""What a second worker brings, and what a photo costs the driver, on Ray clusters that are started here.

    python benchmarks/cluster.py [--photos 24] [--side 160] [--rounds 2] [--workers 1,2] [--device-seconds S]

Each node has one core, and its worker's engine one thread, so that two of them are to one as two machines would be, but
for what they share: memory's bandwidth, the last cache, the clock, and this machine's other work: it needs as many
cores as workers, and nobody else on them. With `--device-seconds` the engine is a stand-in that takes so long for each
photo and no core, as a GPU would: what the cluster itself loses is left. Numbers of workers take turns. Counted is from
the moment that a quarter of the photos is finished, so that no start is in it; so is the CPU time of this process, the
driver.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch import make_photos
from measure import machine, print_table
from memory import Silence
from numpy.typing import NDArray

from sr_batch.cluster import run_on_cluster
from sr_batch.cluster_worker import EngineSource, ModelSource
from sr_batch.events import Done, Summary
from sr_batch.folders import Job, PhotoJob
from sr_batch.guard import Guard, Stream
from sr_batch.journal import open_journals
from sr_batch.photos import PhotoFormat
from sr_batch.settings import Settings
from sr_export.model import find_model


class Clock(Silence):
    """Notes when photos are finished: wall time and this process's CPU time."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def finished(self, _job: Job, _done: Done) -> None:
        self.times.append((time.perf_counter(), time.process_time()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--device-seconds", type=float)
    options = parser.parse_args()
    speeds: dict[int, list[float]] = {int(workers): [] for workers in options.workers.split(",")}
    source = _shipped_model() if options.device_seconds is None else Clockwork(options.device_seconds)
    costs: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        photos = make_photos(Path(name) / "photos", options.photos, options.side)
        for round_ in range(options.rounds):
            for workers in speeds:
                speed, cost = _run(photos, Path(name) / f"{round_}_{workers}", workers, source)
                speeds[workers].append(speed)
                costs.append(cost)
    what = "shipped model, one thread a worker" if options.device_seconds is None else f"{source}"
    print(f"{machine()}\n\n{options.photos} photos of {options.side}x{options.side}, {what}\n")
    medians = {workers: statistics.median(found) for workers, found in speeds.items()}
    first = next(iter(medians.values()))
    rows = [[str(workers), f"{speed:.2f}", f"{speed / first:.2f}x"] for workers, speed in medians.items()]
    print_table(["workers", "photos/s", "speed"], rows)
    print(f"\nThe driver's CPU time for a photo: {statistics.median(costs) * 1000:.1f} ms")


@dataclass(frozen=True)
class Clockwork:
    """An EngineSource: pixels are repeated, and each batch takes its time."""

    seconds: float

    def open(self, _stack: ExitStack, _threads: int | None) -> tuple[Stream, Guard | None]:
        return self._stream, None

    def _stream(self, batches: Iterable[NDArray[Any]]) -> Generator[NDArray[Any]]:
        for batch in batches:
            time.sleep(self.seconds)
            yield batch.repeat(4, axis=1).repeat(4, axis=2)

    def __str__(self) -> str:
        return f"a stand-in that takes {self.seconds} s for each and no core"


def _shipped_model() -> EngineSource:
    model = find_model("srresnet")
    return ModelSource(model.path.name, model.path.read_bytes(), "openvino", "fp32")


def _run(photos: list[Path], out: Path, workers: int, source: EngineSource) -> tuple[float, float]:
    """Photos a second, and CPU seconds of the driver for each."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    try:
        for _ in range(workers):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        jobs = [PhotoJob(path, out / f"{path.stem}.png", PhotoFormat.PNG, root=out) for path in photos]
        clock, summary = Clock(), Summary()
        out.mkdir()
        with open_journals([out], "benchmark") as journals:
            run_on_cluster(jobs, source, Settings(4, 256, 12), clock, summary, journals)
        assert summary.done == len(photos), summary.failures
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
    first = len(photos) // 4
    (begun, cpu), (ended, cpu_after) = clock.times[first], clock.times[-1]
    count = len(photos) - 1 - first
    return count / (ended - begun), (cpu_after - cpu) / count


if __name__ == "__main__":
    main()
