from __future__ import annotations

import io
from pathlib import Path

import pytest

from sr_batch.inputs import expand_patterns, read_list
from sr_train.errors import UsageError


def test_patterns_name_what_they_match_and_plain_names_stay(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "sub/c.jpg", "d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = expand_patterns([tmp_path / "d.png", tmp_path / "**" / "*.jpg"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["d.png", "a.jpg", "b.jpg", "sub/c.jpg"]


def test_a_file_with_a_patterns_characters_in_its_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].jpg").touch()
    assert expand_patterns([tmp_path / "a[1].jpg"]) == [tmp_path / "a[1].jpg"]


def test_a_pattern_without_a_match_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="matches no files"):
        expand_patterns([tmp_path / "*.jpg"])


@pytest.mark.parametrize("content", [b"a b.jpg\nc.jpg\n", b"a b.jpg\r\n\r\nc.jpg", b"a b.jpg\0c.jpg\0"])
def test_a_list_has_one_path_a_line_or_after_each_nul(content: bytes) -> None:
    assert read_list(io.BytesIO(content), "list") == ["a b.jpg", "c.jpg"]


def test_an_empty_list_is_refused_with_its_name() -> None:
    with pytest.raises(UsageError, match=r"photos\.txt names no files"):
        read_list(io.BytesIO(b"\n"), "photos.txt")
