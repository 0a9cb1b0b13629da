"""The report stands alone and shows what the run's folder holds."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from sr_train.evaluate import Figures, TestImage
from sr_train.record import Recorder
from sr_train.report import write_report
from sr_train.training import SRGAN, SRRESNET
from tests.sr_train.conftest import picture


def _run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    image = TestImage("below/bird", picture(16, 16, 0), picture(64, 64, 0))
    figures = Figures(30.125, 0.9, 28.5, 0.25)
    for stage in (SRRESNET, SRGAN):
        recorder = Recorder(run, stage, 0)
        recorder.show_originals([image], [figures])
        for step in (1, 2, 3):
            recorder.log({"step": step, "mse_loss": 1.0 / step, "psnr_y": 20.0 + step})
            recorder.show(step, [image], [figures], [image.hr])
        recorder.close()
    return run


def test_report_is_one_file_with_everything_inside(tmp_path: Path) -> None:
    run = _run(tmp_path)
    write_report(run)
    page = (run / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<polyline") == 4 and "PSNR-Y 30.12 dB" in page and "LPIPS 0.250" in page
    for caption in ("LR (bicubic", "SRResNet, step 3", "SRGAN, step 3", "HR", "step 1"):
        assert f"<figcaption>{caption}" in page


def test_curves_are_written_where_matplotlib_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = _run(tmp_path)
    assert write_report(run) == []
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_report_is_there_and_a_note_says_how_to_get_the_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tmp_path)
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install" in write_report(run)[0]
    assert (run / "report.html").is_file() and not (run / "curves.png").exists()


def test_without_tensorboard_metrics_are_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run = _run(tmp_path)
    assert not Recorder(run, SRGAN, 3).has_events and not (run / "tensorboard").exists()


def test_tensorboard_events_hold_the_losses(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(_run(tmp_path) / "tensorboard" / SRGAN))
    events.Reload()
    assert [event.step for event in events.Scalars("srgan/mse_loss")] == [1, 2, 3]


def test_resumed_metrics_drop_what_came_after_the_state(tmp_path: Path) -> None:
    run = _run(tmp_path)
    with (run / SRGAN / "metrics.csv").open("a") as file:
        file.write("4,0.5")  # a crash cut this line
    assert [row["step"] for row in Recorder(run, SRGAN, 2).rows] == [1, 2]


def test_report_of_a_cut_validation_line(tmp_path: Path) -> None:
    run = _run(tmp_path)
    with (run / SRGAN / "validation.jsonl").open("a") as file:
        file.write(json.dumps({"step": 4})[:5])
    write_report(run)
    assert (run / "report.html").is_file()
