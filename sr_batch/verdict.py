"""What set the pace of a run, in one sentence, from where the time went."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Shares", "verdict"]


@dataclass(frozen=True)
class Shares:
    """Shares of a run's time. The last four are what the thread that feeds the engine did; they add up to at most 1."""

    engine: float  # it computed (of several engines: on average)
    waiting_for_engine: float
    waiting_for_input: float  # decoded pictures
    waiting_for_room: float  # in front of the encoders
    working: float  # cutting windows and stitching results


def verdict(shares: Shares) -> str:
    """What the feeding thread spent most time on set the pace: an engine that computes while everybody waits for an
    encoder did not."""
    if shares.engine == 0:
        return "nothing went through the engine"
    causes = {
        "the engine": (shares.waiting_for_engine, ""),
        "decoding": (shares.waiting_for_input, "waiting for decoding"),
        "encoding": (shares.waiting_for_room, "waiting for encoding"),
        "cutting and stitching": (shares.working, "cutting and stitching"),
    }
    pace = max(causes, key=lambda cause: causes[cause][0])
    busy = f"busy {_percent(shares.engine)} of the time"
    besides = ", ".join(f"{what} {_percent(share)}" for c, (share, what) in causes.items() if what and c != pace)
    if pace == "the engine":
        return f"the engine set the pace: it was {busy} ({besides})"
    share, what = causes[pace]
    return f"{pace} set the pace: {_percent(share)} of the time was {what}; the engine was {busy} ({besides})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
