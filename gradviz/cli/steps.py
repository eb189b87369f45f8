"""The progress of a long computation, counted in steps of its items."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

EVERY = 10.0
"""The seconds between two lines about progress if there is no bar."""


class Steps:
    """A count of the finished steps, for items that take several points each."""

    def __init__(self, items: int, points: int) -> None:
        """Begin to count.

        Args:
            items: the number of items.
            points: the most points that an item takes; a finished item counts as all of them.
        """
        self.points = points
        self.total = items * points
        self.done = 0
        """The number of finished points, with those that finished items did not need."""
        self._ended = self._before = self._last = 0
        self._since = self._told = monotonic()
        self._first: int | None = None

    def end_item(self) -> None:
        """Count an item that is finished; it may have been computed long before."""
        self._ended += 1
        self.done = max(self.done, self._ended * self.points)

    def count_points(self, done: int) -> None:
        """Count the finished points of the current item; fewer than before belong to the next."""
        if self._first is None:
            self._first = self._before = self.done
        elif done <= self._last:
            self._before = max(self._before + self.points, self._ended * self.points)
        self._last = done
        self.done = max(self.done, min(self._before + done, self.total))

    def due(self) -> str | None:
        """Return the line to print now; None if one was returned in the last seconds."""
        now = monotonic()
        if self._first is None or self.done == self._first or now - self._told < EVERY:
            return None
        self._told = now
        left = (now - self._since) * (self.total - self.done) / (self.done - self._first)
        return f"{self.done} of {self.total} points, {timedelta(seconds=round(left))} to go"
