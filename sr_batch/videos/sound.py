"""Sound that a container cannot hold, as the samples that it decodes to."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from sr_batch.videos.source import rational

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet
    from av.stream import Stream

__all__ = ["SoundConverter", "sound_codec"]

BYTES = {"pcm_s16le": 2, "pcm_s24le": 3}
MOST_DRIFT = Fraction(1, 50)  # seconds that a frame's time may differ from where the one before ended, by rounding


def sound_codec(source: Stream) -> str:
    """The samples' codec: 16 bits where the decoder gives them, else (floats, more bits) 24."""
    kind = cast("AudioCodecContext", source.codec_context).format.name
    return "pcm_s16le" if kind.rstrip("p") in ("s16", "u8") else "pcm_s24le"


class SoundConverter:
    """Adds a stream to an output, and turns the packets of a sound into its packets."""

    def __init__(self, output: OutputContainer, source: Stream, codec: str) -> None:
        self._decoder = cast("AudioCodecContext", source.codec_context)
        self._rate = self._decoder.sample_rate
        stream = cast("AudioStream", output.add_stream(codec, rate=self._rate))
        stream.codec_context.layout = self._decoder.layout.name
        self._encoder, self.stream = stream.codec_context, cast("Stream", stream)
        self._bytes = BYTES[codec] * self._decoder.layout.nb_channels
        self._next: int | None = None  # sample, counted from the file's time 0

    def convert(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """Its samples, each at its time; nothing for a packet that cannot be decoded, whose time stays silent."""
        from av.error import FFmpegError

        try:
            frames = self._decoder.decode(packet)
        except FFmpegError:
            return
        for frame in frames:
            yield from self._encoded(frame)

    def finish(self) -> Iterator[Packet[Any]]:
        """What the decoder still holds."""
        from av.error import FFmpegError

        try:
            frames = self._decoder.decode(None)
        except FFmpegError:
            return
        for frame in frames:
            yield from self._encoded(frame)

    def _encoded(self, frame: AudioFrame) -> Iterator[Packet[Any]]:
        at, base = self._next, rational(frame.time_base)
        if frame.pts is not None and base is not None:
            said = round(frame.pts * base * self._rate)
            at = said if at is None or abs(said - at) > MOST_DRIFT * self._rate else at
        at = at or 0
        frame.pts = None
        for packet in self._encoder.encode(frame):
            packet.stream, packet.time_base = self.stream, Fraction(1, self._rate)
            packet.pts = packet.dts = at
            packet.duration = packet.size // self._bytes
            at += packet.duration
            yield packet
        self._next = at
