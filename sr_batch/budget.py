"""A bound on bytes that several threads hold, given out in order, so that nobody waits for somebody behind him."""

from __future__ import annotations

from threading import Condition

__all__ = ["BudgetClosed", "ByteBudget"]


class BudgetClosed(Exception):
    """The run has ended: nobody gets anything any more."""


class ByteBudget:
    """Tickets 0, 1, 2, … are served in this order; a ticket that wants more than there is waits until all is free."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._changed = Condition()
        self._next = 0
        self._held = 0
        self._closed = False

    def take(self, ticket: int, size: int) -> None:
        """Wait for this ticket's turn and for room, then hold `size` bytes. 0 bytes only pass the turn on."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (ticket == self._next and self._fits(size)))
            if self._closed:
                raise BudgetClosed
            self._next += 1
            self._held += size
            self._changed.notify_all()

    def give_back(self, size: int) -> None:
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    def close(self) -> None:
        """Wake all who wait: they get BudgetClosed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return size == 0 or self._held == 0 or self._held + size <= self._most_bytes
