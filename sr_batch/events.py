"""What happens in a batch, and who is told: progress.py for people, report.py and page.py for later."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sr_batch.folders import Job, PhotoJob
from sr_batch.photos import Photo, Size
from sr_batch.upscale import Band, Counts

if TYPE_CHECKING:
    from sr_batch.videos.upscaling import VideoDone

__all__ = ["ALREADY_THERE", "Done", "Events", "Failure", "Summary"]

ALREADY_THERE = "already there"  # the usual reason why a file is skipped


@dataclass(frozen=True)
class Done:
    """What became of a file that was upscaled."""

    size: Size  # of the input, as displayed
    result: Size
    deep: bool = False  # through the deep door, which computes in fp32
    warnings: tuple[str, ...] = ()  # sentences: what could not be kept, or had to be done twice
    video: VideoDone | None = None  # of a video: its frames, and what was verified
    # Frames and pages that were upscaled now: not those of a video that an earlier run had done.
    pictures: int = 1
    all_pixels: int | None = None  # of them together, of the input; None: of the one picture
    all_result_pixels: int | None = None
    seconds: float | None = None  # from its first tile to the complete file; None: as `Events` are told of them here

    @property
    def pixels(self) -> int:
        return self.size.pixels if self.all_pixels is None else self.all_pixels

    @property
    def result_pixels(self) -> int:
        return self.result.pixels if self.all_result_pixels is None else self.all_result_pixels


@dataclass(frozen=True)
class Failure:
    source: Path
    reason: str  # a sentence without the file's name


@dataclass
class Summary:
    """What a run has done so far."""

    done: int = 0
    skipped: int = 0  # their results were there, or they are large enough
    not_ours: int = 0  # of them: files that no journal of ours knows, or that were changed since
    left_alone: int = 0  # of them: larger than --skip-larger-than
    failures: list[Failure] = field(default_factory=list)
    pictures: int = 0  # frames and pages of the files done
    pixels: int = 0  # of them, of the inputs
    result_pixels: int = 0
    warnings: int = 0  # sentences on what could not be kept
    tiles: Counts = field(default_factory=Counts)  # what the engine did for them
    seconds: float = 0.0
    frames: int = 0  # of the videos done, without those of earlier runs
    video_seconds: float = 0.0  # of `seconds`: that these frames took

    def add(self, done: Done) -> None:
        """One more file was done."""
        self.done += 1
        self.pictures += done.pictures
        self.pixels += done.pixels
        self.result_pixels += done.result_pixels
        self.warnings += len(done.warnings)
        self.frames += done.pictures if done.video is not None else 0


class Events(Protocol):
    """Who is told what happens; called from one thread at a time."""

    def started(self, job: Job, size: Size) -> None: ...

    def advanced(self, pixels: int) -> None:
        """So many input pixels were upscaled."""

    def frame(self, job: Job, done: int, total: int) -> None:
        """So many of a video's frames are upscaled. The first time it says how many an earlier run had finished."""

    def drawn(self, job: PhotoJob, photo: Photo, band: Band) -> None:
        """Rows of the network's picture of a photo are finished, top down: before a --target-size changes them.

        They are the pipeline's: copy what is to be kept.
        """

    def finished(self, job: Job, done: Done) -> None: ...

    def skipped(self, job: Job, reason: str) -> None: ...

    def failed(self, failure: Failure) -> None: ...
