"""The finished parts of a video in work: a folder beside the result, with a journal, so that no kill loses them.

Each part is a video file of its own, complete, on disk (fsync) and checked before its line is written; a line is
written before the next part begins. The journal's first line says what the parts belong to: the hash of the input,
the model and every option. The open journal is locked.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from sr_batch.errors import UnwritableVideo, VideoError
from sr_batch.journal import lock

__all__ = ["Part", "Parts", "open_parts", "parts_folder", "remove_parts", "saying_what_is_kept"]

VERSION = 1
JOURNAL = "parts.jsonl"
ENDING = ".sr-parts"
SEGMENTS_ENDING = ".sr-segments"  # of the folder beside, where other machines put what is finished before its turn
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Part:
    """One finished file of consecutive frames."""

    file: str  # name in the folder
    first: int  # number of its first frame in the result
    pts: tuple[int, ...]  # of its frames, in ticks of the input's time base
    durations: tuple[int, ...]
    repeated: int  # of them: frames that could not be decoded
    damaged: int
    bytes: int
    sha256: str

    @property
    def stop(self) -> int:
        """Number of the frame after the last one."""
        return self.first + len(self.pts)


class Parts:
    """The open, locked folder."""

    def __init__(self, target: Path, folder: Path, journal: IO[bytes], found: list[Part]) -> None:
        self.target, self.folder, self._journal = target, folder, journal
        self._found = found

    @property
    def finished(self) -> tuple[Part, ...]:
        return tuple(self._found)

    @property
    def frames(self) -> int:
        """How many are finished; the number of the first one that is still to do."""
        return self._found[-1].stop if self._found else 0

    def path(self, part: Part) -> Path:
        return self.folder / part.file

    @property
    def segments(self) -> Path:
        """The folder for parts that are finished before those in front of them; see videos/segments.py."""
        return self.folder.with_name(self.folder.name.removesuffix(ENDING) + SEGMENTS_ENDING)

    def next_file(self, suffix: str) -> Path:
        """Where the next part is to be written."""
        return self.folder / f"{len(self._found):06d}{suffix}"

    def add(self, part: Part) -> None:
        """A part whose file is complete and flushed. Raises OSError."""
        self._found.append(part)
        write_line(self._journal, {"part": len(self._found) - 1, **asdict(part)})


def parts_folder(target: Path, key: str) -> Path:
    """Beside the result, hidden. Parts of other options have a folder of their own: a mistyped option loses nothing."""
    return target.with_name(f".{target.name}.{key[:8]}{ENDING}")


def remove_parts(target: Path) -> None:
    """The result is complete: its parts go, those of other options too. Raises nothing."""
    for ending in (ENDING, SEGMENTS_ENDING):
        for folder in target.parent.glob(f".{glob.escape(target.name)}.*{ending}"):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_parts(target: Path, key: str) -> Iterator[Parts]:
    """The parts of the result `target`, for the block. `key`: of the input's content, the model and all options.

    A part that is not what its line says is removed, with all after it. Raises UsageError when another
    run has them, UnwritableVideo when the folder cannot be made.
    """
    folder = parts_folder(target, key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = (folder / JOURNAL).open("a+b")
    except OSError as error:
        raise UnwritableVideo(f"the folder {folder} cannot be made ({error.strerror})") from error
    with journal:
        lock(journal, target.parent)
        try:
            found = _read(folder, journal, key)
            for stray in set(folder.iterdir()) - {folder / JOURNAL, *(folder / part.file for part in found)}:
                stray.unlink()
        except VideoError:
            raise
        except OSError as error:
            raise UnwritableVideo(f"the folder {folder} cannot be written ({error.strerror})") from error
        yield Parts(target, folder, journal, found)


@contextmanager
def saying_what_is_kept(parts: Parts, name: str, frames: int) -> Iterator[None]:
    """Adds a note to an interrupt that passes through the block (Ctrl-C, SIGTERM): how far this video's parts go."""
    try:
        yield
    except Exception:  # says for itself what to do
        raise
    except BaseException as interrupt:
        kept = (
            f"frames 1 to {parts.frames} of {frames} are kept" if parts.frames else f"none of {frames} frames is kept"
        )
        interrupt.add_note(f"{name}: {kept}; the same command goes on at frame {parts.frames + 1}")
        raise


def sha256_of(path: Path) -> str:
    """Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def write_line(file: IO[bytes], record: dict[str, object]) -> None:
    """On disk when it returns."""
    file.write(json.dumps(record).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _read(folder: Path, journal: IO[bytes], key: str) -> list[Part]:
    """The parts that are there, whole and in a row. What follows them in the journal is cut off."""
    journal.seek(0)
    found: list[Part] = []
    true_until = 0
    with suppress(ValueError, KeyError, TypeError):
        head = json.loads(journal.readline())
        if head["version"] == VERSION and head["key"] == key:
            true_until = journal.tell()
            while line := journal.readline():
                record = json.loads(line)
                del record["part"]
                part = Part(**record | {"pts": tuple(record["pts"]), "durations": tuple(record["durations"])})
                whole = line.endswith(b"\n") and _is_whole(folder / part.file, part)
                if not whole or part.first != (found[-1].stop if found else 0):
                    break
                found.append(part)
                true_until = journal.tell()
    journal.truncate(true_until)
    journal.seek(0, os.SEEK_END)
    if not true_until:
        write_line(journal, {"version": VERSION, "key": key})
    return found


def _is_whole(path: Path, part: Part) -> bool:
    try:
        return path.stat().st_size == part.bytes and sha256_of(path) == part.sha256
    except OSError:
        return False
