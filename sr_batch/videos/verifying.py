"""The finished video against its input: frames, times, streams, copied packets, tags. Both files are read afresh.

Whatever differs is a mismatch: the result does not get its name. See docs/video.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_batch.errors import VideoMismatch
from sr_batch.videos.carrying import TIMECODE, Carried, Carrying, How, is_gap, is_remade
from sr_batch.videos.encoding import EncoderPlan
from sr_batch.videos.joining import Excerpt
from sr_batch.videos.source import is_cover, open_video, rational
from sr_batch.videos.timeline import WHOLE_FRAMES

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

__all__ = ["Verified", "verify"]

NAMED_DIFFERENCES = 5


@dataclass(frozen=True)
class Verified:
    """What was compared and found equal; for the report."""

    frames: int
    seconds: Fraction
    copied_streams: int
    copied_packets: int
    notes: tuple[str, ...] = ()  # sentences: times that the container rounds, tags that it does not hold


@dataclass
class _Copy:
    """One stream, as read."""

    content: Any = field(default_factory=hashlib.sha256)
    times: list[Fraction] = field(default_factory=list)


def verify(
    source: Path,
    result: Path,
    plan: EncoderPlan,
    pts: tuple[int, ...],
    carrying: Carrying,
    excerpt: Excerpt | None = None,
) -> Verified:
    """Compare the finished file with its input; `pts`: of the frames, in ticks of the plan's time base.

    Raises VideoMismatch, which names what differs.
    """
    with open_video(result) as output, open_video(source) as container:
        pairs = _pair_streams(container, output, carrying)
        copies = {old.index: new.index for carried, old, new in pairs if carried.how is How.COPY}
        video = next(new for carried, _, new in pairs if carried.how is How.VIDEO)
        framed = bool(set(container.format.name.split(",")) & set(WHOLE_FRAMES))
        packets = _read(output, {video.index, *copies.values()}, None, framed)
        originals = _read(container, set(copies), excerpt, framed)
        tick = rational(video.time_base) or Fraction(1)
        offset = excerpt.start if excerpt is not None else Fraction(0)
        wanted = [at * plan.time_base - offset for at in pts]
        differences = [
            *_compare_times("frame", sorted(packets[video.index].times), wanted, tick, plan.time_base),
            *_compare_picture(video, plan),
            *_compare_chapters(container, output, excerpt),
        ]
        for carried, old, new in pairs:
            differences += _compare_stream(carried, old, new)
            if carried.how is How.COPY:
                differences += _compare_copy(old, new, originals[old.index], packets[new.index], excerpt)
        notes = _rounded(wanted, tick, plan.time_base)
        lost = sorted(set(_tags(container)) - set(_tags(output)))
        notes += [f"the container does not hold these tags: {', '.join(lost)}"] if lost else []
    if differences:
        more = f"; and {len(differences) - NAMED_DIFFERENCES} more" if len(differences) > NAMED_DIFFERENCES else ""
        raise VideoMismatch(
            f"the finished video is not what it must be: {'; '.join(differences[:NAMED_DIFFERENCES])}{more}; "
            "its parts are kept, please report this with the video"
        )
    return Verified(
        frames=len(wanted),
        seconds=wanted[-1] - wanted[0],
        copied_streams=len(copies),
        copied_packets=sum(len(packets[new].times) for new in copies.values()),
        notes=tuple(notes),
    )


def _pair_streams(
    container: InputContainer, output: InputContainer, carrying: Carrying
) -> list[tuple[Carried, Stream, Stream]]:
    """Each carried stream of the input with its counterpart. Chapters and timecodes may have streams of their own."""
    carried = [item for item in carrying.streams if not _is_attached(container.streams[item.index], item)]
    attached = [item for item in carrying.streams if item not in carried]
    muxer = "mp4" if output.format.name.startswith("mov") else output.format.name
    found = [stream for stream in output.streams if not is_remade(stream, muxer)]
    plain = [stream for stream in found if stream.type != "attachment" and not is_cover(stream)]
    others = [stream for stream in found if stream not in plain]
    if (len(plain), len(others)) != (len(carried), len(attached)):
        kinds = ", ".join(stream.type for stream in found)
        raise VideoMismatch(
            f"the finished video has the streams {kinds}, not the {len(carrying.streams)} that it must have; "
            "its parts are kept, please report this with the video"
        )
    return [
        (item, container.streams[item.index], new)
        for item, new in zip([*carried, *attached], [*plain, *others], strict=True)
    ]


def _is_attached(stream: Stream, carried: Carried) -> bool:
    return stream.type == "attachment" or is_cover(stream) or carried.how is How.ATTACH_COVER


def _read(container: InputContainer, indices: set[int], excerpt: Excerpt | None, framed: bool) -> dict[int, _Copy]:
    """The packets of these streams: their content's hash and their times, in the file's order.

    `framed`: the input's container stores frames as the result's does, so copied packets are equal to the last byte.
    """
    copies = {index: _Copy() for index in indices}
    streams = [container.streams[index] for index in sorted(indices)]
    for packet in container.demux(streams) if streams else ():
        base = rational(packet.time_base)
        if not packet.size or base is None or is_gap(packet):
            continue
        cover = is_cover(packet.stream)
        at = packet.pts if packet.pts is not None else packet.dts
        time = Fraction(0) if at is None or cover else at * base
        if excerpt is not None and not cover and not excerpt.covers(time):
            continue
        payload = bytes(packet) if framed else _payload(packet)
        copies[packet.stream_index].content.update(len(payload).to_bytes(8, "big") + payload)
        copies[packet.stream_index].times.append(time)
    return copies


def _payload(packet: Packet[Any]) -> bytes:
    """What must be equal where transport streams and files frame the same data differently."""
    content, codec = bytes(packet), getattr(packet.stream.codec_context, "name", "")
    if codec == "aac" and len(content) > 7 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0:
        return content[7 if content[1] & 1 else 9 :]  # behind the ADTS header (ISO 13818-7): files have it once
    if codec in ("h264", "hevc") and not is_cover(packet.stream):
        return b""  # start codes there, lengths here: only times are compared
    return content


def _compare_times(
    what: str, found: list[Fraction], wanted: list[Fraction], tick: Fraction, wanted_tick: Fraction
) -> list[str]:
    """Equal as rationals where the container's clock can say them, else within half a tick of it."""
    if len(found) != len(wanted):
        return [f"{what}: {len(found)} instead of {len(wanted)}"]
    allowed = Fraction(0) if (wanted_tick / tick).denominator == 1 else tick / 2
    for index, (is_at, must_be) in enumerate(zip(found, wanted, strict=True)):
        if abs(is_at - must_be) > allowed:
            return [f"{what}, number {index}, is at {float(is_at):.6f} s instead of {float(must_be):.6f} s"]
    return []


def _compare_copy(old: Stream, new: Stream, original: _Copy, copy: _Copy, excerpt: Excerpt | None) -> list[str]:
    name = f"{old.type} stream {old.index}"
    if original.content.digest() != copy.content.digest():
        return [f"the packets of {name} are not the input's ({len(copy.times)} of {len(original.times)})"]
    old_tick, new_tick = rational(old.time_base) or Fraction(1), rational(new.time_base) or Fraction(1)
    # An excerpt begins where a video frame does: between two ticks of other clocks.
    offset = Fraction(0) if excerpt is None else round(excerpt.start / old_tick) * old_tick
    wanted = [time - offset for time in original.times]
    return _compare_times(f"packet of {name}", copy.times, wanted, new_tick, old_tick)


def _compare_stream(carried: Carried, old: Stream, new: Stream) -> list[str]:
    name, differences = f"{old.type} stream {old.index}", []
    if old.type == "attachment" and getattr(old, "data", None) != getattr(new, "data", None):
        differences.append(f"the attachment {old.metadata.get('filename', old.index)} is not the input's")
    if old.type != new.type and carried.how is not How.ATTACH_COVER:
        differences.append(f"{name} became a {new.type} stream")
    codecs = [getattr(stream.codec_context, "name", None) for stream in (old, new)]  # None: FFmpeg does not know it
    if carried.how is How.COPY and codecs[0] != codecs[1]:
        differences.append(f"{name} became {codecs[1]}")
    if old.metadata.get(TIMECODE) != new.metadata.get(TIMECODE):
        differences.append(f"the timecode of {name} is {new.metadata.get(TIMECODE)}")
    language, found = old.metadata.get("language", "und"), new.metadata.get("language", "und")
    if language != found:
        differences.append(f"the language of {name} is {found} instead of {language}")
    return differences


def _compare_picture(video: VideoStream | Stream, plan: EncoderPlan) -> list[str]:
    context: Any = video.codec_context
    found = {
        "size": (context.height, context.width),
        "pixel aspect": rational(getattr(video, "sample_aspect_ratio", None)) or Fraction(1),
    }
    wanted = {"size": (plan.height, plan.width), "pixel aspect": plan.pixel_aspect or Fraction(1)}
    return [f"the {name} is {found[name]} instead of {wanted[name]}" for name in wanted if found[name] != wanted[name]]


def _compare_chapters(container: InputContainer, output: InputContainer, excerpt: Excerpt | None) -> list[str]:
    if excerpt is not None:
        return []

    def read(from_container: InputContainer) -> list[tuple[int, str]]:
        """Milliseconds: the coarsest clock that containers have for chapters."""
        return [
            (round(c["start"] * (rational(c["time_base"]) or 1) * 1000), c["metadata"].get("title", ""))
            for c in from_container.chapters()
        ]

    was, now = read(container), read(output)
    return [] if was == now else [f"the chapters are {now} instead of {was}"]


def _rounded(wanted: list[Fraction], tick: Fraction, wanted_tick: Fraction) -> list[str]:
    if (wanted_tick / tick).denominator == 1 or all((time / tick).denominator == 1 for time in wanted):
        return []
    return [f"the container stores times in steps of {float(tick) * 1000:g} ms, so frames moved by up to half of that"]


def _tags(container: InputContainer) -> list[str]:
    from sr_batch.videos.carrying import carried_metadata

    return [key.lower() for key in carried_metadata(container.metadata, changed=True)]
