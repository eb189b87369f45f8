"""How far a long computation is, counted in steps of its items."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

EVERY = 10.0
"""Seconds between two lines about progress where there is no bar."""


class Steps:
    """The count of what is done, for items that take several points each."""

    def __init__(self, items: int, points: int) -> None:
        """Begin to count.

        Args:
            items: how many are waited for.
            points: how many each takes at most; a finished item has done them all.
        """
        self.points = points
        self.total = items * points
        self.done = 0
        """Points, those that finished items did not need included."""
        self._ended = self._before = self._last = 0
        self._since = self._told = monotonic()
        self._first: int | None = None

    def end_item(self) -> None:
        """Count an item that is finished; it may have been computed long before."""
        self._ended += 1
        self.done = max(self.done, self._ended * self.points)

    def count_points(self, done: int) -> None:
        """Count the points that are done of the item in hand; fewer than before: of the next."""
        if self._first is None:
            self._first = self._before = self.done
        elif done <= self._last:
            self._before = max(self._before + self.points, self._ended * self.points)
        self._last = done
        self.done = max(self.done, min(self._before + done, self.total))

    def due(self) -> str | None:
        """What to say of it now; None if something was said in the last seconds."""
        now = monotonic()
        if self._first is None or self.done == self._first or now - self._told < EVERY:
            return None
        self._told = now
        left = (now - self._since) * (self.total - self.done) / (self.done - self._first)
        return f"{self.done} of {self.total} points, {timedelta(seconds=round(left))} to go"
