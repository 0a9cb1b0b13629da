"""How many frames an encoder looks ahead: as its preset says, or fewer where they are so large that memory ends it.

x264 and x265 keep every frame that they look at, with copies at half the size: 20 MB for one of 1920x3416 in 8 bits,
0.8 GB for the 40 of x264's preset "medium".
"""

from __future__ import annotations

from sr_batch.videos.picture import Samples

__all__ = ["lookahead_parameters"]

MOST_BYTES = 100 << 20  # of frames as they are handed over; the encoder takes about twice as much
LEAST = 8  # frames: with fewer it would choose frame types blindly
# Of their sources (x264's common/base.c, x265's common/param.cpp). A preset that is not here is left alone.
FRAMES = {
    "libx264": {
        "veryfast": 10, "faster": 20, "fast": 30, "medium": 40, "slow": 50, "slower": 60, "veryslow": 60, "placebo": 60,
    },
    "libx265": {
        "superfast": 10, "veryfast": 15, "faster": 15, "fast": 15, "medium": 20, "slow": 25, "slower": 40,
        "veryslow": 40, "placebo": 60,
    },
}  # fmt: skip
# x264 has a buffer in front of the one of `rc-lookahead`, for a thread of its own: one more than B-frames (3).
IN_FRONT = {"libx264": 4}
WITHOUT = {"libx264": ["sync-lookahead=0"]}


def lookahead_parameters(encoder: str, preset: str | None, samples: Samples, size: tuple[int, int]) -> list[str]:
    """The encoder's own settings that keep its look-ahead of frames (h, w) within `MOST_BYTES`; none if it is."""
    wanted = FRAMES.get(encoder, {}).get(preset or "", 0)
    most = max(LEAST, MOST_BYTES // _frame_bytes(samples, size))
    if wanted == 0 or wanted + IN_FRONT.get(encoder, 0) <= most:
        return []
    return [f"rc-lookahead={min(wanted, most)}", *WITHOUT.get(encoder, [])]


def _frame_bytes(samples: Samples, size: tuple[int, int]) -> int:
    down, right = samples.subsampling
    chroma = 0 if samples.grey else 2 * -(-size[0] // down) * -(-size[1] // right)
    return (size[0] * size[1] + chroma) * (1 if samples.depth <= 8 else 2)
