from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_batch import pipeline, space
from sr_batch.events import Summary
from sr_batch.folders import JOURNAL, PhotoJob
from sr_batch.journal import open_journals
from sr_batch.photos import PhotoFormat, WriteOptions
from sr_batch.pipeline import Settings, run_batch
from sr_train.errors import UsageError
from tests.conftest import random_pixels
from tests.sr_batch.stubs import repeat_4x
from tests.sr_batch.test_pipeline import Recorder

SETTINGS = Settings(scale=4, tile=64, halo=4)


def _jobs(folder: Path, count: int = 3) -> list[PhotoJob]:
    jobs = []
    for index in range(count):
        source = folder / f"{index}.png"
        Image.fromarray(random_pixels(8, 8, index)).save(source)
        jobs.append(PhotoJob(source, folder / "out" / "sub" / f"{index}.png", PhotoFormat.PNG, root=folder / "out"))
    return jobs


def _run(jobs: list[PhotoJob], options: str = "a", *, retry_failed: bool = False) -> tuple[list[str], Summary]:
    """Names of the photos that were upscaled, and the summary."""
    events, summary = Recorder(), Summary()
    with open_journals({job.root for job in jobs if job.root}, options, retry_failed=retry_failed) as journals:
        run_batch(jobs, repeat_4x, SETTINGS, events, summary, journals)
    return events.of("finished"), summary


def test_what_is_done_is_not_even_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = _jobs(tmp_path)
    assert _run(jobs)[0] == ["0.png", "1.png", "2.png"]
    monkeypatch.setattr(pipeline, "inspect_photo", None)
    done, summary = _run(jobs)
    assert (done, summary.skipped, summary.not_ours) == ([], 3, 0)


def test_a_changed_photo_is_done_again_and_a_touched_one_is_not(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path)
    _run(jobs)
    Image.fromarray(random_pixels(9, 9)).save(jobs[1].source)
    os.utime(jobs[2].source, (10**9, 10**9))
    assert _run(jobs)[0] == ["1.png"]
    with Image.open(jobs[1].target) as image:
        assert image.size == (36, 36)


def test_other_options_or_another_model_do_all_again(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path)
    _run(jobs, "a")
    assert len(_run(jobs, "b")[0]) == 3
    assert _run(jobs, "b")[0] == []


@pytest.mark.parametrize(
    "other",
    [Settings(4, 64, 8), Settings(4, 64, 4, keep_mtime=False), Settings(4, 64, 4, write=WriteOptions(80))],
)
def test_the_key_changes_with_whatever_shapes_a_result(other: Settings) -> None:
    assert other.key("sha", "fp32") != SETTINGS.key("sha", "fp32")
    assert SETTINGS.key("other sha", "fp32") != SETTINGS.key("sha", "fp32") != SETTINGS.key("sha", "bf16")
    assert Settings(4, 128, 4, batch=8, load=3, save=3).key("sha", "fp32") == SETTINGS.key("sha", "fp32")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_is_not_ours_is_never_overwritten(tmp_path: Path, when: str) -> None:
    jobs = _jobs(tmp_path)
    if when == "after":
        _run(jobs)
    jobs[1].target.parent.mkdir(parents=True, exist_ok=True)
    jobs[1].target.write_bytes(b"edited by hand")
    done, summary = _run(jobs, "other options")
    assert done == ["0.png", "2.png"]
    assert (summary.skipped, summary.not_ours) == (1, 1)
    assert jobs[1].target.read_bytes() == b"edited by hand"


def test_a_result_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path)
    _run(jobs)
    jobs[0].target.unlink()
    assert _run(jobs)[0] == ["0.png"]


def test_a_broken_photo_is_named_again_but_tried_again_only_when_asked_or_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = _jobs(tmp_path)
    jobs[1].source.write_bytes(jobs[1].source.read_bytes()[:200])
    assert len(_run(jobs)[1].failures) == 1
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "inspect_photo", None)
        failure = _run(jobs)[1].failures[0]
    assert "--retry-failed" in failure.reason
    assert "--retry-failed" not in _run(jobs, retry_failed=True)[1].failures[0].reason
    Image.fromarray(random_pixels(8, 8)).save(jobs[1].source)
    assert _run(jobs)[0] == ["1.png"]


def test_a_failure_that_is_not_the_photos_fault_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = _jobs(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(space, "LEAST_BYTES_PER_PIXEL", {PhotoFormat.PNG: 1e15})
        assert len(_run(jobs)[1].failures) == 3
    assert len(_run(jobs)[0]) == 3


def test_a_second_run_on_the_same_folder_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    refused = pytest.raises(UsageError, match="another sr-batch is at work")
    with open_journals([tmp_path], "a"), refused, open_journals([tmp_path], "a"):
        pass
    with open_journals([tmp_path], "a"):
        pass


@pytest.mark.parametrize("tail", [b'{"version": 1, "result": "sub/0.p', b"not json\n", b'{"version": 2}\n', b"\xff\n"])
def test_a_journal_whose_last_line_is_damaged_still_serves(tmp_path: Path, tail: bytes) -> None:
    jobs = _jobs(tmp_path)
    _run(jobs[:2])
    with (tmp_path / "out" / JOURNAL).open("ab") as file:
        file.write(tail)
    assert _run(jobs)[0] == ["2.png"]
    assert _run(jobs)[0] == []


def test_a_kill_between_the_journal_and_the_name_costs_one_photo(tmp_path: Path) -> None:
    """The line is there and the result is not, or is still the older one."""
    jobs = _jobs(tmp_path)
    _run(jobs, "a")
    older = jobs[0].target.read_bytes()
    status = jobs[0].target.stat()
    Image.fromarray(random_pixels(9, 9)).save(jobs[0].source)
    _run(jobs, "a")
    jobs[0].target.write_bytes(older)
    os.utime(jobs[0].target, ns=(status.st_atime_ns, status.st_mtime_ns))
    jobs[1].target.unlink()
    assert _run(jobs, "a")[0] == ["0.png", "1.png"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 1)
    leftover = tmp_path / "out" / "sub" / ".0123456789ab.999999999.sr-partial.png"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    _run(jobs)
    assert not leftover.exists()


# A process of its own that imports little: fifty of them are started.
BATCH = """
import sys, time
from pathlib import Path
from sr_batch.folders import PhotoJob
from sr_batch.journal import open_journals
from sr_batch.photos import PhotoFormat
from sr_batch.events import Summary
from sr_batch.pipeline import Settings, run_batch
from tests.sr_batch.stubs import repeat_4x

class Names:
    def started(self, job, size): pass
    def advanced(self, pixels): pass
    def frame(self, job, done, total): pass
    def drawn(self, job, photo, band): pass
    def skipped(self, job, reason): pass
    def failed(self, failure): print(failure)
    def finished(self, job, done): print(job.source.name)

def slowly(batches):
    for batch in repeat_4x(batches):
        time.sleep(0.01)
        yield batch

folder = Path(sys.argv[1])
sources = sorted(folder.glob("*.png"), key=lambda path: int(path.stem))
jobs = [PhotoJob(s, folder / "out" / "sub" / s.name, PhotoFormat.PNG, root=folder / "out") for s in sources]
with open_journals([folder / "out"], "a") as journals:
    print("ready", flush=True)
    run_batch(jobs, slowly, Settings(4, 64, 4), Names(), Summary(), journals)
"""


@pytest.mark.slow
def test_fifty_kills_at_random_moments_cost_only_what_was_in_flight(tmp_path: Path) -> None:
    """After each, every file with a result's name is whole; in the end all are what an undisturbed run makes."""
    random = np.random.default_rng(0)
    jobs = _jobs(tmp_path, 60)
    _run(jobs)
    expected = {job.target.name: job.target.read_bytes() for job in jobs}
    shutil.rmtree(tmp_path / "out")
    finished = 0
    for _ in range(50):
        process = _start(tmp_path)
        assert process.stdout is not None
        process.stdout.readline()  # it is ready: now it works
        time.sleep(random.uniform(0, 0.06))
        process.kill()
        process.communicate()
        there = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("[0-9]*.png")}
        assert all(content == expected[name] for name, content in there.items())
        assert len(there) >= finished
        finished = len(there)
    process = _start(tmp_path)
    out, _ = process.communicate(timeout=60)
    assert len(out.split()) - 1 == 60 - finished  # nothing that was there is done twice
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("[0-9]*.png")} == expected
    assert not list((tmp_path / "out").rglob(".*partial*"))


def _start(folder: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parent.parent.parent
    return subprocess.Popen([sys.executable, "-c", BATCH, str(folder)], cwd=root, stdout=subprocess.PIPE, text=True)
