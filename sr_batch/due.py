"""Which jobs are still to be done: not those whose results are there, nor those that failed before as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from sr_batch.events import ALREADY_THERE, Events, Failure, Summary
from sr_batch.folders import Job
from sr_batch.journal import Journals, State

__all__ = ["due"]

J = TypeVar("J", bound=Job)


def due(jobs: Iterable[J], events: Events, summary: Summary, journals: Journals, *, overwrite: bool) -> Iterator[J]:
    """The jobs to do, in order; the others are told to `events` and counted."""
    for job in jobs:
        journal = journals.of(job)
        if overwrite:
            yield job
        elif journal is None:
            if job.target.exists():
                _skip(job, ALREADY_THERE, events, summary)
            else:
                yield job
        else:
            match journal.state(job):
                case State.TO_DO:
                    yield job
                case State.DONE:
                    _skip(job, ALREADY_THERE, events, summary)
                case State.NOT_OURS:
                    summary.not_ours += 1
                    _skip(job, "already there, and not this tool's or changed since", events, summary)
                case State.FAILED_BEFORE:
                    reason = f"{journal.reason(job)} (so an earlier run found; --retry-failed tries again)"
                    summary.failures.append(Failure(job.source, reason))
                    events.failed(summary.failures[-1])


def _skip(job: Job, reason: str, events: Events, summary: Summary) -> None:
    summary.skipped += 1
    events.skipped(job, reason)
