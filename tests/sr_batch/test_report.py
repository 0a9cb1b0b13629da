from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from sr_batch.events import Summary
from sr_batch.folders import PhotoJob
from sr_batch.photos import PhotoFormat
from sr_batch.pipeline import Settings, run_batch
from sr_batch.report import Record, Recorder, open_report
from sr_train.errors import UsageError
from tests.conftest import random_pixels
from tests.sr_batch import test_pipeline
from tests.sr_batch.stubs import repeat_4x

FACTS: Record = {"model": "tiny", "engine": "torch 2", "precision": "bf16", "scale": 4}


def _batch(folder: Path) -> list[PhotoJob]:
    """A good photo, a broken one, and one whose result is there."""
    out = folder / "out"
    out.mkdir()
    names = ("good.png", "bad.png", "there.png")
    for name in names:
        Image.fromarray(random_pixels(8, 12)).save(folder / name)
    (folder / "bad.png").write_bytes(b"text")
    (out / "there.png").touch()
    return [PhotoJob(folder / name, out / name, PhotoFormat.PNG) for name in names]


def _run(jobs: list[PhotoJob], *takers: object, summary: Summary) -> None:
    events = Recorder(test_pipeline.Recorder(), takers, FACTS)  # type: ignore[arg-type]
    run_batch(jobs, repeat_4x, Settings(4, 64, 4), events, summary)


def test_every_photo_is_in_the_report_with_what_became_of_it(tmp_path: Path) -> None:
    jobs, summary = _batch(tmp_path), Summary()
    with open_report(tmp_path / "run.json", FACTS, summary) as take:
        _run(jobs, take, summary=summary)
        assert not (tmp_path / "run.json").exists()
    report = json.loads((tmp_path / "run.json").read_text())
    assert (report["version"], report["model"]) == (2, "tiny")
    by_name = {Path(photo["source"]).name: photo for photo in report["files"]}
    assert {name: photo["event"] for name, photo in by_name.items()} == {
        "good.png": "finished",
        "bad.png": "failed",
        "there.png": "skipped",
    }
    assert (by_name["good.png"]["result_width"], by_name["good.png"]["result_height"]) == (48, 32)
    assert by_name["good.png"]["result"] == str(jobs[0].target)
    assert [by_name["good.png"][name] for name in ("model", "engine", "precision")] == ["tiny", "torch 2", "bf16"]
    assert by_name["there.png"]["reason"] == "already there"
    assert "not a picture" in by_name["bad.png"]["reason"]
    assert {k: report["summary"][k] for k in ("done", "skipped", "failed")} == {"done": 1, "skipped": 1, "failed": 1}


def test_a_report_of_nothing_is_still_one(tmp_path: Path) -> None:
    with open_report(tmp_path / "run.json", {}, Summary()):
        pass
    assert json.loads((tmp_path / "run.json").read_text())["files"] == []


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, BrokenPipeError, RuntimeError])
def test_an_interrupted_run_leaves_a_report_that_says_so(tmp_path: Path, interrupt: type[BaseException]) -> None:
    with pytest.raises(interrupt), open_report(tmp_path / "run.json", FACTS, Summary(done=1)) as take:
        take({"event": "finished", "source": "a.png"})
        raise interrupt
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["interrupted"] is report["summary"]["interrupted"] is True
    assert [record["source"] for record in report["files"]] == ["a.png"]


def test_a_run_that_cannot_be_leaves_an_older_report_alone(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("older")
    with pytest.raises(UsageError), open_report(tmp_path / "run.json", FACTS, Summary()):
        raise UsageError("the disk is too small")
    assert (tmp_path / "run.json").read_text() == "older"


def test_events_come_while_it_happens_and_add_up(tmp_path: Path) -> None:
    seen: list[Record] = []
    _run(_batch(tmp_path), seen.append, summary=Summary())
    assert sum(record["pixels"] for record in seen if record["event"] == "advanced") == 8 * 12
    good = [record["event"] for record in seen if "good" in record.get("source", "")]
    assert good == ["started", "finished"]


@pytest.mark.parametrize(
    ("name", "words"), [("photo.png", r"end in \.json"), ("nowhere/run.json", "cannot be written")]
)
def test_a_report_that_cannot_be_is_refused_before_the_work(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words), open_report(tmp_path / name, {}, Summary()):
        raise AssertionError("the work began")
