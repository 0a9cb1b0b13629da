"""Which decoder a stream gets: FFmpeg's usual one, libvpx for an alpha channel, or the machine's hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sr_batch.videos.codecs import Hardware

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

__all__ = ["decoder_of"]

# FFmpeg's own decoders of these leave the alpha channel away; libvpx's give it.
ALPHA_DECODERS = {"vp9": "libvpx-vp9", "vp8": "libvpx"}
# Of a kind of hardware, FFmpeg's names of its decoding devices.
DEVICES = {
    Hardware.NVENC: ("cuda",),
    Hardware.QSV: ("qsv",),
    Hardware.VIDEOTOOLBOX: ("videotoolbox",),
    Hardware.AMF: ("d3d11va",),
    Hardware.NVDEC_NVENC: ("cuda",),
    Hardware.AUTO: ("cuda", "videotoolbox", "qsv", "d3d11va"),
}


def decoder_of(stream: VideoStream, hardware: Hardware = Hardware.NONE) -> VideoCodecContext:
    """A decoder for this stream's packets, at its beginning: only one may be in use at a time.

    Hardware gives the same pictures as software (decoding is exactly defined) and is used where it opens; whatever
    it cannot decode, software does. NVDEC_NVENC leaves the pictures in the memory of the GPU.
    """
    usual = stream.codec_context
    name = ALPHA_DECODERS.get(usual.name)
    # Matroska's field, or a tag of that name: then it is in capitals.
    alpha = next((value for key, value in stream.metadata.items() if key.lower() == "alpha_mode"), None)
    if name is not None and alpha == "1":
        return _own(stream, name) or usual
    for device in DEVICES.get(hardware, ()):
        decoder = _own(stream, usual.name, device, owned=hardware is Hardware.NVDEC_NVENC)
        if decoder is not None:
            return decoder
    return usual


def _own(stream: VideoStream, name: str, device: str | None = None, *, owned: bool = False) -> VideoCodecContext | None:
    """A decoder beside the stream's; None if this FFmpeg or this machine does not have it."""
    from av.codec.codec import UnknownCodecError
    from av.codec.context import CodecContext
    from av.codec.hwaccel import HWAccel, hwdevices_available
    from av.error import FFmpegError

    if device is not None and device not in hwdevices_available():
        return None
    hwaccel = None if device is None else HWAccel(device, allow_software_fallback=True, is_hw_owned=owned)
    try:
        decoder = cast("VideoCodecContext", CodecContext.create(name, "r", hwaccel))
    # A missing driver is a PermissionError, fallback allowed or not.
    except (FFmpegError, UnknownCodecError, OSError):
        return None
    if device is not None and not decoder.is_hwaccel:
        return None
    decoder.extradata = stream.codec_context.extradata
    decoder.thread_type = "AUTO"
    return decoder
