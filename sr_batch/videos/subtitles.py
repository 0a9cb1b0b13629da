"""Text subtitles from one format into another, for containers that hold only their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.subtitles.codeccontext import SubtitleCodecContext

__all__ = ["SubtitleConverter"]

# What every encoder of text subtitles wants to be told: the ASS script that its events belong to.
HEADER = b"""[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


class SubtitleConverter:
    """Adds a stream to an output, and turns the packets of a text subtitle into its packets."""

    def __init__(self, output: OutputContainer, source: Stream, codec: str) -> None:
        self._decoder = cast("SubtitleCodecContext", source.codec_context)
        self.stream: Stream = output.add_stream(codec)
        self.stream.time_base = source.time_base
        self._encoder = cast("SubtitleCodecContext", self.stream.codec_context)
        self._encoder.time_base = cast("Any", source.time_base)
        self._encoder.subtitle_header = self._decoder.subtitle_header or HEADER

    def convert(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """The packet in the new format, at the same time; nothing for one without text."""
        found = self._decoder.decode2(packet)
        if found is None:
            return
        new = self._encoder.encode_subtitle(found)
        new.time_base = packet.time_base
        new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
        new.stream = self.stream
        yield new

    def finish(self) -> Iterator[Packet[Any]]:
        """Nothing is held back."""
        return iter(())
