"""The report for people: one HTML file that needs nothing else, with a card for each file. See docs/report.md.

Cards are written to a scratch file while the run goes on; the page is put together at its end. Pictures are encoded
in one thread, beside the run. What is held at a time is a few photos' cut-outs, however many photos there are.
"""

from __future__ import annotations

import base64
import html
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from threading import Semaphore
from typing import IO, Any
from urllib.parse import quote

from sr_batch.errors import UnreadablePhoto
from sr_batch.events import Summary
from sr_batch.folders import PhotoJob
from sr_batch.glimpse import Glimpse, Look, glimpse_of_files
from sr_batch.photos import Photo, Size
from sr_batch.progress import printable
from sr_batch.upscale import Band
from sr_train.atomic_file import atomic_file
from sr_train.errors import SRError, UsageError

__all__ = ["Page", "open_page"]

Record = dict[str, Any]  # as docs/report.md says

MEGA = 1e6
WAITING = 6  # cut-outs that wait for their encoding; then the run waits
WINDOWS = (  # up to so many cards, at most so much of each result is shown: the page stays below some 60 MB
    (100, Size(720, 960)),
    (400, Size(480, 640)),
    (1500, Size(360, 480)),
)
PICTURED = 1500  # cards with pictures; the rest has none, and the page says so
NAMED_FAILURES = 50  # listed at the top; the cards have all


class Page:
    """Takes the run's records, and its pictures as they are drawn, and writes the cards."""

    def __init__(self, cards: IO[bytes], folder: Path, facts: Record, expected: int) -> None:
        """`cards`: where they are gathered; `folder`: the page's own; `expected`: about how many there will be.

        `window`: the largest part of a result that is shown.
        """
        self._cards, self._folder, self._facts = cards, folder, facts
        self.window = next((window for most, window in WINDOWS if expected <= most), WINDOWS[-1][1])
        self._encoder = ThreadPoolExecutor(1, "page")
        self._room = Semaphore(WAITING)
        self._looks: dict[Path, Look | Glimpse] = {}  # of the photos in work
        self._pending: list[Future[None]] = []
        self._count = 0
        self.failures: list[tuple[int, str, str]] = []  # (card, name, reason), the first ones

    def take(self, record: Record) -> None:
        """One record of docs/report.md; those that end a photo become its card. Raises OSError of an earlier card."""
        if record["event"] not in ("finished", "skipped", "failed"):
            return
        self._count += 1
        if record["event"] == "failed" and len(self.failures) < NAMED_FAILURES:
            self.failures.append((self._count, record["source"], record["reason"]))
        look = self._looks.pop(Path(record["source"]), None)
        self._raise_errors()
        self._room.acquire()
        self._pending.append(self._encoder.submit(self._add, self._count, record, look))

    def drawn(self, job: PhotoJob, photo: Photo, band: Band) -> None:
        """Rows of a photo's result, top down."""
        if not self.wants_pictures():
            return
        if band.top == 0:
            self._looks[job.source] = Look(photo, band.pixels.shape[1], self.window)
        if isinstance(look := self._looks.get(job.source), Look):
            look.add(band)

    def wants_pictures(self) -> bool:
        """Of the next photo."""
        return self._count < PICTURED

    def shown(self, job: PhotoJob, glimpse: Glimpse) -> None:
        """What is to be shown of a photo that was upscaled elsewhere: at most the window of its result."""
        self._looks[job.source] = glimpse

    def finish(self) -> None:
        """Wait for the last cards. Raises OSError."""
        self._encoder.shutdown()
        self._raise_errors()

    def abandon(self) -> None:
        """Stop; what waits is not encoded."""
        self._encoder.shutdown(cancel_futures=True)

    def _raise_errors(self) -> None:
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()

    def _add(self, number: int, record: Record, look: Look | Glimpse | None) -> None:
        """In the encoding thread."""
        try:
            glimpse = None if record["event"] == "failed" or number > PICTURED else self._glimpse(record, look)
            self._cards.write(_card(number, record, glimpse, self._facts, self._folder).encode())
        finally:
            self._room.release()

    def _glimpse(self, record: Record, look: Look | Glimpse | None) -> Glimpse | None:
        if isinstance(look, Glimpse):
            return look
        if look:
            return look.glimpse(record["result_width"])
        if record["event"] != "skipped":
            return None
        try:
            return glimpse_of_files(Path(record["source"]), Path(record["result"]), self.window)
        except UnreadablePhoto:
            return None  # a video, or a file that has gone: its card says the rest


@contextmanager
def open_page(path: Path, facts: Record, summary: Summary, expected: int) -> Iterator[Page]:
    """A page that is written to `path` when the block has ended; until then an older one stays.

    `facts` says what upscaled, `summary` is read at the end. A block that is interrupted leaves a page too, which says
    so; one that an SRError ends, because the run cannot be, leaves none. Raises UsageError when the file cannot be
    written.
    """
    interrupt: BaseException | None = None
    try:
        with atomic_file(path) as partial, partial.open("wb") as file, tempfile.TemporaryFile(dir=path.parent) as cards:
            page = Page(cards, path.parent, facts, expected)
            try:
                yield page
            except (SRError, OSError) as error:
                if not isinstance(error, BrokenPipeError):  # that is: nobody reads our output any more
                    page.abandon()
                    raise
                interrupt = error
            except BaseException as error:
                interrupt = error
            page.finish()
            totals = _totals(facts, summary, page.failures, interrupted=interrupt is not None)
            _assemble(file, cards, _title(facts, summary), totals)
    except OSError as error:
        raise UsageError(f"the report {path} cannot be written ({error.strerror or error})") from error
    if interrupt is not None:
        raise interrupt


def _assemble(file: IO[bytes], cards: IO[bytes], title: str, totals: str) -> None:
    template = files("sr_batch").joinpath("page.html").read_text(encoding="utf-8")
    start, end = template.replace("<!-- title -->", title).replace("<!-- totals -->", totals).split("<!-- cards -->")
    file.write(start.encode())
    cards.seek(0)
    shutil.copyfileobj(cards, file)
    file.write(end.encode())


def _title(facts: Record, summary: Summary) -> str:
    done = summary.done + summary.skipped
    size = facts.get("target", f"{facts['scale']}x")
    return f"{done} {'file' if done == 1 else 'files'}, {size}"


def _totals(
    facts: Record, summary: Summary, failures: Sequence[tuple[int, str, str]], *, interrupted: bool = False
) -> str:
    """What stands above the cards."""
    speed = summary.pixels / summary.seconds / MEGA if summary.seconds else 0.0
    figures = [
        ("done", str(summary.done)),
        ("skipped", str(summary.skipped)),
        ("failed", str(len(summary.failures))),
        ("input", f"{summary.pixels / MEGA:.2f} MP"),
        ("results", f"{summary.result_pixels / MEGA:.1f} MP"),
        ("time", _duration(summary.seconds)),
        ("speed", f"{speed:.3f} MP/s of input"),
        *([("tiles reused", str(summary.tiles.reused))] if summary.tiles.reused else []),
        *([("tiles done again in fp32", str(summary.tiles.redone))] if summary.tiles.redone else []),
    ]
    entries = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures)
    how = f"{facts['model']} on {facts['engine']}, {facts['precision']}; {time.strftime('%Y-%m-%d %H:%M')}"
    parts = [f"<h1>{_title(facts, summary)}</h1>", f'<p class="soft">{_text(how)}</p>']
    if interrupted:
        parts.append('<p class="bad">Interrupted: not all was done. The same command goes on from there.</p>')
    parts.append(f'<dl class="totals">{entries}</dl>')
    if failures:
        more = len(summary.failures) - len(failures)
        items = [f'<li><a href="#card{n}">{_text(name)}</a>: {_text(reason)}</li>' for n, name, reason in failures]
        items += [f"<li>and {more} more</li>"] if more > 0 else []
        parts.append(f'<h2>Failed</h2><ul class="bad">{"".join(items)}</ul>')
    if summary.done + summary.skipped > PICTURED:
        parts.append(f'<p class="soft">Only the first {PICTURED} cards have pictures, to keep this page small.</p>')
    return "\n".join(parts)


def _card(number: int, record: Record, glimpse: Glimpse | None, facts: Record, folder: Path) -> str:
    """One <article>. Pictures are in a <template>: a browser decodes them when the card comes near the window."""
    name = _text(record["source"])
    kinds = {"finished": "done", "skipped": "skipped", "failed": "failed"}[record["event"]]
    kinds += " noted" if record.get("warnings") else ""
    plain = "" if glimpse else ' class="plain"'
    parts = [
        f'<article id="card{number}" data-kind="{kinds}" aria-label="{name}"{plain}>',
        f"<h3>{name}</h3>",
        _pictures(name, glimpse) if glimpse else "",
        *(f"<p>{line}</p>" for line in _facts(record, facts, folder)),
        *(f'<p class="note">Note: {_text(warning)}</p>' for warning in record.get("warnings", ())),
    ]
    if record["event"] == "failed":
        parts.append(f'<p class="bad">Failed: {_text(record["reason"])}</p>')
    return "\n".join(part for part in [*parts, "</article>"] if part) + "\n"


def _facts(record: Record, facts: Record, folder: Path) -> list[str]:
    """Lines of HTML: sizes, time and engine, where the files are."""
    lines = []
    if "result_width" in record:
        sizes = f"{record['width']}x{record['height']} to {record['result_width']}x{record['result_height']}"
        frames = f", {record['frames']} frames" if "frames" in record else ""
        how = {**facts, **record}  # a deep photo computes in fp32, whatever the run does
        lines.append(_text(f"{sizes}{frames}, {_duration(record['seconds'])} on {how['engine']}, {how['precision']}"))
        if verified := record.get("verified"):
            lines.append(f"Read back: {verified['frames']} frames, {verified['streams_copied']} streams as they were.")
    elif record["event"] == "skipped":
        lines.append(_text(f"Skipped: {record.get('reason', 'already there')}."))
    links = [("original", record["source"])]
    if "result" in record and (record["event"] == "finished" or Path(record["result"]).exists()):
        links.append(("result", record["result"]))
    named = f'aria-label="{{}} of {_text(record["source"])}"'
    anchors = [f'<a href="{_address(path, folder)}" {named.format(label)}>{label}</a>' for label, path in links]
    lines.append(" · ".join(anchors))
    return lines


def _pictures(name: str, glimpse: Glimpse) -> str:
    """The comparison at 100 %, and where in the photo it is."""
    size = f'width="{glimpse.shown.width}" height="{glimpse.shown.height}"'
    part, photo = glimpse.part, glimpse.photo
    place = (
        f"top:{part.top / photo.height:.2%};left:{part.left / photo.width:.2%};"
        f"height:{part.height / photo.height:.2%};width:{part.width / photo.width:.2%}"
    )
    return (
        f'<template><div class="comparison">'
        f'<div class="viewer" tabindex="0" role="group" aria-label="Part of {name} at 100 %; arrow keys move it">'
        f'<div class="pane before"><img {size} alt="Before: the photo, enlarged by the browser" '
        f'src="{_data(glimpse.before)}"><span>before, enlarged</span></div>'
        f'<div class="pane after"><img {size} alt="After: the result" src="{_data(glimpse.after)}">'
        '<span>after</span></div><div class="handle"></div></div>'
        f'<input type="range" min="0" max="100" aria-label="Divider between before and after, {name}"></div>'
        f'<div class="below"><span class="map"><img alt="The whole photo" src="{_data(glimpse.thumbnail)}">'
        f'<i style="{place}"></i></span><span class="soft">Where this part is. Drag the picture to move it, the '
        f'line to compare.</span><button type="button" aria-label="Larger: {name}">Larger</button></div></template>'
    )


def _data(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode()


def _address(path: str, folder: Path) -> str:
    """Of a file, from the page's folder where that is possible: page and pictures may be moved together."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # another drive of Windows
        return html.escape(Path(path).resolve().as_uri())
    return html.escape(quote(os.fsencode(relative.replace(os.sep, "/"))))


def _text(text: str) -> str:
    return html.escape(printable(text))


def _duration(seconds: float) -> str:
    """Short, for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
