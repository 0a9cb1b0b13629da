"""Whatever ends the work: finished parts stay, the same call goes on after them, and the result is the same."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sr_batch.errors import UnwritableVideo, VideoMismatch
from sr_batch.videos import upscaling
from sr_batch.videos.encoding import Codec, EncodingOptions
from sr_batch.videos.joining import join
from sr_batch.videos.part_writer import PartWriter
from sr_batch.videos.upscaling import PartRule
from sr_train.errors import UsageError
from tests.sr_batch.disks import small_disk
from tests.sr_batch.videos.films import Film, Stopped, enlarge_film, numbers_in, repeat, times_in, write_film

LOSSLESS = EncodingOptions(Codec.H264, crf=0, preset="ultrafast")


def no_engine(batches: Iterable[Any]) -> Generator[Any]:
    for _ in batches:
        raise AssertionError("nothing is to be computed")
    yield from ()


def parts_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(".*.sr-parts/*") if path.suffix != ".jsonl")


def pictures(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


@pytest.mark.parametrize("error", [Stopped(), KeyboardInterrupt()])
def test_an_interrupted_video_goes_on_at_the_next_frame(tmp_path: Path, error: BaseException) -> None:
    """The part that was in work is finished first: nothing that was computed is lost."""
    source, result = write_film(tmp_path / "film.mp4", Film(languages=["eng"])), tmp_path / "large.mp4"
    with pytest.raises(type(error)):
        enlarge_film(source, result, stop_at=13, error=error)
    assert not result.exists()
    assert len(parts_in(tmp_path)) == 2
    done = enlarge_film(source, result)
    assert (done.frames, done.resumed) == (24, 13)
    assert times_in(result) == times_in(source)
    assert numbers_in(result, 4) == list(range(24))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
def test_each_part_is_a_whole_video_that_keeps_its_first_frames(tmp_path: Path, ending: str) -> None:
    """What a kill leaves can be played, and some containers lose the first frames of a piece."""
    codec = EncodingOptions(Codec.VP9, preset="5") if ending == "webm" else EncodingOptions(Codec.H264, crf=4)
    film = Film(range(0, 960, 40), Fraction(1, 1000))
    if ending == "webm":
        film = replace(film, codec="libvpx-vp9", options={"deadline": "realtime"})
    with pytest.raises(Stopped):
        enlarge_film(
            write_film(tmp_path / f"film.{ending}", film), tmp_path / f"large.{ending}", 1, stop_at=23, encoding=codec
        )
    assert [numbers_in(part, 1) for part in parts_in(tmp_path)] == [[*range(10)], [*range(10, 20)], [*range(20, 23)]]


def test_nothing_is_computed_again_when_only_the_join_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, result = write_film(tmp_path / "film.mp4", Film()), tmp_path / "large.mp4"

    def no_join(*_: Any) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(upscaling, "join", no_join)
        with pytest.raises(Stopped):
            enlarge_film(source, result)
    assert enlarge_film(source, result, stream=no_engine).resumed == 24


def test_a_part_that_was_changed_is_made_again(tmp_path: Path) -> None:
    source, result = write_film(tmp_path / "film.mp4", Film()), tmp_path / "large.mp4"
    with pytest.raises(Stopped):
        enlarge_film(source, result, stop_at=22)
    second = parts_in(tmp_path)[1]
    second.write_bytes(second.read_bytes()[:-100])
    assert enlarge_film(source, result).resumed == 10
    assert numbers_in(result, 4) == list(range(24))


def test_a_journal_line_that_was_cut_off_costs_only_its_part(tmp_path: Path) -> None:
    source, result = write_film(tmp_path / "film.mp4", Film()), tmp_path / "large.mp4"
    with pytest.raises(Stopped):
        enlarge_film(source, result, stop_at=22)
    journal = next(tmp_path.glob(".*.sr-parts/parts.jsonl"))
    journal.write_bytes(journal.read_bytes()[:-20])
    assert enlarge_film(source, result).resumed == 20
    assert numbers_in(result, 4) == list(range(24))


def test_other_options_do_not_take_these_parts_and_do_not_lose_them(tmp_path: Path) -> None:
    source, result = write_film(tmp_path / "film.mp4", Film()), tmp_path / "large.mp4"
    with pytest.raises(Stopped):
        enlarge_film(source, result, stop_at=13)
    other = EncodingOptions(crf=30, preset="ultrafast")
    with pytest.raises(Stopped):
        enlarge_film(source, result, stop_at=3, encoding=other)
    assert enlarge_film(source, result).resumed == 13
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_two_runs_do_not_make_the_same_video(tmp_path: Path) -> None:
    source, result = write_film(tmp_path / "film.mp4", Film()), tmp_path / "large.mp4"

    def second_run(batches: Iterable[Any]) -> Generator[Any]:
        with pytest.raises(UsageError, match="another sr-batch"):
            enlarge_film(source, result)
        yield from repeat(4)(batches)

    assert enlarge_film(source, result, stream=second_run).frames == 24


def test_a_part_is_finished_after_some_time_too(tmp_path: Path) -> None:
    source, result = write_film(tmp_path / "film.mp4", Film()), tmp_path / "large.mp4"
    with pytest.raises(Stopped):
        enlarge_film(source, result, stop_at=23, part=PartRule(frames=999, least=4, seconds=0))
    assert len(parts_in(tmp_path)) == 6


def test_a_full_disk_keeps_the_finished_parts_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, result = write_film(tmp_path / "film.mp4", Film()), tmp_path / "large.mp4"
    add, count = PartWriter.add, 0

    def full(self: PartWriter, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if count > 17:
            with self._or_nothing():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "add", full)
        with pytest.raises(UnwritableVideo, match=r"no space left in .*goes on from the last finished part"):
            enlarge_film(source, result)
    assert len(parts_in(tmp_path)) == 1
    assert enlarge_film(source, result).resumed == 10
    assert numbers_in(result, 4) == list(range(24))


PAGE = 4096  # bytes: a tmpfs gives no less


@pytest.mark.parametrize(
    ("shares", "finished", "words"),
    [
        (0.5, range(1, 6), r"disk \(No space left on device\).*goes on from the last finished part"),
        (1.5, [6], r"disk to join .*nothing is computed again"),
        (2.1, [6], r"disk \(No space left on device\)"),
    ],
    ids=["while a part is written", "before the join", "while joining"],
)
def test_a_disk_that_is_really_full(tmp_path: Path, shares: float, finished: Sequence[int], words: str) -> None:
    """Finished parts are all that is left, and once there is space the same call goes on after them."""
    chosen: dict[str, Any] = {"encoding": LOSSLESS, "part": PartRule(frames=4)}
    source = write_film(tmp_path / "film.mp4", Film(size=(96, 128), languages=["eng", "fra", "deu"]))
    with pytest.raises(Stopped):
        enlarge_film(source, tmp_path / "tried.mp4", stop_at=24, **chosen)
    needed = PAGE + sum(-(-path.stat().st_size // PAGE) * PAGE for path in parts_in(tmp_path))
    with small_disk(tmp_path / "disk", 1024) as disk:
        ballast, result = disk / "ballast", disk / "large.mp4"
        ballast.write_bytes(bytes(1024 * 1024 - int(needed * shares)))
        with pytest.raises(UnwritableVideo, match="no space left in .*" + words):
            enlarge_film(source, result, **chosen)
        assert not result.exists()
        assert [path.suffix for path in disk.iterdir() if path != ballast] == [".sr-parts"]
        kept = len(parts_in(disk))
        assert kept in finished
        ballast.unlink()
        done = enlarge_film(source, result, **chosen)
        assert (done.frames, done.resumed) == (24, 4 * kept)
        assert times_in(result) == times_in(source)
        assert numbers_in(result, 4) == list(range(24))
        assert [path.name for path in disk.iterdir()] == ["large.mp4"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mp4", Film())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnwritableVideo, match="cannot be made"):
        enlarge_film(source, tmp_path / "file" / "large.mp4")


def test_a_result_that_is_not_what_it_must_be_does_not_get_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts stay, so that nothing is computed again once the cause is found."""
    source, result = write_film(tmp_path / "film.mp4", Film(languages=["eng"])), tmp_path / "large.mp4"
    right = join

    def late(*arguments: Any) -> None:
        """One frame a tick late."""
        _, parts, *_ = arguments
        last = parts.finished[-1]
        moved = [*last.pts[:-1], last.pts[-1] + 1]
        object.__setattr__(last, "pts", tuple(moved))
        right(*arguments)
        object.__setattr__(last, "pts", (*moved[:-1], moved[-1] - 1))

    with monkeypatch.context() as patch:
        patch.setattr(upscaling, "join", late)
        with pytest.raises(VideoMismatch, match=r"frame, number 23, is at 0.920078 s instead of 0.920000 s.*kept"):
            enlarge_film(source, result)
    assert not result.exists()
    assert len(parts_in(tmp_path)) == 3
    assert enlarge_film(source, result).resumed == 24


RUN = """
import sys, time
from pathlib import Path
from sr_batch.videos.encoding import Codec, EncodingOptions
from sr_batch.videos.upscaling import PartRule
from tests.sr_batch.disks import small_disk
from tests.sr_batch.videos.films import enlarge_film, repeat

def slow(batches):
    for batch in batches:
        time.sleep(0.004)
        yield from repeat(4)([batch])

print("begun", flush=True)
encoding, part = EncodingOptions(Codec.H264, crf=0, preset="ultrafast"), PartRule(frames=4)
enlarge_film(Path(sys.argv[1]), Path(sys.argv[2]), stream=slow, encoding=encoding, part=part)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_killed_at_twenty_random_moments_the_result_is_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    pts = [40 * index + (index * 7) % 5 for index in range(80)]
    source = write_film(tmp_path / "film.mkv", Film(pts, Fraction(1, 1000), languages=["eng"]))
    calm, killed = tmp_path / "calm.mkv", tmp_path / "killed.mkv"
    enlarge_film(source, calm, encoding=LOSSLESS)
    moments, kills = random.Random(7), 0
    command = [sys.executable, "-c", RUN, str(source), str(killed)]
    while kills < 20:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0.0, 0.25))
            process.send_signal(signal.SIGKILL)
        if killed.exists():  # it was quicker: from the beginning again
            assert_same(killed, calm)
            killed.unlink()
        kills += 1
    enlarge_film(source, killed, encoding=LOSSLESS, part=PartRule(frames=4))
    assert_same(killed, calm)


def assert_same(one: Path, other: Path) -> None:
    assert times_in(one) == times_in(other)
    assert all(np.array_equal(a, b) for a, b in zip(pictures(one), pictures(other), strict=True))
