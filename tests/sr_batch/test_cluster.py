"""Real Ray clusters of several nodes on this machine. The engine is the exact stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sr_batch import report
from sr_batch.cluster import STAGING, run_on_cluster
from sr_batch.events import Done, Failure, Summary
from sr_batch.folders import JOURNAL, Job, PhotoJob
from sr_batch.guard import Guard, Stream
from sr_batch.journal import open_journals
from sr_batch.photos import Photo, PhotoFormat, Size
from sr_batch.pipeline import Settings
from sr_batch.report import Record
from sr_batch.upscale import Band
from tests.conftest import random_pixels
from tests.sr_batch.clusters import local_cluster
from tests.sr_batch.conftest import totals
from tests.sr_batch.stubs import Pixels, enlarge

ray = pytest.importorskip("ray", reason="ray is not installed (pip install 'sr-toolkit[cluster]')")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings

SETTINGS = Settings(4, 64, 4)
HOLD = "hold"


@dataclass(frozen=True)
class StubSource:
    """The exact stand-in as a worker's engine. It writes down each picture that it was given."""

    log: Path  # folder
    seconds: float = 0.0  # for a batch
    deadly: int = -1  # the first value of the picture that kills its worker's process, and how often it does:
    deaths: int = 0
    crew: int = 0  # while there is the file HOLD, nothing is finished before so many workers are there

    def open(self, _stack: ExitStack, _threads: int | None) -> tuple[Stream, Guard | None]:
        (self.log / f"open{os.getpid()}").touch()
        return self._stream, None

    def _stream(self, batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            first = int(batch[0, 0, 0, 0])
            died = len(list(self.log.glob("death*")))
            if first == self.deadly and died < self.deaths:
                (self.log / f"death{died}").touch()
                os._exit(1)
            time.sleep(self.seconds)
            while (self.log / HOLD).exists() and len(list(self.log.glob("open*"))) < self.crew:
                time.sleep(0.1)
            with (self.log / f"seen{os.getpid()}").open("a") as file:
                file.write(f"{first}\n")
            yield enlarge(batch)


class Recorder:
    def __init__(self) -> None:
        self.finished_names: list[str] = []

    def started(self, job: Job, size: Size) -> None: ...

    def advanced(self, pixels: int) -> None: ...

    def frame(self, job: Job, done: int, total: int) -> None: ...

    def drawn(self, job: PhotoJob, photo: Photo, band: Band) -> None: ...

    def skipped(self, job: Job, reason: str) -> None: ...

    def failed(self, failure: Failure) -> None: ...

    def finished(self, job: Job, _done: Done) -> None:
        self.finished_names.append(job.target.name)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with local_cluster() as made:
        yield made


def _jobs(folder: Path, count: int) -> list[PhotoJob]:
    """Photos that are told apart by their first value."""
    (folder / "log").mkdir()
    jobs = []
    for index in range(count):
        pixels = random_pixels(20, 30, index).copy()
        pixels[0, 0] = index
        Image.fromarray(pixels).save(folder / f"{index}.png")
        out = folder / "out"
        jobs.append(PhotoJob(folder / f"{index}.png", out / f"{index}.png", PhotoFormat.PNG, root=out))
    return jobs


def _run(
    jobs: Sequence[PhotoJob], source: StubSource, take: Callable[[Record], None] | None = None
) -> tuple[Summary, Recorder]:
    """`take` gets what a report would."""
    summary, events = Summary(), Recorder()
    told = events if take is None else report.Recorder(events, [take], {})
    with open_journals([jobs[0].target.parent], "key") as journals:
        run_on_cluster(jobs, source, SETTINGS, told, summary, journals)
    return summary, events


def _check_results(jobs: Sequence[PhotoJob]) -> None:
    """Every result is right, and was made and noted once; nothing else is left in the folder."""
    for job in jobs:
        with Image.open(job.source) as photo, Image.open(job.target) as result:
            assert np.array_equal(np.asarray(result), enlarge(np.asarray(photo)))
    out = jobs[0].target.parent
    assert sorted(p.name for p in out.iterdir()) == sorted([JOURNAL, *(job.target.name for job in jobs)])
    noted = [json.loads(line)["result"] for line in (out / JOURNAL).read_text().splitlines()]
    assert sorted(noted) == sorted(job.target.name for job in jobs)


def _seen(source: StubSource) -> list[list[int]]:
    """What each worker's engine was given."""
    return [[int(line) for line in path.read_text().split()] for path in source.log.glob("seen*")]


@pytest.mark.usefixtures("cluster")
def test_photos_are_done_by_all_nodes_each_once_and_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    jobs, source = _jobs(tmp_path, 12), StubSource(tmp_path / "log", seconds=0.3)
    jobs[5].source.write_bytes(b"not a picture")
    summary, events = _run(jobs, source)
    assert [failure.source.name for failure in summary.failures] == ["5.png"]
    assert "not a picture" in summary.failures[0].reason
    assert summary.done == summary.tiles.tiles == 11 and len(events.finished_names) == 11
    seen = _seen(source)
    assert len(seen) == 2 and sorted(chain(*seen)) == [i for i in range(12) if i != 5]
    again, _ = _run(jobs, source)
    assert (again.done, again.skipped, len(again.failures)) == (0, 11, 1)


@pytest.mark.usefixtures("cluster")
def test_a_report_says_how_long_each_photo_took_its_worker(tmp_path: Path) -> None:
    records: list[Record] = []
    _run(_jobs(tmp_path, 3), StubSource(tmp_path / "log", seconds=0.3), records.append)
    took = [record["seconds"] for record in records if record["event"] == "finished"]
    assert len(took) == 3 and all(0.3 <= seconds < 10 for seconds in took)


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_dies_costs_nothing_but_what_it_had_in_hand(tmp_path: Path) -> None:
    jobs, source = _jobs(tmp_path, 12), StubSource(tmp_path / "log", seconds=0.1, deadly=3, deaths=2)
    summary, events = _run(jobs, source)
    assert (summary.done, summary.failures) == (12, [])
    assert sorted(events.finished_names) == sorted(job.target.name for job in jobs)
    _check_results(jobs)


@pytest.mark.usefixtures("cluster")
def test_a_photo_that_kills_every_worker_fails_alone(tmp_path: Path) -> None:
    jobs, source = _jobs(tmp_path, 8), StubSource(tmp_path / "log", deadly=2, deaths=9)
    summary, _ = _run(jobs, source)
    assert [failure.source.name for failure in summary.failures] == ["2.png"]
    assert "died 3 times" in summary.failures[0].reason
    assert summary.done == 7
    assert not list((tmp_path / "out").glob(f"{STAGING}*"))


def test_a_machine_that_goes_away_loses_no_photo_and_one_that_joins_takes_part(cluster: Any, tmp_path: Path) -> None:
    jobs, source = _jobs(tmp_path, 20), StubSource(tmp_path / "log", seconds=0.5, crew=4)
    gone = cluster.add_node(num_cpus=1)

    def change() -> None:
        while len(_seen(source)) < 3:
            time.sleep(0.1)
        (source.log / HOLD).touch()
        cluster.remove_node(gone, allow_graceful=False)
        cluster.add_node(num_cpus=1)

    thread = Thread(target=change, daemon=True)
    thread.start()
    summary, events = _run(jobs, source)
    thread.join(60)
    assert not thread.is_alive()
    assert (summary.done, summary.failures) == (20, [])
    assert sorted(events.finished_names) == sorted(job.target.name for job in jobs)
    _check_results(jobs)
    assert len(_seen(source)) == 4


def test_the_command_runs_a_folder_on_the_cluster_with_the_real_engine(
    cluster: Any, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    """Pixel for pixel what it makes on one machine."""
    _jobs(tmp_path, 3)
    for name, extra in (("alone", []), ("together", ["--cluster", cluster.address])):
        command = [str(tmp_path / f"{i}.png") for i in range(3)] + [
            "-n",
            str(tiny_checkpoint),
            "-o",
            str(tmp_path / name),
        ]
        command += ["--engine", "onnx", "--precision", "fp32", *extra]
        done = subprocess.run([sys.executable, "-m", "sr_batch.cli", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert totals(done.stderr)["done"] == "3"
    for index in range(3):
        alone, together = ((tmp_path / name / f"{index}.png").read_bytes() for name in ("alone", "together"))
        assert alone == together


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_the_command_can_be_stopped_while_the_cluster_works(
    cluster: Any, tmp_path: Path, tiny_checkpoint: Path, number: int, code: int, word: str
) -> None:
    """What is finished stays; nothing half-done, no staging folder, no traceback is left."""
    jobs = _jobs(tmp_path, 60)
    for job in jobs:
        Image.open(job.source).resize((600, 400)).save(job.source)
    command = [sys.executable, "-m", "sr_batch.cli", *(str(job.source) for job in jobs), "-n", str(tiny_checkpoint)]
    command += ["-o", str(tmp_path / "out"), "--engine", "onnx", "--cluster", cluster.address]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not any((tmp_path / "out").glob("*.png")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and word in said and "Traceback" not in said and "***" not in said
    left = {path.name for path in (tmp_path / "out").iterdir()}
    finished = left & {job.target.name for job in jobs}
    assert 1 <= len(finished) < 60 and left == {JOURNAL, *finished}


def test_a_cluster_that_is_not_there_is_one_sentence_with_the_fix(tmp_path: Path, tiny_checkpoint: Path) -> None:
    _jobs(tmp_path, 1)
    command = [str(tmp_path / "0.png"), "-n", str(tiny_checkpoint), "--cluster", "127.0.0.1:1"]
    done = subprocess.run([sys.executable, "-m", "sr_batch.cli", *command], capture_output=True, text=True)
    assert done.returncode == 2
    assert "ray start --head" in done.stderr and "Traceback" not in done.stderr
