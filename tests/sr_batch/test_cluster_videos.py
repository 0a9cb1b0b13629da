"""Videos over real Ray clusters of two nodes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from PIL import Image

from sr_batch.guard import Guard, Stream
from sr_batch.upscale import Counts
from sr_batch.videos.inference import Network
from sr_batch.videos.upscaling import VideoDone, VideoSettings, upscale_video
from tests.conftest import random_pixels
from tests.sr_batch.clusters import local_cluster
from tests.sr_batch.conftest import totals
from tests.sr_batch.videos.films import FAST, Film, Stopped, number_of, numbers_in, repeat, times_in, write_film

ray = pytest.importorskip("ray", reason="ray is not installed (pip install 'sr-toolkit[cluster]')")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings

FRAMES = 130  # segments of 24 at the least
FILM = Film(pts=tuple(range(0, FRAMES * 512, 512)), languages=["eng"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with local_cluster() as made:
        yield made


@dataclass(frozen=True)
class StubSource:
    """Repeats pixels, as a worker's engine, and writes down the number of each frame that it was given."""

    log: Path  # folder
    deadly: int = -1  # the frame that kills its worker's process, once
    held: int = -1  # the frame that is not finished before the worker is killed
    stuck: str = ""  # the node on which no frame is finished; on the others none before it has got one

    def open(self, _stack: ExitStack, _threads: int | None) -> tuple[Stream, Guard | None]:
        return self._stream, None

    def _stream(self, batches: Iterable[Any]) -> Generator[Any]:
        for batch in batches:
            number = number_of(batch[0], 1)
            if number == self.deadly and not (self.log / "death").exists():
                (self.log / "death").touch()
                os._exit(1)
            if number == self.held:
                time.sleep(120)
            if self.stuck:
                self._hang()
            time.sleep(0.02)
            with (self.log / f"seen{os.getpid()}").open("a") as file:
                file.write(f"{number}\n")
            yield from repeat(4)([batch])

    def _hang(self) -> None:
        if ray.get_runtime_context().get_node_id() == self.stuck:
            (self.log / "stuck").touch()
            time.sleep(120)
        while not (self.log / "stuck").exists():
            time.sleep(0.1)

    def seen(self) -> list[list[int]]:
        """What each worker's engine was given."""
        return [[int(line) for line in path.read_text().split()] for path in self.log.glob("seen*")]


def _enlarge(
    folder: Path, source: StubSource, counts: Counts | None = None, progress: Callable[[int, int], None] | None = None
) -> VideoDone:
    from sr_batch.cluster_videos import making_parts

    settings = VideoSettings(4, tile=64, halo=4, encoding=FAST, reuse_bytes=0)
    film, result, network = folder / "film.mp4", folder / "large.mp4", Network(repeat(4), "model")
    with making_parts(source, counts or Counts()) as make:
        return upscale_video(
            film, result, network, settings, "content", progress or (lambda _done, _total: None), make_parts=make
        )


def _prepared(folder: Path, deadly: int = -1) -> StubSource:
    (folder / "log").mkdir()
    write_film(folder / "film.mp4", FILM)
    return StubSource(folder / "log", deadly)


def _check(folder: Path) -> None:
    """The result is right, and nothing else is left."""
    assert numbers_in(folder / "large.mp4", 4) == list(range(FRAMES))
    assert times_in(folder / "large.mp4") == times_in(folder / "film.mp4")
    assert sorted(path.name for path in folder.iterdir()) == ["film.mp4", "large.mp4", "log"]


@pytest.mark.usefixtures("cluster")
def test_a_video_is_made_by_all_nodes_each_frame_once(tmp_path: Path) -> None:
    source, counts, told = _prepared(tmp_path), Counts(), []
    done = _enlarge(tmp_path, source, counts, lambda done, total: told.append((done, total)))
    assert (done.frames, done.resumed, done.verified.copied_streams) == (FRAMES, 0, 1)
    _check(tmp_path)
    seen = source.seen()
    assert len(seen) == 2 and sorted(chain(*seen)) == list(range(FRAMES))
    assert counts.tiles == FRAMES
    assert told == sorted(told) and told[0] == (0, FRAMES) and told[-1] == (FRAMES, FRAMES)


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_dies_costs_the_segment_in_its_hands(tmp_path: Path) -> None:
    source = _prepared(tmp_path, deadly=70)
    done = _enlarge(tmp_path, source)
    assert done.frames == FRAMES
    _check(tmp_path)
    seen = list(chain(*source.seen()))
    assert (tmp_path / "log" / "death").exists()
    assert set(seen) == set(range(FRAMES)) and len(seen) <= FRAMES + 48


def test_a_machine_that_goes_away_costs_the_segment_in_its_hands(cluster: Any, tmp_path: Path) -> None:
    gone = cluster.add_node(num_cpus=1)
    source = replace(_prepared(tmp_path), stuck=gone.node_id)

    def leave() -> None:
        while not (source.log / "stuck").exists():
            time.sleep(0.1)
        cluster.remove_node(gone, allow_graceful=False)

    thread = Thread(target=leave, daemon=True)
    thread.start()
    done = _enlarge(tmp_path, source)
    thread.join(60)
    assert not thread.is_alive()
    assert done.frames == FRAMES
    _check(tmp_path)
    assert sorted(chain(*source.seen())) == list(range(FRAMES))


@pytest.mark.usefixtures("cluster")
def test_what_an_interrupted_run_finished_out_of_order_is_not_made_again(tmp_path: Path) -> None:
    """The first segment is not finished when the run is stopped; others are."""
    source = replace(_prepared(tmp_path), held=10)

    def stop(_done: int, _total: int) -> None:
        if list(tmp_path.glob(".*.sr-segments/*.json")):
            raise Stopped

    with pytest.raises(Stopped):
        _enlarge(tmp_path, source, progress=stop)
    finished = list(tmp_path.glob(".*.sr-segments/*.json"))
    kept = len(list(tmp_path.glob(".*.sr-parts/*.mp4")))
    assert len(finished) >= 1 and kept == 0
    for path in source.log.glob("seen*"):
        path.unlink()
    done = _enlarge(tmp_path, replace(source, held=-1))
    assert done.frames == FRAMES and done.resumed >= 24
    _check(tmp_path)
    assert len(list(chain(*source.seen()))) == FRAMES - done.resumed


def test_the_command_does_photos_and_videos_and_shows_them_in_its_report(
    cluster: Any, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    inputs, out, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.html"
    inputs.mkdir()
    write_film(inputs / "film.mp4", FILM)
    for index in range(2):
        Image.fromarray(random_pixels(20, 30, index)).save(inputs / f"{index}.png")
    command = [str(inputs), "-o", str(out), "-n", str(tiny_checkpoint), "--engine", "onnx", "--precision", "fp32"]
    command += ["--preset", "ultrafast", "--report", str(report), "--cluster", cluster.address]
    done = subprocess.run([sys.executable, "-m", "sr_batch.cli", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert totals(done.stderr)["done"] == "3"
    assert len(times_in(out / "film.mp4")) == FRAMES
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {"film.mp4", "0.png", "1.png"}
    page = report.read_text()
    assert page.count("<article") == 3
    assert page.count('alt="Before: the photo') == page.count('alt="After: the result"') == 2
    again = subprocess.run([sys.executable, "-m", "sr_batch.cli", *command], capture_output=True, text=True)
    assert totals(again.stderr)["already done"] == "3"
