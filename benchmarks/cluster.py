"""What a second worker brings, and what a photo costs the driver, on Ray clusters that are started here.

    python benchmarks/cluster.py [--photos 64] [--side 160] [--rounds 2] [--workers 1,2] [--device-seconds S]

Each node has one core, and its worker's engine one thread, so that two of them are to one as two machines would be, but
for what they share: memory's bandwidth, the last cache, the clock, and this machine's other work: it needs as many
cores as workers, and nobody else on them. With `--device-seconds` the engine is a stand-in that takes so long for each
photo and no core, as a GPU would: what the cluster itself loses is left. Numbers of workers take turns. Each does a
quarter of the photos, then all of them; the difference is what the others took, without start and end.
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
from sr_batch.events import Summary
from sr_batch.folders import PhotoJob
from sr_batch.guard import Guard, Stream
from sr_batch.journal import open_journals
from sr_batch.photos import PhotoFormat
from sr_batch.settings import Settings
from sr_export.model import find_model


@dataclass(frozen=True)
class Cost:
    """Wall time, and this process's (the driver's) CPU time."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--device-seconds", type=float)
    options = parser.parse_args()
    costs: dict[int, list[Cost]] = {int(workers): [] for workers in options.workers.split(",")}
    source = _shipped_model() if options.device_seconds is None else Clockwork(options.device_seconds)
    with tempfile.TemporaryDirectory() as name:
        photos = make_photos(Path(name) / "photos", options.photos, options.side)
        for round_ in range(options.rounds):
            for workers, found in costs.items():
                found.append(_run(photos, Path(name) / f"{round_}_{workers}", workers, source))
    what = "shipped model, one thread a worker" if options.device_seconds is None else f"{source}"
    print(f"{machine()}\n\n{options.photos} photos of {options.side}x{options.side}, {what}\n")
    speeds = {workers: 1 / statistics.median(cost.seconds for cost in found) for workers, found in costs.items()}
    first = next(iter(speeds.values()))
    rows = [[str(workers), f"{speed:.2f}", f"{speed / first:.2f}x"] for workers, speed in speeds.items()]
    print_table(["workers", "photos/s", "speed"], rows)
    cpu = statistics.median(cost.cpu_seconds for found in costs.values() for cost in found)
    print(f"\nThe driver's CPU time for a photo: {cpu * 1000:.1f} ms")


@dataclass(frozen=True)
class Clockwork:
    """An EngineSource: pixels are repeated, and each tile takes its time."""

    seconds: float

    def open(self, _stack: ExitStack, _threads: int | None) -> tuple[Stream, Guard | None]:
        return self._stream, None

    def _stream(self, batches: Iterable[NDArray[Any]]) -> Generator[NDArray[Any]]:
        for batch in batches:
            time.sleep(self.seconds * len(batch))
            yield batch.repeat(4, axis=1).repeat(4, axis=2)

    def __str__(self) -> str:
        return f"a stand-in that takes {self.seconds} s for each and no core"


def _shipped_model() -> EngineSource:
    model = find_model("srresnet")
    return ModelSource(model.path.name, model.path.read_bytes(), "openvino", "fp32")


def _run(photos: list[Path], out: Path, workers: int, source: EngineSource) -> Cost:
    """Of one more photo on so many workers: all photos less a quarter of them, so that start and end cancel."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    few = photos[: len(photos) // 4]
    try:
        for _ in range(workers):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        some, whole = _batch(few, out / "few", source), _batch(photos, out / "all", source)
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
    more = len(photos) - len(few)
    return Cost((whole.seconds - some.seconds) / more, (whole.cpu_seconds - some.cpu_seconds) / more)


def _batch(photos: list[Path], out: Path, source: EngineSource) -> Cost:
    """Of a whole run on the connected cluster, its start included."""
    out.mkdir(parents=True)
    jobs = [PhotoJob(path, out / f"{path.stem}.png", PhotoFormat.PNG, root=out) for path in photos]
    summary, begun, cpu = Summary(), time.perf_counter(), time.process_time()
    with open_journals([out], "benchmark") as journals:
        run_on_cluster(jobs, source, Settings(4, 256, 12), Silence(), summary, journals)
    assert summary.done == len(photos), summary.failures
    return Cost(time.perf_counter() - begun, time.process_time() - cpu)


if __name__ == "__main__":
    main()
