"""From file to file: every frame, on time, with everything that came with it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from sr_batch.videos.encoding import EncodingOptions
from sr_batch.videos.source import rational
from tests.sr_batch.videos.films import (
    Film,
    beside_each_other,
    enlarge_film,
    number_of,
    numbers_in,
    packets_in,
    times_in,
    write_film,
)

# A gap, two frames close together, none at the pace of the others.
UNEVEN = (0, 512, 1024, 1537, 2048, 2300, 2301, 9000, 9512, 10100, 10701, 11777)


def codec_of(stream: Any) -> str | None:
    return getattr(stream.codec_context, "name", None)


@pytest.mark.parametrize("ending", ["mp4", "mov"])
@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_uneven_times_are_kept_exactly(tmp_path: Path, ending: str, b_frames: str) -> None:
    """Also with frames that the encoder reorders: fragments of mp4 once delayed them."""
    options = {"preset": "veryfast", "bf": b_frames, "g": "6"}
    film = write_film(tmp_path / f"film.{ending}", Film(UNEVEN, options=options, languages=["eng"]))
    result = tmp_path / f"large.{ending}"
    done = enlarge_film(film, result)
    assert done.frames == len(UNEVEN)
    assert times_in(result) == times_in(film) == [Fraction(pts, 12800) for pts in UNEVEN]
    assert numbers_in(result, 4) == list(range(len(UNEVEN)))
    assert packets_in(result, 1) == packets_in(film, 1)  # sound stays where it was


def test_a_start_that_is_not_zero_is_kept_exactly(tmp_path: Path) -> None:
    late = [127995 + 512 * index for index in range(12)]
    options = {"movie_timescale": "12800"}
    film = write_film(tmp_path / "film.mp4", Film(late, container_options=options))
    enlarge_film(film, tmp_path / "large.mp4")
    assert times_in(tmp_path / "large.mp4") == times_in(film) == [Fraction(pts, 12800) for pts in late]


def test_milliseconds_of_matroska_are_kept_exactly(tmp_path: Path) -> None:
    times = [0, 33, 67, 100, 133, 467, 500, 533]
    film = write_film(tmp_path / "film.mkv", Film(times, Fraction(1, 1000), languages=["eng"]))
    enlarge_film(film, tmp_path / "large.mkv")
    assert times_in(tmp_path / "large.mkv") == times_in(film)
    assert packets_in(tmp_path / "large.mkv", 1) == packets_in(film, 1)


def test_everything_beside_the_video_is_copied_untouched_in_matroska(tmp_path: Path) -> None:
    tags = {"title": "A film", "ARTIST": "Me"}
    film = Film(languages=["eng", "fra"], subtitle="deu", chapters=True, attachment=b"a font", tags=tags)
    source, result = write_film(tmp_path / "film.mkv", film), tmp_path / "large.mkv"
    done = enlarge_film(source, result)
    assert (done.verified.copied_streams, done.warnings) == (4, ())
    for index in (1, 2, 3):
        assert packets_in(result, index) == packets_in(source, index)
    with av.open(str(source)) as was, av.open(str(result)) as now:
        assert [stream.type for stream in now.streams] == [stream.type for stream in was.streams]
        assert [s.language for s in now.streams] == [None, "eng", "fra", "deu", None]
        assert now.streams[3].disposition == was.streams[3].disposition != 0
        assert now.streams[4].data == b"a font"  # type: ignore[attr-defined]
        assert [c["metadata"]["title"] for c in now.chapters()] == ["One", "Two"]
        assert (now.metadata["title"], now.metadata["ARTIST"]) == ("A film", "Me")


def test_everything_beside_the_video_is_copied_untouched_in_mp4(tmp_path: Path) -> None:
    """Chapters come back as a track of text there, which is no stream to copy."""
    film = Film(languages=["eng", "fra"], subtitle="deu", chapters=True, cover=True, tags={"title": "A film"})
    source, result = write_film(tmp_path / "film.mp4", film), tmp_path / "large.mp4"
    done = enlarge_film(source, result)
    assert (done.verified.copied_streams, done.warnings) == (4, ())
    with av.open(str(source)) as was, av.open(str(result)) as now:
        kinds, wanted = ([(s.type, codec_of(s), s.language) for s in file.streams] for file in (now, was))
        assert kinds == wanted
        covers = [index for index, stream in enumerate(was.streams) if stream.disposition & 1024]
        assert len(covers) == 1
        assert [c["metadata"]["title"] for c in now.chapters()] == ["One", "Two"]
        assert now.metadata["title"] == "A film"
    for index in (1, 2, 3, covers[0]):
        assert packets_in(result, index) == packets_in(source, index)


def test_tags_that_mp4_has_no_box_for_are_kept(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mp4", Film(tags={"com.example.camera": "X1"},
                        container_options={"movflags": "use_metadata_tags"}))  # fmt: skip
    enlarge_film(source, tmp_path / "large.mp4")
    with av.open(str(tmp_path / "large.mp4")) as now:
        assert now.metadata["com.example.camera"] == "X1"


def test_a_cover_stays_and_the_tags_that_it_leaves_no_room_for_are_named(tmp_path: Path) -> None:
    """FFmpeg's mp4 muxer drops covers where it writes key-value tags, and some settings leave an empty track."""
    _, jpeg = cv2.imencode(".jpg", np.full((16, 16, 3), 200, np.uint8))
    tags = {"title": "A film", "com.example.camera": "X1"}
    film = Film(languages=["eng"], attachment=jpeg.tobytes(), attachment_name="cover.jpg", tags=tags)
    source, result = write_film(tmp_path / "film.mkv", film), tmp_path / "large.mp4"
    done = enlarge_film(source, result)
    said = "these tags are left out, mp4 cannot hold them beside a cover: COM.EXAMPLE.CAMERA"  # Matroska has capitals
    assert [warning for warning in done.warnings if "cover" in warning] == [said]
    with av.open(str(result)) as now:
        assert [stream.type for stream in now.streams] == ["video", "audio", "video"]
        assert now.streams[2].disposition == Disposition.attached_pic
        assert now.metadata["title"] == "A film"
    assert [content for content, _ in packets_in(result, 2)] == [jpeg.tobytes()]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_sound_waits_in_the_file_until_the_picture_is_there(tmp_path: Path, ending: str) -> None:
    """Sound that was written ahead of its picture, beside a rare subtitle, moved the frames.

    FFmpeg's muxers put packets in order over ten seconds only.
    """
    film = Film(range(0, 14 * 12800, 6400), languages=["eng", "fra"], subtitle="deu", audio_seconds=14)
    source, result = write_film(tmp_path / f"film.{ending}", film), tmp_path / f"large.{ending}"
    enlarge_film(source, result)
    picture, most = Fraction(0), Fraction(0)
    with av.open(str(result)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None and packet.stream.type != "subtitle":
                at = packet.pts * (rational(packet.time_base) or Fraction(0))
                most = max(most, at - picture)
                picture = at if packet.stream.type == "video" else picture
    assert most <= 1  # frames are half a second apart
    assert times_in(result) == times_in(source)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_any_video_stream_can_be_chosen_and_the_others_are_copied(tmp_path: Path, ending: str) -> None:
    backwards = Film(numbers=range(100, 76, -1), size=(32, 64))
    films = [write_film(tmp_path / "0.mp4", Film()), write_film(tmp_path / "1.mp4", backwards)]
    source, result = beside_each_other(tmp_path / f"both.{ending}", films), tmp_path / f"large.{ending}"
    done = enlarge_film(source, result, stream=None, stream_number=1)
    assert (done.frames, done.verified.copied_streams) == (24, 1)
    assert packets_in(result, 0) == packets_in(source, 0)
    with av.open(str(result)) as now:
        sizes = [(stream.codec_context.height, stream.codec_context.width) for stream in now.streams.video]
        assert sizes == [(48, 64), (128, 256)]
        shown = [number_of(frame.to_ndarray(format="rgb24"), 4) for frame in now.decode(video=1)]
    assert shown == list(range(100, 76, -1))


def test_subtitles_are_converted_only_where_the_container_cannot_hold_them_and_it_is_said(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mkv", Film(subtitle="deu", attachment=b"a font", languages=["eng"]))
    done = enlarge_film(source, tmp_path / "large.mp4")
    assert any("becomes mov_text" in warning for warning in done.warnings)
    assert any("attachment" in warning and "left out" in warning for warning in done.warnings)
    with av.open(str(tmp_path / "large.mp4")) as now:
        subtitle = now.streams.subtitles[0]
        assert (subtitle.codec_context.name, subtitle.language) == ("mov_text", "deu")
        texts = [bytes(p)[2:] for p in now.demux(subtitle) if p.size > 2]
    assert texts == [b"Hello"]


def test_rotation_and_pixel_aspect_look_the_same_in_players(tmp_path: Path) -> None:
    film = Film(rotation=90, aspect=Fraction(4, 3))
    source, result = write_film(tmp_path / "film.mp4", film), tmp_path / "large.mp4"
    enlarge_film(source, result)
    with av.open(str(source)) as was, av.open(str(result)) as now:
        before, after = next(was.decode(video=0)), next(now.decode(video=0))
        assert after.rotation == before.rotation == 90
        assert rational(now.streams.video[0].sample_aspect_ratio) == Fraction(4, 3)
        assert (after.height, after.width) == (4 * before.height, 4 * before.width)


def test_what_an_edit_list_hides_is_no_frame_of_the_result(tmp_path: Path) -> None:
    """A clip cut between keyframes, without re-encoding: its packets begin before its first picture."""
    whole, cut, result = write_film(tmp_path / "whole.mp4", Film()), tmp_path / "cut.mp4", tmp_path / "large.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                assert packet.pts is not None and packet.dts is not None
                packet.pts, packet.dts, packet.stream = packet.pts - 5 * 512, packet.dts - 5 * 512, stream
                output.mux(packet)
    shown = times_in(cut)
    assert len(shown) == 19
    enlarge_film(cut, result)
    assert times_in(result) == shown
    assert numbers_in(result, 4) == list(range(5, 24))


def test_the_same_picture_again_is_computed_once(tmp_path: Path) -> None:
    numbers = [0] * 12 + [1, 1, 2] + [3] * 30
    pts = range(0, 512 * len(numbers), 512)
    source = write_film(tmp_path / "film.mkv", Film(pts, codec="ffv1", numbers=numbers))
    seen: list[bytes] = []

    def counting(batches: Iterable[Any]) -> Generator[Any]:
        for batch in batches:
            seen.extend(window.tobytes() for window in batch)
            yield batch.repeat(4, axis=1).repeat(4, axis=2)

    enlarge_film(source, tmp_path / "large.mkv", stream=counting, encoding=EncodingOptions())
    assert len(seen) == len(set(seen))
    assert numbers_in(tmp_path / "large.mkv", 4) == numbers


def test_a_range_begins_at_zero_with_its_sound(tmp_path: Path) -> None:
    source, result = write_film(tmp_path / "film.mp4", Film(languages=["eng"], chapters=True)), tmp_path / "large.mp4"
    done = enlarge_film(source, result, start=Fraction(1, 5), end=Fraction(3, 5))
    assert done.frames == 10
    assert times_in(result) == [Fraction(index, 25) for index in range(10)]
    assert numbers_in(result, 4) == list(range(5, 15))
    within = [packet for packet, time in packets_in(source, 1) if Fraction(1, 5) <= time < Fraction(3, 5)]
    assert [packet for packet, _ in packets_in(result, 1)] == within


def test_a_video_without_times_of_its_own_becomes_matroska_at_its_pace(tmp_path: Path) -> None:
    """AVI stores none, and FFmpeg's guesses for its reordered frames are wrong."""
    film = Film(range(12), Fraction(1, 25))
    source, result = write_film(tmp_path / "film.avi", film), tmp_path / "large.mkv"
    enlarge_film(source, result)
    assert times_in(result) == [Fraction(index, 25) for index in range(12)]
    assert numbers_in(result, 4) == list(range(12))


def test_a_transport_stream_is_read_by_its_own_times(tmp_path: Path) -> None:
    film = Film(range(0, 12 * 3003, 3003), Fraction(1, 90000), languages=["eng"])
    source, result = write_film(tmp_path / "film.ts", film), tmp_path / "large.mkv"
    done = enlarge_film(source, result)
    assert any("steps of 1 ms" in warning for warning in done.warnings)
    assert numbers_in(result, 4) == list(range(12))
    assert all(abs(a - b) <= Fraction(1, 2000) for a, b in zip(times_in(result), times_in(source), strict=True))
