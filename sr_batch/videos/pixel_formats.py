"""Which of an encoder's pixel formats holds a picture best, and what it does not hold."""

from __future__ import annotations

from sr_batch.videos.codecs import Encoder
from sr_batch.videos.picture import Samples
from sr_train.errors import UsageError

__all__ = ["ALPHA", "CHROMA", "DEPTH", "lost", "nearest_format", "wanted_format"]

ALPHA, DEPTH, CHROMA = "alpha channel", "depth", "chroma resolution"


def nearest_format(encoder: Encoder, source: Samples, size: tuple[int, int]) -> Samples:
    """The encoder's format that loses least, and of those the smallest. UsageError if none takes this (odd) size."""
    candidates = [Samples.named(name) for name in encoder.formats]
    fitting = [samples for samples in candidates if _fits(encoder, samples, size)]
    if not fitting:
        raise UsageError(f"{encoder.name} needs an even height and width, not {size[1]}x{size[0]}: use another --codec")

    def cost(samples: Samples) -> tuple[int, ...]:
        return (
            source.alpha and not samples.alpha,
            max(0, source.depth - samples.depth),
            not source.grey and _area(samples) > _area(source),
            samples.rgb is not source.rgb,
            samples.alpha,
            samples.depth,
            # A grey picture as grey; else as neutral 4:2:0, which every player takes.
            samples.grey is not source.grey,
            -_area(samples),
        )

    return min(fitting, key=cost)


def wanted_format(encoder: Encoder, name: str, size: tuple[int, int]) -> Samples:
    """A format that the user named, if the encoder has it and it takes this size."""
    if name not in encoder.formats:
        raise UsageError(f"--pix-fmt {name} is not for {encoder.name}: use one of {', '.join(encoder.formats)}")
    samples = Samples.named(name)
    if not _fits(encoder, samples, size):
        raise UsageError(f"--pix-fmt {name} needs an even height and width, not {size[1]}x{size[0]}: leave it out")
    return samples


def lost(source: Samples, target: Samples) -> list[str]:
    """What of the source's samples a format does not hold: of `ALPHA`, `DEPTH`, `CHROMA`."""
    missing = {
        ALPHA: source.alpha and not target.alpha,
        DEPTH: target.depth < source.depth,
        CHROMA: not source.grey and _area(target) > _area(source),
    }
    return [name for name, is_missing in missing.items() if is_missing]


def _area(samples: Samples) -> int:
    """Luma samples for one chroma sample."""
    return samples.subsampling[0] * samples.subsampling[1]


def _fits(encoder: Encoder, samples: Samples, size: tuple[int, int]) -> bool:
    down, right = samples.subsampling
    return encoder.odd_sizes or (size[0] % down == 0 and size[1] % right == 0)
