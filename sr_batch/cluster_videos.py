"""More than one machine: the segments of a video as calls of Ray actors (crew.py), joined by the driver.

    driver: video ─cut at keyframes─▶ calls, one for each actor ─▶ finished segments ─in a row─▶ parts ─join─▶ result

Everything but the making of parts is what one machine does (videos/upscaling.py): the plan, the journal of parts, the
join, the check. A worker writes its segment beside the parts, on storage that all machines see under the same path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sr_batch.cluster_worker import EngineSource
from sr_batch.crew import Crew
from sr_batch.segment_worker import MadeSegment, SegmentWorker, ffmpeg_version
from sr_batch.upscale import Counts
from sr_batch.videos.parts import Part, Parts
from sr_batch.videos.segments import Segments, plan_segments
from sr_batch.videos.upscaling import MakeParts, Progress, VideoTask

__all__ = ["making_parts"]

ANSWER_SECONDS = 0.5  # for the workers to say how far they are; who is slower is not counted


@contextmanager
def making_parts(source: EngineSource, counts: Counts) -> Iterator[MakeParts]:
    """Makes the parts of videos, one video after the other, on the connected cluster, whose workers stay hired for the
    block. `counts` is filled in with what their engines did."""
    import ray

    def hire(options: dict[str, Any], threads: int | None) -> Any:
        remote: Any = ray.remote(SegmentWorker)
        return remote.options(**options).remote(source, threads)

    crew: Crew[_Call] = Crew(hire, _ask, in_flight=1)

    def make(task: VideoTask, parts: Parts, progress: Progress) -> int:
        return _Video(task, parts, progress, counts).make(crew)

    try:
        yield make
    finally:
        crew.close()


class _Call:
    """A segment to make. `task` is Ray's reference of the VideoTask: it travels once to each machine."""

    def __init__(self, task: Any, frames: range, parts: Parts, suffix: str) -> None:
        self.task, self.frames, self.folder, self.suffix = task, frames, parts.segments.absolute(), suffix


def _ask(actor: Any, call: _Call) -> Any:
    return actor.make.remote(call.task, call.frames, call.folder, call.suffix, ffmpeg_version())


class _Video:
    """A video in work."""

    def __init__(self, task: VideoTask, parts: Parts, progress: Progress, counts: Counts) -> None:
        self._task, self._parts, self._counts = task, parts, counts
        self._segments = Segments(parts.segments.absolute())
        self._suffix = task.suffix
        self._ready: dict[int, Part] = {}  # finished, by their first frames, whose turn has not come
        self._done, self._tell = parts.frames, progress
        self._told = 0

    def make(self, crew: Crew[_Call]) -> int:
        """All parts that are missing. Returns how many of their frames were finished before."""
        import ray

        wanted, begun = self._task.wanted, self._parts.frames
        timeline, missing = self._task.facts.timeline, []
        for frames in plan_segments(timeline, wanted, begun):
            if (part := self._segments.find(frames)) is not None:
                self._keep(part)
            else:
                missing.append(frames)
        found = self._done - begun
        self._say(self._done)
        if missing:
            reference = ray.put(replace(self._task, source=self._task.source.absolute()))
            calls = (_Call(reference, frames, self._parts, self._suffix) for frames in missing)
            crew.run(calls, self._finished, _raise, self._feel)
        return found

    def _finished(self, _call: _Call, made: MadeSegment) -> None:
        self._counts.add(made.seen)
        if made.part is not None:
            self._keep(made.part)
            self._say(self._done)

    def _keep(self, part: Part) -> None:
        """Count it, and hand over all whose turn has come."""
        self._done += len(part.pts)
        self._ready[part.first] = part
        while (following := self._ready.pop(self._parts.frames, None)) is not None:
            self._segments.hand_over(following, self._parts, self._suffix)

    def _feel(self, actors: Sequence[Any]) -> None:
        """Ask those at work how far they are."""
        import ray
        from ray.exceptions import RayError

        answers, _ = ray.wait(
            [actor.frames.remote() for actor in actors], num_returns=len(actors), timeout=ANSWER_SECONDS
        )
        in_work = 0
        for answer in answers:
            try:
                in_work += ray.get(answer)
            except RayError:  # it has died: who waits for its segment will know
                continue
        self._say(self._done + in_work)

    def _say(self, frames: int) -> None:
        """Never fewer than before: a dead worker's frames are done again."""
        if frames > self._told or not frames:
            self._told = frames
            self._tell(frames, max(frames, len(self._task.wanted)))


def _raise(_call: _Call, error: Exception) -> None:
    raise error
