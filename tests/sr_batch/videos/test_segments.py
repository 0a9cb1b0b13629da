"""A video made in segments, each by itself: what workers on other machines do."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from sr_batch.videos.inference import Network
from sr_batch.videos.parts import Parts
from sr_batch.videos.upscaling import (
    MakeParts,
    Progress,
    VideoDone,
    VideoSettings,
    VideoTask,
    make_segment,
    upscale_video,
)
from tests.sr_batch.videos.films import FAST, Film, numbers_in, repeat, times_in, write_film

NETWORK = Network(repeat(4), "model")


def enlarge(source: Path, target: Path, make: MakeParts) -> VideoDone:
    settings = VideoSettings(4, tile=40, halo=4, encoding=FAST)
    return upscale_video(source, target, NETWORK, settings, "content", make_parts=make)


@pytest.mark.parametrize("ending", ["mp4", "avi"])  # frames by their times, and in their order
def test_segments_made_apart_join_to_the_whole_video(tmp_path: Path, ending: str) -> None:
    """In any order, none of them knowing of the others."""
    film = Film(languages=["eng"]) if ending == "mp4" else Film(codec="mpeg4", options={})
    source, result = write_film(tmp_path / f"film.{ending}", film), tmp_path / "large.mp4"

    def make(task: VideoTask, parts: Parts, _progress: Progress) -> int:
        made = {}
        for frames in (range(7, 19), range(19, 24), range(7)):
            made[frames.start] = make_segment(task, NETWORK, frames, tmp_path / f"{frames.start}.mp4")
        for first in sorted(made):
            file = parts.next_file(".mp4")
            (tmp_path / made[first].file).replace(file)
            parts.add(replace(made[first], file=file.name))
        return 5

    done = enlarge(source, result, make)
    assert (done.frames, done.verified.frames, done.resumed) == (24, 24, 5)
    assert numbers_in(result, 4) == list(range(24))
    if ending == "mp4":
        assert times_in(result) == times_in(source)


def test_a_segment_that_cannot_be_made_leaves_no_file(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mp4", Film())

    def broken(batches: Iterable[Any]) -> Generator[Any]:
        yield from repeat(4)(islice(batches, 2))
        raise RuntimeError("the engine broke")

    def make(task: VideoTask, _parts: Parts, _progress: Progress) -> int:
        make_segment(task, Network(broken, "model"), range(8, 16), tmp_path / "segment.mp4")
        return 0

    with pytest.raises(RuntimeError, match="the engine broke"):
        enlarge(source, tmp_path / "large.mp4", make)
    assert not (tmp_path / "segment.mp4").exists()
