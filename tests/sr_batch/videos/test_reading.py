"""Reading a video: what is refused, with one sentence; what is damaged is noticed, and no frame is lost."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from sr_batch.errors import UnreadableVideo
from sr_batch.videos.encoding import EncodingOptions
from sr_batch.videos.frames import BadFrame, OnBadFrame, Shown, read_frames
from sr_batch.videos.inspecting import inspect_video, likely_pixels
from sr_batch.videos.source import open_video, pick_stream
from sr_batch.videos.timeline import Timeline, read_timeline
from tests.sr_batch.videos.films import Film, enlarge_film, number_of, numbers_in, times_in, write_film

SLICES = {"preset": "ultrafast", "bf": "0", "g": "12"}


def timeline_of(path: Path) -> Timeline:
    with open_video(path) as container:
        return read_timeline(container, pick_stream(container))


def frames_of(path: Path, start: int = 0, on_bad: OnBadFrame = OnBadFrame.REPEAT) -> list[Shown]:
    timeline = timeline_of(path)
    with open_video(path) as container:
        return list(read_frames(container, pick_stream(container), timeline, start, on_bad))


def seen(frames: list[Shown]) -> list[int]:
    return [number_of(shown.frame.to_ndarray(format="rgb24"), 1) for shown in frames]


def cut_off(path: Path, share: float) -> Path:
    """The file without its end, its index being at the front."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def only_sound(folder: Path) -> Path:
    source, path = write_film(folder / "film.mp4", Film(languages=["eng"])), folder / "sound.mp4"
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(container.streams.audio[0])
        for packet in container.demux(audio=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return path


def encrypted(folder: Path) -> Path:
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 31 + "1", "encryption_kid": "a" * 32}
    return write_film(folder / "film.mp4", Film(container_options=options))


def text(content: bytes, name: str = "film.mp4") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def a_picture(folder: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (32, 32)).save(folder / "a.png")
    return (folder / "a.png").rename(folder / "film.mp4")


def no_index(folder: Path) -> Path:
    """An mp4 whose recorder was killed."""
    return cut_off(write_film(folder / "film.mp4", Film()), 0.6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (text(b""), "is empty"),
        (text(b"hello, this is no video\n" * 40), "no video"),
        (text(b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:5,\nhttp://localhost/a.ts\n", "list.m3u8"), "video"),
        (a_picture, "holds a picture"),
        (only_sound, "no video stream"),
        (encrypted, "encrypted"),
        (no_index, "damaged, incomplete"),
        (lambda folder: folder / "film.mp4", "cannot be read"),
    ],
    ids=["empty", "text", "playlist", "picture", "sound", "encrypted", "no index", "missing"],
)
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(UnreadableVideo, match=words) as refused:
        inspect_video(make(tmp_path))
    assert "\n" not in str(refused.value)


def test_a_video_stream_is_chosen_by_its_number(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", Film(cover=True))
    assert inspect_video(film, 0).timeline.pts.tolist() == list(range(0, 24 * 512, 512))
    with pytest.raises(UnreadableVideo, match="from 0 to 0"):
        inspect_video(film, 1)


def test_what_is_to_be_done_of_a_video_is_known_from_its_header(tmp_path: Path) -> None:
    """For the time that is left: a piece and a preview are not the whole."""
    film, frame = write_film(tmp_path / "film.mp4", Film()), 48 * 64
    assert likely_pixels(film) == 24 * frame
    assert likely_pixels(film, between=(Fraction(1, 5), Fraction(3, 5))) == 10 * frame
    assert likely_pixels(film, between=(Fraction(1, 5), None)) == 19 * frame
    assert likely_pixels(film, between=(None, Fraction(90))) == 24 * frame
    assert likely_pixels(film, most=2) == 2 * frame


@pytest.mark.parametrize("start", [0, 1, 7, 16, 17, 23])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts"])
def test_reading_begins_at_any_frame(tmp_path: Path, ending: str, start: int) -> None:
    """Also behind keyframes, with reordered frames around them."""
    times = {"avi": (range(24), Fraction(1, 25)), "ts": (range(0, 24 * 3600, 3600), Fraction(1, 90000))}
    pts, base = times.get(ending, (range(0, 24 * 512, 512), Fraction(1, 12800)))
    film = write_film(tmp_path / f"film.{ending}", Film(pts, base))
    frames = frames_of(film, start)
    assert [shown.index for shown in frames] == list(range(start, 24))
    assert seen(frames) == list(range(start, 24))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_file_that_is_cut_off_is_noticed_and_what_is_there_is_kept(tmp_path: Path, ending: str) -> None:
    """Decoders raise nothing: only the header knows that more should come."""
    pts, base = range(0, 2000, 40), Fraction(1, 1000)
    options = {"movflags": "faststart"} if ending == "mp4" else {}
    film = Film(pts, base, size=(64, 96), options=SLICES, container_options=options)
    source, result = cut_off(write_film(tmp_path / f"film.{ending}", film), 0.6), tmp_path / f"large.{ending}"
    done = enlarge_film(source, result)
    assert any("cut off" in warning for warning in done.warnings)
    assert 5 < done.frames < len(pts)
    assert len(times_in(result)) == done.frames
    assert numbers_in(result, 4)[:5] == list(range(5))
    with pytest.raises(UnreadableVideo, match="cut off"):
        enlarge_film(source, tmp_path / "again.mkv", on_bad_frame=OnBadFrame.FAIL)


def with_a_bad_frame(folder: Path, number: int, damage: Callable[[bytes], bytes]) -> Path:
    """Every frame a keyframe, so that only one is hit."""
    source, path = write_film(folder / "whole.mkv", Film(codec="ffv1")), folder / "film.mkv"
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0], opaque=True)
        for count, packet in enumerate(p for p in container.demux(video=0) if p.size):
            new = av.Packet(damage(bytes(packet)) if count == number else bytes(packet))
            new.pts, new.dts, new.time_base, new.stream = packet.pts, packet.dts, packet.time_base, stream
            new.is_keyframe = packet.is_keyframe
            output.mux(new)
    return path


def unreadable(_packet: bytes) -> bytes:
    return b"\xff" * 8


@pytest.mark.parametrize(("number", "shown_instead"), [(0, 1), (7, 6), (23, 22)])
def test_a_frame_that_cannot_be_decoded_is_repeated_and_counted(
    tmp_path: Path, number: int, shown_instead: int
) -> None:
    source, result = with_a_bad_frame(tmp_path, number, unreadable), tmp_path / "large.mkv"
    done = enlarge_film(source, result, encoding=EncodingOptions())
    assert (done.frames, done.repeated) == (24, 1)
    assert any("could not be decoded" in warning for warning in done.warnings)
    assert numbers_in(result, 4) == [shown_instead if n == number else n for n in range(24)]
    assert len(times_in(result)) == 24


def test_a_bad_frame_ends_the_job_if_asked_to(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match=r"frame 7 \(at 0.280 s\) cannot be decoded.*--on-bad-frame repeat"):
        frames_of(with_a_bad_frame(tmp_path, 7, unreadable), on_bad=OnBadFrame.FAIL)


def test_damage_that_the_decoder_hides_is_counted(tmp_path: Path) -> None:
    """H.264 in which bytes were changed decodes without an error: only a mark on the frame tells."""
    source = write_film(tmp_path / "film.mp4", Film(size=(96, 128), options={"preset": "ultrafast", "g": "12"}))
    content = bytearray(source.read_bytes())
    begin = content.index(b"mdat") + len(content) // 3
    content[begin : begin + 60] = b"\x5a" * 60
    source.write_bytes(bytes(content))
    frames = frames_of(source)
    assert len(frames) == 24
    bad = {shown.bad for shown in frames} - {None}
    assert bad
    assert bad <= {BadFrame.DAMAGED, BadFrame.REPEATED}


def test_a_video_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    base, sizes = Fraction(1, 90000), [(48, 64), (64, 64)]
    films = [Film(range(n * 90000, n * 90000 + 6 * 3600, 3600), base, size) for n, size in enumerate(sizes)]
    parts = [write_film(tmp_path / f"{n}.ts", film) for n, film in enumerate(films)]
    both = tmp_path / "film.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(UnreadableVideo, match="changes its size"):
        enlarge_film(both, tmp_path / "large.mkv")


def test_frames_that_are_never_shown_are_no_frames(tmp_path: Path) -> None:
    """VP8 stores some that are only referred to."""
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}
    film = Film(range(0, 1600, 40), Fraction(1, 1000), codec="libvpx", options=options)
    frames = frames_of(write_film(tmp_path / "film.webm", film))
    assert [shown.pts for shown in frames] == list(range(0, 1600, 40))
    assert {shown.bad for shown in frames} == {None}
