"""The table at the end."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from sr_batch.events import Done, Failure, Summary
from sr_batch.sizes import Size
from sr_batch.totals import show_totals
from tests.sr_batch.conftest import totals


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _summary() -> Summary:
    summary = Summary(skipped=3, left_alone=1, seconds=10.0, failures=[Failure(Path("a.jpg"), "damaged")])
    summary.add(Done(Size(1000, 2000), Size(4000, 8000), warnings=("one", "another")))
    film = Done(Size(100, 100), Size(400, 400), pictures=50, all_pixels=500_000, all_result_pixels=8_000_000)
    summary.add(film)
    return summary


EXPECTED = {
    "done": "2",
    "already done": "2",
    "large enough": "1",
    "failed": "1",
    "pictures": "51",
    "input MP": "2.50",
    "result MP": "40.00",
    "seconds": "10.0",
    "MP/s": "0.250",
    "notes": "2",
}


def test_without_a_terminal_it_is_two_plain_lines_one_under_the_other() -> None:
    file = io.StringIO()
    show_totals(_summary(), file)
    names, values = file.getvalue().splitlines()
    assert totals(file.getvalue()) == EXPECTED
    assert len(names) == len(values) and (names + values).isascii()
    ends = [match.end() for match in re.finditer(r"\S+( \S+)*", names)]
    assert [values[:end].split()[-1] for end in ends] == list(EXPECTED.values())


@pytest.mark.parametrize("columns", [40, 64, 88, 89])
def test_a_narrow_terminal_cuts_no_figure(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    file = _Terminal()
    show_totals(_summary(), file)
    text = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert all(f" {word} " in text for pair in EXPECTED.items() for word in pair)
    assert max(map(len, text.splitlines())) <= columns


def test_on_a_terminal_it_has_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    file = _Terminal()
    show_totals(_summary(), file)
    assert "\u256d" in file.getvalue()
    assert all(name in file.getvalue() for name in EXPECTED) and all(v in file.getvalue() for v in EXPECTED.values())


def test_what_did_not_happen_has_no_column_and_failures_always_have_one() -> None:
    file = io.StringIO()
    show_totals(Summary(), file)
    assert list(totals(file.getvalue())) == ["done", "failed", "input MP", "result MP", "seconds", "MP/s"]


def test_pages_and_frames_are_counted_and_what_an_earlier_run_did_is_not() -> None:
    summary = Summary()
    summary.add(Done(Size(10, 10), Size(40, 40), pictures=0, all_pixels=0, all_result_pixels=0))
    assert (summary.done, summary.pictures, summary.pixels, summary.result_pixels) == (1, 0, 0, 0)
