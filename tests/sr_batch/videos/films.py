"""Small films that the tests make for themselves: numbered frames at chosen times, with all that can go along."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sr_batch.videos.encoding import Codec, EncodingOptions
from sr_batch.videos.inference import Network
from sr_batch.videos.source import rational
from sr_batch.videos.upscaling import PartRule, VideoDone, VideoSettings, upscale_video

Pixels = NDArray[Any]
BITS = 8  # blocks across the top of a frame say its number in binary
BLOCK = 8  # pixels
SRT = b"1\n00:00:00,100 --> 00:00:00,400\nHello\n\n"
FAST = EncodingOptions(Codec.H264, crf=4, preset="ultrafast")


@dataclass(frozen=True)
class Film:
    """What is written."""

    pts: Sequence[int] = tuple(range(0, 24 * 512, 512))
    time_base: Fraction = Fraction(1, 12800)
    size: tuple[int, int] = (48, 64)  # height, width
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(
        default_factory=lambda: {"preset": "veryfast", "bf": "2", "g": "8"}
    )  # not of all codecs
    numbers: Sequence[int] | None = None  # shown in the frames; None: counting from 0
    languages: Sequence[str] = ()  # one audio track each
    audio_codec: str = ""  # the container's usual one
    audio_layout: str = "stereo"
    audio_seconds: int = 1
    subtitle: str = ""  # its language
    chapters: bool = False
    attachment: bytes = b""
    attachment_name: str = "note.txt"
    cover: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    aspect: Fraction | None = None
    rotation: int = 0
    container_options: dict[str, str] = field(default_factory=dict)


def write_film(path: Path, film: Film) -> Path:
    with av.open(str(path), "w", options=film.container_options) as output:
        output.metadata.update(film.tags)
        video = _video_stream(output, film)
        audio = [_audio_stream(output, language, film) for language in film.languages]
        subtitle = _subtitle_stream(output, film) if film.subtitle else None
        if film.attachment:
            kind = "image/jpeg" if film.attachment_name.endswith(".jpg") else "text/plain"
            output.add_attachment(film.attachment_name, kind, film.attachment)
        cover = _cover_stream(output) if film.cover else None
        if film.chapters:
            output.set_chapters(cast("Any", [_chapter(0, 0, 400, "One"), _chapter(1, 400, 960, "Two")]))
        if cover is not None:
            frame = VideoFrame.from_ndarray(np.full((16, 16, 3), 200, np.uint8), format="rgb24")
            output.mux(cover.encode(frame.reformat(format="yuvj420p")))
        for index, track in enumerate(audio):
            output.mux(_tone(track, 300 + 200 * index, film.audio_seconds))
        if subtitle is not None:
            output.mux(_subtitle_packet(subtitle))
        for index, pts in enumerate(film.pts):
            frame = numbered(film.numbers[index] if film.numbers is not None else index, film.size)
            frame = frame.reformat(format=film.pixel_format)
            frame.pts, frame.time_base = pts, film.time_base
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


def _video_stream(output: Any, film: Film) -> VideoStream:
    rate = Fraction(len(film.pts)) / ((film.pts[-1] - film.pts[0] + 1) * film.time_base)
    options = {"libx265": {"x265-params": "log-level=none:keyint=8"}, "ffv1": {"g": "1"}}.get(film.codec, film.options)
    video = cast("VideoStream", output.add_stream(film.codec, rate=rate.limit_denominator(1000), options=options))
    context = video.codec_context
    context.height, context.width = film.size
    context.pix_fmt, context.time_base = film.pixel_format, film.time_base
    if film.aspect is not None:
        context.sample_aspect_ratio = film.aspect
    if film.rotation:
        video.set_display_rotation(film.rotation)
    return video


def _audio_stream(output: Any, language: str, film: Film) -> AudioStream:
    codec = film.audio_codec or ("libopus" if output.format.name == "webm" else "aac")
    track = cast("AudioStream", output.add_stream(codec, rate=48000))
    track.codec_context.bit_rate = 64000
    track.codec_context.layout = film.audio_layout
    track.metadata["language"] = language
    return track


def _tone(track: AudioStream, hertz: int, seconds: int) -> list[Any]:
    samples = (np.sin(np.arange(48000 * seconds) * 2 * np.pi * hertz / 48000) * 0.3).astype(np.float32)
    kind = {"libopus": "flt", "mp2": "s16"}.get(track.codec_context.name, "fltp")
    channels = track.codec_context.layout.nb_channels
    data = np.stack([samples] * channels) if kind == "fltp" else np.repeat(samples, channels)[None]
    data = (data * 32767).astype(np.int16) if kind == "s16" else data
    frame = AudioFrame.from_ndarray(data, format=kind, layout=track.codec_context.layout.name)
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    return [*track.encode(frame), *track.encode(None)]


def _subtitle_stream(output: Any, film: Film) -> Any:
    from sr_batch.videos.subtitles import HEADER

    stream = output.add_stream({"matroska": "srt", "webm": "webvtt"}.get(output.format.name, "mov_text"))
    stream.codec_context.subtitle_header = HEADER
    stream.metadata["language"] = film.subtitle
    stream.time_base = Fraction(1, 1000)
    stream.disposition = Disposition.forced
    return stream


def _subtitle_packet(stream: Any) -> Any:
    text = b"Hello"
    packet = av.Packet(text if stream.codec_context.name in ("srt", "webvtt") else len(text).to_bytes(2, "big") + text)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 100
    packet.duration = 300
    return packet


def _cover_stream(output: Any) -> VideoStream:
    cover = cast("VideoStream", output.add_stream("mjpeg", rate=1))
    cover.codec_context.height = cover.codec_context.width = 16
    cover.codec_context.pix_fmt = "yuvj420p"
    cover.disposition = Disposition.attached_pic
    return cover


def _chapter(number: int, start: int, end: int, title: str) -> dict[str, object]:
    return {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}


def numbered(number: int, size: tuple[int, int]) -> VideoFrame:
    """An RGB frame that shows its number: white and black blocks on a grey that grows."""
    height, width = size
    pixels = np.full((height, width, 3), 60 + number % 100, np.uint8)
    for bit in range(BITS):
        pixels[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 16
    return VideoFrame.from_ndarray(pixels, format="rgb24")


def number_of(picture: Pixels, scale: int) -> int:
    """The number that an RGB picture [h, w, 3] shows, enlarged by `scale`."""
    middles = [picture[BLOCK * scale // 2, (bit * BLOCK + BLOCK // 2) * scale].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, level in enumerate(middles) if level > 128)


def numbers_in(path: Path, scale: int) -> list[int]:
    """Those of all frames, in the order shown."""
    with av.open(str(path)) as container:
        return [number_of(frame.to_ndarray(format="rgb24"), scale) for frame in container.decode(video=0)]


def times_in(path: Path) -> list[Fraction]:
    """Of all frames, in the order shown, in seconds; as the decoder gives them."""
    with av.open(str(path)) as container:
        return [cast("int", frame.pts) * Fraction(frame.time_base) for frame in container.decode(video=0)]  # type: ignore[arg-type]


def packets_in(path: Path, index: int) -> list[tuple[bytes, Fraction]]:
    """Content and time of a stream's packets."""
    with av.open(str(path)) as container:
        base = rational(container.streams[index].time_base)
        assert base is not None
        return [(bytes(p), (p.pts or 0) * base) for p in container.demux(container.streams[index]) if p.size]


def repeat(scale: int) -> Any:
    """A stand-in for an engine: each pixel becomes a block."""

    def stream(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            yield batch.repeat(scale, axis=1).repeat(scale, axis=2)

    return stream


class Stopped(Exception):
    """What ends the work in tests."""


def enlarge_film(
    source: Path,
    target: Path,
    scale: int = 4,
    stream: Any = None,
    stop_at: int | None = None,
    error: BaseException | None = None,
    stream_number: int | None = None,
    **changes: Any,
) -> VideoDone:
    """Upscale with a stand-in, in parts of ten frames unless changed. `stop_at`: after so many frames comes `error`."""

    def progress(done: int, _total: int) -> None:
        if done == stop_at:
            raise error or Stopped

    chosen: dict[str, Any] = {"encoding": FAST, "part": PartRule(frames=10)} | changes
    settings = VideoSettings(scale, tile=40, halo=4, stream=stream_number, **chosen)
    return upscale_video(source, target, Network(stream or repeat(scale), "model"), settings, "content", progress)


def beside_each_other(path: Path, films: Sequence[Path]) -> Path:
    """One file with the video streams of several, in their order, as they are."""
    with ExitStack() as stack:
        output = stack.enter_context(av.open(str(path), "w"))
        sources = [stack.enter_context(av.open(str(film))) for film in films]
        streams = [output.add_stream_from_template(source.streams.video[0], opaque=True) for source in sources]
        for source, stream in zip(sources, streams, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
    return path
