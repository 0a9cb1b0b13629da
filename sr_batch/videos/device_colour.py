"""Y, Cb, Cr planes <-> RGB as tensors, on whatever device they lie: what colour.py does, for frames that stay on a GPU.

The matrices are colour.py's own. A frame is two tensors, as NVIDIA's decoders and encoders have them (FFmpeg's nv12 and
p010le): luma [h, w] and chroma [h/2, w/2, 2], uint8, or uint16 with the 10 bits at the top. h and w are even.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sr_batch.videos.matrices import Affine, from_rgb_matrix, to_rgb_matrix
from sr_batch.videos.picture import Colour

__all__ = ["planes_to_rgb", "rgb_to_planes"]

DEPTH = {torch.uint8: 8, torch.uint16: 10}
PADDING_BITS = 6  # below the 10 bits of a p010le sample
BETWEEN = 0.5


def _cubic(part: float) -> tuple[float, float, float, float]:
    """Weights of 4 samples for a place `part` of the way from the second to the third: Keys's cubic, a = -0.75, which
    cv2.resize uses and chroma.py with it."""
    a = -0.75

    def near(x: float) -> float:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    first = ((a * (part + 1) - 5 * a) * (part + 1) + 8 * a) * (part + 1) - 4 * a
    second, third = near(part), near(1 - part)
    return first, second, third, 1 - first - second - third


def planes_to_rgb(luma: Tensor, chroma: Tensor, colour: Colour) -> Tensor:
    """RGB [h, w, 3] on the planes' device: uint8, or float32 in [0, 1] for 10 bits. Colours outside RGB are clipped."""
    depth = DEPTH[luma.dtype]
    white = 255.0 if depth == 8 else 1.0
    matrix = to_rgb_matrix(colour, depth, white)
    down, right = colour.siting.shift
    small = _codes(chroma).permute(2, 0, 1)
    large = _enlarge(_enlarge(small, 2, right), 1, down)
    rgb = _transform(matrix, [_codes(luma), large[0], large[1]])
    if depth == 8:
        return rgb.round_().clamp_(0, 255).to(torch.uint8)
    return rgb.clamp_(0, 1)


def rgb_to_planes(rgb: Tensor, colour: Colour) -> tuple[Tensor, Tensor]:
    """(luma, chroma) of RGB [h, w, 3]: 8-bit planes of uint8, 10-bit ones of float32, which is clipped to [0, 1]."""
    eight = rgb.dtype == torch.uint8
    depth, dtype = (8, torch.uint8) if eight else (10, torch.uint16)
    matrix = from_rgb_matrix(colour, depth, 255.0 if eight else 1.0)
    planes = rgb.permute(2, 0, 1).to(torch.float32)
    planes = planes if eight else planes.clamp(0, 1)
    luma = _transform(matrix[:1], list(planes))[..., 0]
    down, right = colour.siting.shift
    chroma = _transform(matrix[1:], list(_shrink(_shrink(planes, 1, down), 2, right)))
    return _stored(luma, depth, dtype), _stored(chroma, depth, dtype)


def _transform(matrix: Affine, channels: Sequence[Tensor]) -> Tensor:
    """[h, w, rows of the matrix]: the last column is a constant. In the matrix's own numbers, no TF32."""
    rows = []
    for row in matrix.tolist():
        total = torch.full_like(channels[0], row[-1])
        for factor, channel in zip(row[:-1], channels, strict=True):
            total.add_(channel, alpha=factor)
        rows.append(total)
    return torch.stack(rows, dim=-1)


def _codes(plane: Tensor) -> Tensor:
    """As float32, without the padding bits."""
    if plane.dtype == torch.uint8:
        return plane.to(torch.float32)
    return (plane.to(torch.int32) >> PADDING_BITS).to(torch.float32)


def _stored(codes: Tensor, depth: int, dtype: torch.dtype) -> Tensor:
    whole = codes.round().clamp(0, 2**depth - 1)
    if depth == 8:
        return whole.to(dtype).contiguous()
    return (whole.to(torch.int32) << PADDING_BITS).to(dtype).contiguous()


def _padded(planes: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Continued by its border along an axis."""
    first = planes.narrow(axis, 0, 1)
    last = planes.narrow(axis, planes.shape[axis] - 1, 1)
    return torch.cat([first] * before + [planes] + [last] * after, dim=axis)


def _enlarge(planes: Tensor, axis: int, position: float) -> Tensor:
    """[c, h, w] twice as long along an axis; `position`: of a sample from the first of its 2, as in chroma.py."""
    length = planes.shape[axis]
    wide = _padded(planes, axis, 2, 2)

    def between(first: int, part: float) -> Tensor:
        """For each sample: `part` of the way from the one `first + 1` beside it to the next."""
        taps = [wide.narrow(axis, 2 + first + tap, length) for tap in range(4)]
        return sum((tap * weight for tap, weight in zip(taps, _cubic(part), strict=True)), torch.zeros_like(planes))

    if position == BETWEEN:
        pair = (between(-2, 0.75), between(-1, 0.25))
    else:
        pair = (planes, between(-1, 0.5)) if position == 0 else (between(-2, 0.5), planes)
    shape = list(planes.shape)
    shape[axis] = 2 * length
    return torch.stack(pair, dim=axis + 1).reshape(shape)


def _shrink(planes: Tensor, axis: int, position: float) -> Tensor:
    """[c, h, w] half as long along an axis: between two samples their mean, on one 1:2:1 of it and its neighbours."""
    pairs = planes.reshape(*planes.shape[:axis], -1, 2, *planes.shape[axis + 1 :])
    first, second = pairs.select(axis + 1, 0), pairs.select(axis + 1, 1)
    if position == BETWEEN:
        return (first + second) / 2
    count = first.shape[axis]
    if position == 0:  # on the first: the second one of the pair before is the other neighbour
        other = second.roll(1, axis)
        other.narrow(axis, 0, 1).copy_(planes.narrow(axis, 0, 1))
        return (first * 2 + second + other) / 4
    other = first.roll(-1, axis)
    other.narrow(axis, count - 1, 1).copy_(planes.narrow(axis, planes.shape[axis] - 1, 1))
    return (second * 2 + first + other) / 4
