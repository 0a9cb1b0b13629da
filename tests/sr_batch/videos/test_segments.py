"""A video made in segments, each by itself: what workers on other machines do."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sr_batch.videos.inference import Network
from sr_batch.videos.parts import Part, Parts, sha256_of
from sr_batch.videos.segments import Segments, plan_segments
from sr_batch.videos.timeline import Placing, Timeline
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
            part = make_segment(task, NETWORK, frames, tmp_path / f"{frames.start}.mp4")
            assert part is not None
            made[frames.start] = part
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


def timeline(frames: int, keyframes: Iterable[int], placing: Placing = Placing.BY_TIME) -> Timeline:
    ticks = np.arange(frames, dtype=np.int64) * 100 + 7
    keys = np.array(sorted(keyframes), np.int64) * 100 + 7
    return Timeline(Fraction(1, 2500), ticks, np.full(frames, 100, np.int64), keys, placing)


@given(st.integers(1, 3000), st.integers(1, 600), st.integers(0, 50), st.sampled_from(Placing))
def test_every_frame_is_in_one_segment_and_they_are_about_as_long(
    count: int, distance: int, first: int, placing: Placing
) -> None:
    first = min(first, count - 1)
    segments = plan_segments(timeline(count, range(0, count, distance), placing), range(count), first)
    assert [frame for frames in segments for frame in frames] == list(range(first, count))
    if placing is Placing.BY_TIME:
        assert all(len(frames) <= 500 for frames in segments)
        assert all(len(frames) >= 24 for frames in segments[:-1])
        for done in segments:  # what is left is cut as it was
            assert plan_segments(timeline(count, range(0, count, distance)), range(count), done.start)[0] == done


def test_segments_begin_at_keyframes() -> None:
    """Of an excerpt too, whose first frame is none."""
    starts = [frames.start + 100 for frames in plan_segments(timeline(5000, range(0, 5000, 60)), range(100, 4900), 0)]
    assert starts[0] == 100 and len(starts) > 20
    assert all(start % 60 == 0 for start in starts[1:])


def test_a_finished_segment_is_found_only_while_it_is_whole(tmp_path: Path) -> None:
    segments = Segments(tmp_path / "segments")
    file = segments.new_file(range(24, 48), ".mp4")
    file.write_bytes(b"content")
    part = Part(file.name, 24, (1, 2), (1, 1), 0, 0, 7, sha256_of(file))
    assert segments.find(range(24, 48)) is None
    segments.add(range(24, 48), part)
    assert segments.find(range(24, 48)) == part
    assert segments.find(range(24, 47)) is None
    file.write_bytes(b"context")
    assert segments.find(range(24, 48)) is None
