"""The bar as a terminal shows it, and the lines that a log gets."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sr_batch.folders import Naming, find_jobs
from sr_batch.forecast import Forecast
from sr_batch.progress import _bar, _PlainReporter
from sr_batch.sizes import SizePolicy


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(frames: int, seconds_each: float, width: int) -> list[str]:
    """What stands there after so many of 2000 frames of a video with a long name."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    clock = Clock()
    bar = _bar(console, clock)
    name = "holiday_2019_in_the_mountains_of_norway_part_2.mp4"
    video = bar.add_task("", total=2000, files=name)
    whole = bar.add_task("", total=820.0, files="0/12 files")
    for frame in range(1, frames + 1):
        clock.now += seconds_each
        bar.update(video, completed=frame)
        bar.update(whole, completed=0.41 * frame)
    with console.capture() as captured:
        console.print(bar.get_renderable())
    return [line.rstrip() for line in captured.get().splitlines() if line.strip()]


@pytest.mark.parametrize("width", [70, 80, 120])
def test_a_long_name_takes_no_more_than_one_line_and_hides_no_figure(width: int) -> None:
    video, whole = lines(1000, 0.25, width)
    assert video.startswith("holiday_2019") and video.endswith("left")
    assert "frame 1000/2000  4.00 frames/s" in video
    assert whole.startswith("0/12 files") and "410.0/820.0 MP  1.640 MP/s" in whole
    assert max(len(video), len(whole)) <= width


def test_a_slow_machine_is_told_seconds_for_each_frame_and_when_it_will_be_over() -> None:
    video, _ = lines(4, 50.0, 80)
    assert "frame 4/2000  50 s each" in video
    assert "1 day, 3:43:20 left" in video


def test_nothing_is_said_of_a_speed_that_is_not_known_yet() -> None:
    video, _ = lines(1, 50.0, 80)
    assert video.endswith("frame 1/2000")


def test_a_line_in_a_log_has_its_end_though_ctrl_c_comes_while_it_is_written(tmp_path: Path) -> None:
    class Interrupted(io.StringIO):
        def write(self, text: str) -> int:
            super().write(text)
            raise KeyboardInterrupt

    (tmp_path / "a.png").touch()
    log = Interrupted()
    forecast = Forecast(find_jobs([tmp_path], Naming("_x4")), SizePolicy(), 4)
    with pytest.raises(KeyboardInterrupt):
        _PlainReporter(forecast, log, quiet=False, verbose=False).say("note: a photo")
    assert log.getvalue() == "note: a photo\n"
