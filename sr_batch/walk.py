"""What is in a folder: all files below it, in order, and what is wrong with those that are no files.

Links to folders are not followed, so nothing goes round in circles or leaves the folder; links to files are. Hidden
files, folders that systems keep beside people's photos, and output folders of ours are passed over.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sr_batch.jobs import JOURNAL

__all__ = ["Entry", "Notes", "walk"]

# Thumbnails of NAS systems, resource forks, recycle bins, and the like; compared without case.
SYSTEM_FOLDERS = {
    "@eadir",
    "#recycle",
    "#snapshot",
    "__macosx",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}
HIDDEN_ON_WINDOWS = stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM
MOST_NOTES = 20  # of one kind; the rest is counted


@dataclass(frozen=True, slots=True)
class Entry:
    path: Path
    problem: str | None = None  # why it cannot be read as a file: a sentence
    certain: bool = False  # it is a problem whatever the name: photos may be behind it


@dataclass
class Notes:
    """Sentences for people: the first ones of each kind, and how many more there are."""

    _by_kind: dict[str, list[str]] = field(default_factory=dict)
    _more: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, sentence: str) -> None:
        """`kind`: in the plural, of what the sentence is one."""
        sentences = self._by_kind.setdefault(kind, [])
        if len(sentences) < MOST_NOTES:
            sentences.append(sentence)
        else:
            self._more[kind] = self._more.get(kind, 0) + 1

    def __iter__(self) -> Iterator[str]:
        for kind, sentences in self._by_kind.items():
            yield from sentences
            if kind in self._more:
                yield f"and {self._more[kind]} more {kind}"


def walk(folder: Path, outputs: Collection[Path], notes: Notes) -> Iterator[Entry]:
    """All files below `folder`, sorted by name in each folder; `outputs` (resolved) are not walked.

    Holds the names of the folders that it is in, about 70 bytes each. A folder that cannot be listed, a folder without
    files, a link that leads nowhere and a device are entries with a problem: what they mean is for the caller to say.
    """
    stack = [_Listing(folder)]
    while stack:
        listing = stack[-1]
        if not listing.is_read:
            yield from listing.read()
        name = next(listing.names, None)
        if name is None:
            stack.pop()
            continue
        path = listing.folder / name
        if name in listing.folders:
            if path.resolve() in outputs or os.path.exists(path / JOURNAL):  # noqa: PTH110 - Path.exists may raise
                notes.add("output folders", f"{path}: an output folder inside the input folder; not upscaled again")
            else:
                stack.append(_Listing(path))
        elif name in listing.problems:
            yield Entry(path, listing.problems[name])
        elif name in listing.links:
            notes.add("links to folders", f"{path}: a link to a folder; not followed (name it as an input)")
        else:
            yield Entry(path)


@dataclass
class _Listing:
    """One folder's visible names, in order, and which of them are more than files."""

    folder: Path
    names: Iterator[str] = field(default_factory=lambda: iter(()))
    folders: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)  # to folders
    problems: dict[str, str] = field(default_factory=dict)  # of files, by name
    is_read: bool = False

    def read(self) -> Iterator[Entry]:
        """List the folder; gives out what is wrong with it."""
        self.is_read = True
        names: list[str] = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    if not _is_hidden(entry):
                        names.append(entry.name)
                        self._sort_in(entry)
        except OSError as error:
            yield Entry(self.folder, f"cannot be listed ({error.strerror})", certain=True)
        self.names = iter(sorted(names))
        if not names:
            yield Entry(self.folder, "is a folder, and there is no photo in it")

    def _sort_in(self, entry: os.DirEntry[str]) -> None:
        try:
            if entry.is_dir(follow_symlinks=False):
                self.folders.add(entry.name)
            elif entry.is_dir():
                self.links.add(entry.name)
            elif not entry.is_file():
                broken = entry.is_symlink()
                self.problems[entry.name] = "a link to a file that is not there" if broken else "is no regular file"
        except OSError as error:  # a link to itself, a disk that is going
            self.problems[entry.name] = f"cannot be read ({error.strerror})"


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or entry.name.lower() in SYSTEM_FOLDERS:
        return True
    if sys.platform == "win32":
        return bool(entry.stat(follow_symlinks=False).st_file_attributes & HIDDEN_ON_WINDOWS)
    return False
