"""The one thread in which models run: the latest question of each asker is answered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

from gradviz.errors import GradvizError

Result = TypeVar("Result")

MOST_ASKERS = 1000
"""The most askers whose last number is kept."""


class Dropped(GradvizError):
    """A question that a newer one has replaced."""


@dataclass(eq=False)
class Task:
    """A question that waits or is computed."""

    asker: Hashable
    work: Callable[[Task], Any]
    future: Future[Any] = field(default_factory=Future)
    asked: float = field(default_factory=monotonic)
    """The time when it came."""
    begun: float | None = None
    step: str = ""
    """The present step, in words."""
    dropped: bool = False
    """True if nobody waits for the answer any more."""
    others: Callable[[], object] = lambda: None
    """Works off the other questions that wait."""

    def show(self, step: str) -> None:
        """Take the next step; end the work here if nobody waits for it any more.

        Args:
            step: the step, in words.

        Raises:
            Dropped: a newer question of the asker has come.
        """
        self.step = step
        if self.dropped:
            raise Dropped("a newer question has come")

    def fail(self, error: BaseException) -> None:
        """End it without an answer; who asked may have cancelled it in the meantime."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def give_way(self, step: str) -> None:
        """Take the next step of a long answer, after all other questions that wait.

        Args:
            step: the step, in words.

        Raises:
            Dropped: a newer question of the asker has come.
        """
        self.show(step)  # what is dropped ends before the newer one begins, and not around it
        self.others()
        self.show(step)


class Worker:
    """A thread that works off questions, of each asker the latest only."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, Task] = OrderedDict()
        self._numbers: OrderedDict[Hashable, int] = OrderedDict()
        self._running: list[Task] = []
        """The task at the end is computed; each before it has given way to the next."""
        self._changed = threading.Condition()
        self._closed = False
        threading.Thread(target=self._work, name="gradviz-explore", daemon=True).start()

    def ask(self, asker: Hashable, number: int, work: Callable[[Task], Result]) -> Future[Result]:
        """Take a question; an older one of the same asker is dropped, before it starts if it waits.

        Args:
            asker: who asks; questions of different askers do not replace each other.
            number: the number of the question; one that is not above the last is dropped at once.
            work: computes the answer in the worker's thread; it may show its steps.

        Returns:
            the answer; or `Dropped`, or what `work` raised.
        """
        task = Task(asker, work)
        with self._changed:
            if number <= self._numbers.get(asker, -1):
                task.fail(Dropped("a newer question has come"))
                return task.future
            self._numbers[asker] = number
            self._numbers.move_to_end(asker)
            while len(self._numbers) > MOST_ASKERS:
                self._numbers.popitem(last=False)
            older = self._waiting.get(asker)
            self._waiting[asker] = task  # in the place of the older one, if there is one
            for running in self._running:
                running.dropped |= running.asker == asker
            self._changed.notify()
        if older is not None:
            older.fail(Dropped("a newer question has come"))
        return task.future

    def forget(self, mine: Callable[[Hashable], bool]) -> None:
        """Drop the questions of some askers.

        Args:
            mine: returns True for those askers.
        """
        with self._changed:
            gone = [asker for asker in self._waiting if mine(asker)]
            tasks = [self._waiting.pop(asker) for asker in gone]
            for running in self._running:
                running.dropped |= mine(running.asker)
        for task in tasks:
            task.fail(Dropped("it is not asked any more"))

    def step(self, mine: Callable[[Hashable], bool]) -> tuple[str, float] | None:
        """Return what is done for some askers now, and the seconds since it was asked.

        Args:
            mine: returns True for those askers.

        Returns:
            None if nothing is.
        """
        with self._changed:
            another = self._running[-1].step if self._running else ""
            running = [each for each in self._running if mine(each.asker)]
            waiting = [each for asker, each in self._waiting.items() if mine(asker)]
        if running:
            return running[-1].step or "computing", monotonic() - running[-1].asked
        if waiting:
            why = f"waiting: {another}" if another else "waiting for another question"
            return why, monotonic() - waiting[0].asked
        return None

    def close(self) -> None:
        """End the thread after what it is computing now."""
        with self._changed:
            self._closed = True
            tasks = [*self._waiting.values()]
            self._waiting.clear()
            for running in self._running:
                running.dropped = True
            self._changed.notify()
        for task in tasks:
            task.fail(Dropped("the page is closed"))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
            self._answer_waiting()

    def _answer_waiting(self) -> None:
        """Answer all questions that wait; some may come while others are answered."""
        while (task := self._begin()) is not None:
            try:
                answer = task.work(task)
            except BaseException as error:  # a bug is answered too: the page lives on
                _drop_frames(error)
                task.fail(error)
            else:
                with suppress(InvalidStateError):
                    task.future.set_result(answer)
                del answer
            with self._changed:
                self._running.pop()

    def _begin(self) -> Task | None:
        """Take the question that waits first; None if none does."""
        with self._changed:
            if self._closed or not self._waiting:
                return None
            _, task = self._waiting.popitem(last=False)
            self._running.append(task)
        task.begun = monotonic()
        task.others = self._answer_waiting
        return task


def _drop_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error and of what caused it.

    Their frames hold the tensors of a pass, and the task, which holds the error.
    """
    chain: list[BaseException | None] = [error]
    while chain:
        each = chain.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            chain += [each.__cause__, each.__context__]
