"""Which files would have the same result, and what each result is called then.

All names must be known before the first result is made. Instead of the names, two 64-bit hashes of each file are
kept (16 bytes; 1.6 MB for 100,000 files), and the folders are walked again for the work itself. A hash that two names
share by chance (1 in 3 billion for 100,000 files) renames a result that did not need it, and does no other harm.

Names are compared without case and in one Unicode form, as some file systems do: the same command gives the same
names everywhere.
"""

from __future__ import annotations

import os
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sr_batch.jobs import Job, OnCollision

__all__ = ["Collisions"]

MASK = 2**64 - 1


class Collisions:
    """Walks the jobs once to know who shares a result with whom; more often only where some do."""

    def __init__(self, first: Iterable[Job], again: Callable[[], Iterable[Job]], policy: OnCollision) -> None:
        """`again` gives the jobs of `first` each time, as far as nobody changes the folders meanwhile."""
        self._policy = policy
        targets, sources = array("Q"), array("Q")
        for job in first:
            targets.append(_hash(_comparable(job.target)))
            sources.append(_hash(_absolute(job.source)))
        pairs = np.stack([np.frombuffer(part, np.uint64) for part in (targets, sources)], axis=1)
        del targets, sources
        once = np.unique(pairs, axis=0)
        self.count = len(once)  # of different jobs
        self._named_twice = len(once) < len(pairs)
        self._sources = array("Q", np.sort(once[:, 1]).tobytes())
        self._shared = [_repeated(np.sort(once[:, 0]))]  # by name in NAMES: hashes of those that are not free
        taken = {int(value) for value in once[:, 0]} if self._shared[0] and policy is OnCollision.RENAME else set()
        while self._shared[-1] and policy is OnCollision.RENAME and len(self._shared) < len(NAMES):
            self._shared.append(self._not_free(self.once(again()), taken))

    @property
    def any(self) -> bool:
        return bool(self._shared[0])

    def once(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Each job once, without those whose files were not there at the first walk: they are for the next run."""
        seen: set[tuple[int, int]] = set()
        for job in jobs:
            source = _hash(_absolute(job.source))
            place = bisect_left(self._sources, source)
            if place == len(self._sources) or self._sources[place] != source:
                continue
            if self._named_twice:
                pair = (_hash(_comparable(job.target)), source)
                if pair in seen:
                    continue
                seen.add(pair)
            yield job

    def resolved(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Job | None]]:
        """Each of the jobs once, and the same with the name that its result gets; None where it gets none."""
        given: set[int] = set()
        for job in self.once(jobs):
            name = self._free_name(job)
            if name is None and self._policy is OnCollision.SKIP:
                key = _hash(_comparable(job.target))
                name = job.target if key not in given else None
                given.add(key)
            yield job, job if name == job.target else None if name is None else replace(job, target=name)

    def _free_name(self, job: Job) -> Path | None:
        for shared, name in zip(self._shared, NAMES, strict=False):
            path = name(job)
            if not shared or _hash(_comparable(path)) not in shared:
                return path
        return None

    def _not_free(self, jobs: Iterable[Job], taken: set[int]) -> set[int]:
        """The hashes of the next names that two of the jobs share, or that another job has. Adds all to `taken`."""
        name = NAMES[len(self._shared)]
        keys = [_hash(_comparable(name(job))) for job in jobs if self._free_name(job) is None]
        shared = _repeated(np.sort(np.array(keys, np.uint64))) | taken.intersection(keys)
        taken.update(keys)
        return shared


def _own_name(job: Job) -> Path:
    return job.target


def _with_ending(job: Job) -> Path:
    """a.jpg.png"""
    return job.target.with_name(f"{job.target.stem}{job.source.suffix}{job.target.suffix}")


def _with_folder(job: Job) -> Path:
    """holiday_a.png"""
    return job.target.with_name(f"{_folder_of(job)}_{job.target.name}")


def _with_both(job: Job) -> Path:
    """holiday_a.jpg.png"""
    return job.target.with_name(f"{_folder_of(job)}_{_with_ending(job).name}")


NAMES = (_own_name, _with_ending, _with_folder, _with_both)  # the first one that is free is taken


def _folder_of(job: Job) -> str:
    return job.source.absolute().parent.name


def _repeated(hashes: NDArray[np.uint64]) -> set[int]:
    """Those that are there more than once; `hashes` are sorted."""
    return {int(value) for value in hashes[1:][hashes[1:] == hashes[:-1]]}


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve asks the disk about each part of it


def _comparable(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.normcase(_absolute(path))).casefold()


def _hash(text: str) -> int:
    """64 bits, the same in this process."""
    return hash(text) & MASK
