"""One video, from file to file.

    decode ──▶ RGB ──▶ engine ──▶ YUV ──▶ encode ──▶ parts ──join──▶ result, verified, renamed
    thread     thread  (caller)   thread  thread

What waits between two stages is bounded in bytes, so memory does not grow with the video. Whatever ends the work,
the part in work is finished and kept, and the same call goes on after it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from sr_batch.errors import UnreadableVideo
from sr_batch.tiles import plan_tiles
from sr_batch.trace import NO_TRACE, Stage, Trace
from sr_batch.upscale import TileOptions
from sr_batch.videos.carrying import MUXERS, plan_carrying
from sr_batch.videos.codecs import codec_name, result_ending
from sr_batch.videos.converting import Upscaled, encoder_frames, rasters
from sr_batch.videos.deinterlacing import LEAD, Deinterlace, deinterlaced
from sr_batch.videos.encoding import EncoderPlan, EncodingOptions, Output, plan_encoding
from sr_batch.videos.flow import Consumer, room_for, running_ahead
from sr_batch.videos.frames import OnBadFrame, Shown, read_frames
from sr_batch.videos.inference import Network, upscale_frames
from sr_batch.videos.inspecting import VideoFacts, inspect_video
from sr_batch.videos.joining import Excerpt, join
from sr_batch.videos.part_writer import PartWriter, writing
from sr_batch.videos.parts import Part, Parts, open_parts, remove_parts, saying_what_is_kept
from sr_batch.videos.source import open_video
from sr_batch.videos.timeline import Placing
from sr_batch.videos.verifying import Verified, verify
from sr_train.atomic_file import atomic_file

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = [
    "MakeParts",
    "PartRule",
    "Progress",
    "VideoDone",
    "VideoSettings",
    "VideoTask",
    "decoded_frames",
    "make_segment",
    "upscale_video",
    "write_parts",
]


@dataclass(frozen=True)
class PartRule:
    """When a part is finished: after `frames`, or, once it has `least`, after `seconds` of work."""

    frames: int = 250  # as far apart as encoders put keyframes by themselves
    least: int = 24
    seconds: float = 60.0  # of work that a kill may lose


@dataclass(frozen=True)
class VideoSettings:
    """How videos are upscaled and written."""

    scale: int
    tile: int  # LR pixels, window side
    halo: int  # LR pixels
    batch: int = 1  # tiles in one engine call
    fixed_tile: bool = False  # the engine is fastest at windows of exactly `tile`
    encoding: EncodingOptions = field(default=EncodingOptions())
    stream: int | None = None  # which of the video streams, from 0; None: the first
    on_bad_frame: OnBadFrame = OnBadFrame.REPEAT
    deinterlace: Deinterlace = Deinterlace.AUTO
    start: Fraction | None = None  # seconds from the first frame; None: the first
    end: Fraction | None = None  # None: the last
    keep_mtime: bool = True  # results have the modification time of their inputs
    part: PartRule = field(default=PartRule())
    reuse_bytes: int = 32 << 20  # of results remembered for windows with the same bytes

    def tile_options(self) -> TileOptions:
        return TileOptions(self.scale, self.halo, self.batch, self.reuse_bytes)

    def key(self, model_key: str) -> str:
        """Of all that shapes a result, for the journal: the options as they were given."""
        shaping = [model_key, self.scale, self.halo, repr(self.encoding), self.stream, self.on_bad_frame]
        shaping += [self.deinterlace, str(self.start), str(self.end), self.keep_mtime]
        return hashlib.sha256(json.dumps(shaping).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class VideoDone:
    """What came of a video."""

    frames: int
    repeated: int  # frames that could not be decoded: the one before is shown
    damaged: int  # frames that were decoded in part
    resumed: int  # frames that an earlier run had finished
    verified: Verified
    warnings: tuple[str, ...]  # sentences


Progress = Callable[[int, int], None]  # (frames done, of how many)
# Makes the parts that are missing, in order, and adds them. Returns how many of their frames an earlier run had made.
MakeParts = Callable[["VideoTask", Parts, Progress], int]


def upscale_video(
    source: Path,
    target: Path,
    network: Network,
    settings: VideoSettings,
    content: str,
    progress: Progress = lambda _done, _total: None,
    before_rename: Callable[[Path], None] = lambda _: None,
    facts: VideoFacts | None = None,
    make_parts: MakeParts | None = None,
) -> VideoDone:
    """Upscale `source`, whose content's sha256 is `content`, to `target`, whose suffix says the container.

    `progress` is told how many frames are done, of how many; first, how many an earlier run had finished.
    `before_rename` gets the complete, verified file. `facts`: of inspect_video, where they are known. `make_parts`
    makes the parts that are missing; without it the network does, here. Raises VideoError, and what the network
    raises; finished parts stay, whatever is raised.
    """
    facts = facts or inspect_video(source, settings.stream)
    if facts.picture.interlaced and settings.deinterlace is Deinterlace.REFUSE:
        raise UnreadableVideo("is interlaced; --deinterlace auto makes whole frames of it")
    if facts.timeline.warnings and settings.on_bad_frame is OnBadFrame.FAIL:
        raise UnreadableVideo(f"{facts.timeline.warnings[0]}; --on-bad-frame repeat takes what is there")
    plan = _plan(facts, settings, target)
    job = VideoTask(source, facts, plan, settings, target.suffix.lower())
    with (
        open_parts(target, _key(content, network.key, plan, settings)) as parts,
        saying_what_is_kept(parts, source.name, len(job.wanted)),
    ):
        resumed = parts.frames
        if make_parts is not None:
            resumed += make_parts(job, parts, progress)
        else:
            _make_parts(job, network, parts, target, progress)
        with open_video(source) as container:
            carrying = plan_carrying(container, container.streams[facts.stream], MUXERS[target.suffix.lower()])
        with writing(target), atomic_file(target, sweep=False) as partial:
            join(source, parts, plan, carrying, partial, job.excerpt)
            pts = tuple(at for part in parts.finished for at in part.pts)
            verified = verify(source, partial, plan, pts, carrying, job.excerpt)
            if settings.keep_mtime:
                times = source.stat()
                os.utime(partial, ns=(times.st_atime_ns, times.st_mtime_ns))
            before_rename(partial)
        repeated = sum(part.repeated for part in parts.finished)
        damaged = sum(part.damaged for part in parts.finished)
    remove_parts(target)
    warnings = (
        *facts.timeline.warnings,
        *_other_container(source, target, plan),
        *plan.notes,
        *carrying.notes,
        *_bad_frames(repeated, damaged),
        *(["it is interlaced: made whole by bwdif, one frame for each"] if facts.picture.interlaced else []),
        *verified.notes,
    )
    return VideoDone(verified.frames, repeated, damaged, resumed, verified, warnings)


def make_segment(
    task: VideoTask, network: Network, frames: range, file: Path, progress: Progress = lambda _done, _total: None
) -> Part | None:
    """These frames of the result (numbered from its first one) as one part, in `file`.

    For work that is shared: other frames are others' affair. Where the frames have no places before they are decoded
    (Placing.FREE), it is all from the first one on, and None if there is none. Raises what upscale_video raises; then
    there is no file.
    """
    rule = PartRule(max(1, len(frames)), max(1, len(frames)), math.inf)
    stop = None
    if task.facts.timeline.placing is Placing.FREE:
        rule = PartRule(sys.maxsize, sys.maxsize, math.inf)
    else:
        stop = frames.stop
    alone = replace(task, settings=replace(task.settings, part=rule), stop=stop)
    sink = _OnePart(file, frames.start)
    try:
        _make_parts(alone, network, sink, file, progress)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    return sink.part


class PartSink(Protocol):
    """Where finished parts go; see Parts."""

    @property
    def frames(self) -> int: ...

    def next_file(self, suffix: str) -> Path: ...

    def add(self, part: Part) -> None: ...


class _OnePart:
    """A PartSink for one part."""

    def __init__(self, file: Path, first: int) -> None:
        self._file, self.frames = file, first
        self.part: Part | None = None

    def next_file(self, _suffix: str) -> Path:
        return self._file

    def add(self, part: Part) -> None:
        self.part, self.frames = part, part.stop


@dataclass(frozen=True)
class VideoTask:
    """A video, and all that is decided about it."""

    source: Path
    facts: VideoFacts
    plan: EncoderPlan
    settings: VideoSettings
    suffix: str  # of the result and of its parts: it says their container
    stop: int | None = None  # of the result's frames, the first one that is not made; None: all are

    def room(self, scale: int) -> int:
        """How many pictures of `scale` times the video's size may wait between two stages."""
        picture = self.facts.picture
        return room_for(picture.height * picture.width * scale**2 * 3 * (2 if picture.deep else 1))

    @property
    def wanted(self) -> range:
        """Places on the timeline."""
        return self.facts.timeline.frames_between(self.settings.start, self.settings.end)[: self.stop]

    @property
    def excerpt(self) -> Excerpt | None:
        if self.settings.start is None and self.settings.end is None:
            return None
        timeline = self.facts.timeline
        wanted = self.wanted
        if not wanted:
            raise UnreadableVideo(f"has no frame in the range; it is {float(timeline.seconds()):.2f} s long")
        end = int(timeline.pts[wanted.stop]) * timeline.time_base if wanted.stop < len(timeline) else None
        return Excerpt(int(timeline.pts[wanted.start]) * timeline.time_base, end)


def _plan(facts: VideoFacts, settings: VideoSettings, target: Path) -> EncoderPlan:
    output = Output(
        container=MUXERS[target.suffix.lower()].replace("matroska", "mkv"),
        height=facts.picture.height * settings.scale,
        width=facts.picture.width * settings.scale,
        time_base=facts.timeline.time_base,
        rate=facts.rate,
        source_codec=facts.codec,
    )
    return plan_encoding(settings.encoding, facts.picture, output)


def _key(content: str, network_key: str, plan: EncoderPlan, settings: VideoSettings) -> str:
    """Of all that shapes the frames. Parts of other FFmpeg versions are not joined: their headers may differ."""
    import av

    shaping = [content, network_key, repr(plan), settings.scale, settings.halo, settings.stream, settings.on_bad_frame]
    shaping += [settings.deinterlace, str(settings.start), str(settings.end), av.__version__, str(av.library_versions)]
    return hashlib.sha256(json.dumps(shaping).encode()).hexdigest()


def _other_container(source: Path, target: Path, plan: EncoderPlan) -> list[str]:
    before, after = source.suffix.lower(), target.suffix.lower()
    if before not in MUXERS and after == ".mkv":
        return [f"{before} is read but not written; the result is .mkv, whose clock has steps of 1 ms"]
    if before == after or result_ending(plan.codec, before) != after:
        return []
    rounded = ", which rounds times to 1 ms" if after == ".mkv" and before != ".webm" else ""
    return [f"{codec_name(plan.codec)} does not go into {before}; the result is {after}{rounded}"]


def _bad_frames(repeated: int, damaged: int) -> list[str]:
    said = [f"{repeated} frames could not be decoded; the frame before is shown instead"] if repeated else []
    return said + ([f"{damaged} frames are damaged; they show what could be decoded"] if damaged else [])


def _make_parts(job: VideoTask, network: Network, parts: PartSink, target: Path, progress: Progress) -> None:
    """All frames that are not in finished parts yet."""
    picture, wanted = job.facts.picture, job.wanted
    done, total = parts.frames, len(job.wanted)
    progress(done, total)
    if job.facts.timeline.placing is not Placing.FREE and done == total:
        return
    settings, trace, room = job.settings, network.trace, job.room(1)
    tiles = plan_tiles(picture.height, picture.width, settings.tile, settings.halo, settings.fixed_tile)

    def encode(items: Iterator[Upscaled]) -> None:
        _encode(items, job, parts, target, trace)

    with (
        open_video(job.source) as container,
        running_ahead(_shown(job, container, wanted, done), room, "decode", trace, Stage.DECODE) as shown,
        running_ahead(rasters(shown, picture), room, "to RGB", trace) as inputs,
        Consumer(encode, job.room(settings.scale), "encode", trace) as encoder,
    ):
        frames = ((item, item.raster.rgb, item.repeat) for item in inputs)
        for item, large in upscale_frames(frames, network, tiles, settings.tile_options()):
            encoder.put(Upscaled(item.shown, large, item.raster.alpha))
            done += 1
            progress(done, max(done, total))


def _shown(job: VideoTask, container: InputContainer, wanted: range, done: int) -> Iterator[Shown]:
    """The frames of the job from number `done` on, all of one size, deinterlaced."""
    if not job.facts.picture.interlaced:
        return decoded_frames(job, container, wanted, done)
    before = min(done, LEAD)  # so that a resumed run's frames are those of an undisturbed one
    return islice(deinterlaced(decoded_frames(job, container, wanted, done - before)), before, None)


def decoded_frames(job: VideoTask, container: InputContainer, wanted: range, done: int) -> Iterator[Shown]:
    """The frames of the job from number `done` of the result on, as they are decoded, all of one size."""
    timeline, picture, settings = job.facts.timeline, job.facts.picture, job.settings
    video = cast("VideoStream", container.streams[job.facts.stream])
    hardware = settings.encoding.hardware
    if timeline.placing is Placing.FREE:  # places are not known before: everything is decoded, the time decides
        first, last = timeline.pts[wanted.start], timeline.pts[wanted.stop - 1]
        everything = read_frames(container, video, timeline, 0, settings.on_bad_frame, hardware)
        chosen = (s for s in everything if first <= s.pts and (wanted.stop == len(timeline) or s.pts <= last))
        frames: Iterable[Shown] = islice(chosen, done, None)
    else:
        begin = wanted.start + done
        frames = islice(
            read_frames(container, video, timeline, begin, settings.on_bad_frame, hardware), max(0, len(wanted) - done)
        )
    for shown in frames:
        if (shown.frame.height, shown.frame.width) != picture.size:
            raise UnreadableVideo(
                f"changes its size at frame {shown.index}, from {picture.width}x{picture.height} to "
                f"{shown.frame.width}x{shown.frame.height}; cut it there into two videos"
            )
        yield shown


def _encode(items: Iterator[Upscaled], job: VideoTask, parts: PartSink, target: Path, trace: Trace) -> None:
    """In a thread: upscaled pictures into parts."""
    scale = job.settings.scale
    room = job.room(scale)
    with running_ahead(encoder_frames(items, job.plan, scale, room), room, "from RGB", trace) as frames:
        write_parts(frames, job, parts, target, trace)


def write_parts(
    frames: Iterable[tuple[Shown, VideoFrame]], job: VideoTask, parts: PartSink, target: Path, trace: Trace = NO_TRACE
) -> None:
    """Frames of the plan's size into parts. A part that is begun is finished when the frames end, however they end."""
    rule, writer, begun = job.settings.part, None, 0.0
    for shown, frame in frames:
        if writer is None:
            path = parts.next_file(target.suffix.lower())
            writer, begun = PartWriter(path, job.plan, parts.frames), time.monotonic()
        with trace.span(Stage.ENCODE, f"frame {parts.frames + writer.frames + 1}"):
            writer.add(shown, frame)
        long = writer.frames >= rule.least and time.monotonic() - begun >= rule.seconds
        if writer.frames >= rule.frames or long:
            _add(parts, writer, target)
            writer = None
    if writer is not None:
        _add(parts, writer, target)


def _add(parts: PartSink, writer: PartWriter, target: Path) -> None:
    part = writer.finish()
    with writing(target):
        parts.add(part)
