"""The journal: what was made of which photo, one JSON line each in the output folder. See docs/journal.md.

A result counts as done when the file that is there is the one the journal knows, made from this photo with this model
and these options. A photo is the same when its size and date are (as rsync has it), or else its content's sha256. A
file that the journal does not know, or that was changed since, is somebody else's and left alone.

A line is written before its result gets its name, so no kill can leave a result that the journal does not know.
The open journal is locked: two runs on one output folder do not fight.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sr_batch.folders import JOURNAL, Job, VideoJob
from sr_train.errors import UsageError

__all__ = ["Entry", "Journal", "Journals", "Stamp", "State", "fingerprint", "lock", "open_journals"]

VERSION = 1
READ_BYTES = 1 << 20
COARSEST_NS = 2_000_000_000  # FAT keeps times to two seconds
LOCKED_BYTE = 1 << 40  # Windows locks bytes, and others may read the file meanwhile: one that is never there


class State(Enum):
    """Of a job, before the work."""

    TO_DO = auto()
    DONE = auto()  # by an earlier run, from the same photo with the same model and options
    NOT_OURS = auto()  # something else is there
    FAILED_BEFORE = auto()  # and nothing that matters has changed


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells quickly whether a file is the same."""

    size: int  # bytes
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Raises OSError."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)

    def is_near(self, other: Stamp) -> bool:
        """The same, for a file system that rounds times."""
        return self.size == other.size and abs(self.mtime_ns - other.mtime_ns) < COARSEST_NS


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal."""

    source: Stamp
    content: str  # sha256 of the photo; empty for one that failed
    options: str  # key of model and options
    target: Stamp | None  # None: it failed
    reason: str = ""


def fingerprint(path: Path) -> tuple[Stamp, str]:
    """A file's stamp and the sha256 of its content, the stamp taken first. Raises OSError."""
    stamp, digest = Stamp.of(path), hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
    return stamp, digest.hexdigest()


class Journal:
    """The journal of one output folder, open and locked. Its methods may be called from several threads.

    Knows what its file said when it was opened; of that it holds where each line is (16 bytes), and reads the line
    when its result is asked about.
    """

    def __init__(self, folder: Path, file: IO[bytes], photos: str, videos: str, *, retry_failed: bool) -> None:
        self._folder, self._file = folder, file
        self._photos, self._videos, self._retry_failed = photos, videos, retry_failed
        self._lock = Lock()
        self._names, self._places = _index(file)

    def state(self, job: Job, *, quick: bool = False) -> State:
        """What is to be done about this job. A photo that cannot be read is TO_DO: its turn will say why.

        `quick`: no photo's content is read, so one whose date has changed is TO_DO.
        """
        entries = self._entries(job)
        try:
            target = Stamp.of(job.target)
        except OSError:
            return self._state_without_result(job, entries)
        made = next((e for e in reversed(entries) if e.target is not None and e.target.is_near(target)), None)
        if made is None:
            return State.NOT_OURS
        if made.options != self._options(job):
            return State.TO_DO
        try:
            same = made.source == Stamp.of(job.source)
            if same or (not quick and made.content == fingerprint(job.source)[1]):
                return State.DONE
        except OSError:
            return State.TO_DO
        return State.TO_DO

    def reason(self, job: Job) -> str:
        """Why a job that FAILED_BEFORE did."""
        return self._entries(job)[-1].reason

    def add_done(self, job: Job, source: Stamp, content: str, result: Path) -> None:
        """`result` is complete, and about to be renamed to the job's target. Raises OSError."""
        self._add(job, Entry(source, content, self._options(job), Stamp.of(result)))

    def add_failed(self, job: Job, reason: str) -> None:
        """The photo itself is at fault. Raises OSError."""
        self._add(job, Entry(Stamp.of(job.source), "", self._options(job), None, reason))

    def _options(self, job: Job) -> str:
        return self._videos if isinstance(job, VideoJob) else self._photos

    def _state_without_result(self, job: Job, entries: list[Entry]) -> State:
        last = entries[-1] if entries else None
        if last is None or last.target is not None or last.options != self._options(job) or self._retry_failed:
            return State.TO_DO
        try:
            return State.FAILED_BEFORE if last.source == Stamp.of(job.source) else State.TO_DO
        except OSError:
            return State.TO_DO

    def _name(self, job: Job) -> str:
        return job.target.relative_to(self._folder).as_posix()

    def _entries(self, job: Job) -> list[Entry]:
        """The last line about a job's result, and the one before: its result may still be there."""
        name = self._name(job)
        first, end = (int(np.searchsorted(self._names, _hash(name), side)) for side in ("left", "right"))
        entries = []
        for place in self._places[first:end][-2:]:
            with self._lock:
                self._file.seek(int(place))
                line = self._file.readline()
            found, entry = _read_line(line) or ("", None)
            if found == name and entry is not None:
                entries.append(entry)
        return entries

    def _add(self, job: Job, entry: Entry) -> None:
        record: dict[str, Any] = {"version": VERSION, "result": self._name(job), "source": str(job.source)}
        record |= {"source_bytes": entry.source.size, "source_mtime_ns": entry.source.mtime_ns}
        record |= {"source_sha256": entry.content, "options": entry.options}
        if entry.target is None:
            record["failed"] = entry.reason
        else:
            record |= {"result_bytes": entry.target.size, "result_mtime_ns": entry.target.mtime_ns}
        with self._lock:
            self._file.write(json.dumps(record).encode() + b"\n")  # at the end: it was opened for appending
            self._file.flush()


def _index(file: IO[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hashes of the results' names, sorted, and where their lines begin; those of one result in their order.

    Leaves the file with whole lines.
    """
    names, places = array("Q"), array("Q")
    place = 0
    for line in _whole_lines(file):
        if (read := _read_line(line)) is not None:
            names.append(_hash(read[0]))
            places.append(place)
        place += len(line)
    hashes, begins = np.frombuffer(names, np.uint64), np.frombuffer(places, np.uint64)
    order = np.argsort(hashes, kind="stable")
    return hashes[order], begins[order]


def _hash(name: str) -> int:
    return hash(name) & (2**64 - 1)


def _read_line(line: bytes) -> tuple[str, Entry] | None:
    """A result's name and what is known of it; None for a line that a kill cut off, or that a later version wrote."""
    try:
        record = json.loads(line)
        if record["version"] != VERSION:
            return None
        failed = record.get("failed")
        target = Stamp(record["result_bytes"], record["result_mtime_ns"]) if failed is None else None
        source = Stamp(record["source_bytes"], record["source_mtime_ns"])
        return str(record["result"]), Entry(source, record["source_sha256"], record["options"], target, failed or "")
    except (ValueError, KeyError, TypeError):
        return None


class Journals:
    """The open journals by output folder."""

    def __init__(self, by_folder: dict[Path, Journal]) -> None:
        self._by_folder = by_folder

    def of(self, job: Job) -> Journal | None:
        """None for results beside their photos, and where no journal could be written."""
        return self._by_folder.get(job.root) if job.root is not None else None


@contextmanager
def open_journals(
    folders: Iterable[Path], photos: str, videos: str = "", *, retry_failed: bool = False
) -> Iterator[Journals]:
    """Open and lock the journals of these output folders for the block. `photos`, `videos`: keys of all that shapes
    a result.

    A folder that cannot be written has none: its photos will fail with the reason. Raises UsageError when another run
    has one of them.
    """
    with ExitStack() as stack:
        journals = {}
        for folder in folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(_open(folder / JOURNAL))
            except OSError:
                continue
            lock(file, folder)
            journals[folder] = Journal(folder, file, photos, videos, retry_failed=retry_failed)
        yield Journals(journals)


def _open(path: Path) -> IO[bytes]:
    """For reading and appending. A link is not followed: it could lead to a file that is not ours."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "a+b")


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """All lines, and the position at the end of a whole one."""
    file.seek(0)
    line = b"\n"
    for line in file:
        yield line
    if not line.endswith(b"\n"):
        file.write(b"\n")


def lock(file: IO[bytes], folder: Path) -> None:
    """Until the file is closed or the process ends. A file system without locks is worked on without one."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise UsageError(
            f"another sr-batch is at work in {folder}; wait until it has ended, or name another folder with -o"
        ) from error
    except OSError:
        return
