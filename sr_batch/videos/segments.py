"""A video cut into segments for several workers: where, and how what is finished is kept until its turn comes.

A finished segment is a part (parts.py) in a folder beside the parts, and a note of it: workers finish in any order, and
parts are in a row. Both are on disk before the note is, so what has a note is not made again, whoever died meanwhile.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import numpy as np

from sr_batch.videos.parts import Part, Parts, sha256_of
from sr_batch.videos.timeline import Placing, Timeline
from sr_train.atomic_file import atomic_file

__all__ = ["Segments", "plan_segments"]

LEAST, MOST = 24, 250  # frames of a segment: what a worker's death may cost, and each begins with a keyframe
SHARES = 32  # a video has so many segments, if that is within the bounds: enough to go round
SHARES_IN_ORDER = 8  # of files without times, in which nobody can seek: each segment is decoded from the beginning


def plan_segments(timeline: Timeline, wanted: range, first: int) -> list[range]:
    """The frames of the result (0 is the one at `wanted.start`) from `first` on in segments, each about as long.

    They begin at keyframes of the input where these are near: there decoding begins. The cuts do not depend on how
    much is done: from any of them on, the further ones are the same.
    """
    count = len(wanted)
    if timeline.placing is Placing.FREE:
        return [range(first, max(count, first + 1))]  # how many there are is known when they are decoded
    shares = SHARES if timeline.placing is Placing.BY_TIME else SHARES_IN_ORDER
    least = max(LEAST, min(MOST, count // shares) if shares == SHARES else count // shares)
    keyframes = np.searchsorted(timeline.pts, timeline.decodable) - wanted.start
    cuts, at = [], first
    while count - at > 2 * least:
        near = keyframes[(keyframes >= at + least) & (keyframes <= at + 2 * least)]
        at = int(near[0]) if len(near) else at + least
        cuts.append(at)
    return [range(start, stop) for start, stop in pairwise([first, *cuts, count]) if start < stop]


@dataclass(frozen=True)
class Segments:
    """The folder of finished segments; several processes may use it."""

    folder: Path

    def new_file(self, frames: range, suffix: str) -> Path:
        """Where somebody may write a segment: a name of its own, because a worker thought dead may still write."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{frames.start:08d}-{uuid4().hex[:8]}{suffix}"

    def add(self, frames: range, part: Part) -> None:
        """A part whose file is in the folder, complete. Raises OSError."""
        with atomic_file(self._note(frames)) as partial:
            partial.write_text(json.dumps(asdict(part)))

    def find(self, frames: range) -> Part | None:
        """The finished part of these frames, if it is whole."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(self._note(frames).read_text())
            part = Part(**record | {"pts": tuple(record["pts"]), "durations": tuple(record["durations"])})
            path = self.folder / part.file
            if path.stat().st_size == part.bytes and sha256_of(path) == part.sha256:
                return part
        return None

    def hand_over(self, part: Part, parts: Parts, suffix: str) -> None:
        """Its turn has come: the part becomes the next one of `parts`. Raises OSError."""
        file = parts.next_file(suffix)
        (self.folder / part.file).replace(file)
        parts.add(replace(part, file=file.name))

    def _note(self, frames: range) -> Path:
        return self.folder / f"{frames.start:08d}-{frames.stop:08d}.json"
