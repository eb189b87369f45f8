"""The worker: of each asker the latest question, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

import pytest

from gradviz.commands.explore.worker import MOST_ASKERS, Dropped, Task, Worker

Item = TypeVar("Item")

LONG = 10
"""Seconds after which something hangs."""


class Gate:
    """Work that begins, and ends when it may."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, task: Task) -> str:
        self.begun.set()
        assert self.may_end.wait(LONG)
        task.show("almost done")
        return "gate"


def noting(done: list[Item], item: Item) -> Callable[[Task], None]:
    """Work that only notes that it was done."""
    return lambda task: done.append(item)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def test_of_what_waits_the_latest_is_answered(worker: Worker) -> None:
    gate, done = Gate(), list[int]()
    worker.ask("other", 0, gate)
    assert gate.begun.wait(LONG)
    answers = [worker.ask("me", n, noting(done, n)) for n in range(500)]
    gate.may_end.set()
    answers[-1].result(LONG)
    for answer in answers[:-1]:
        with pytest.raises(Dropped):
            answer.result(LONG)
    assert done == [499]


def test_a_number_that_comes_late_is_dropped(worker: Worker) -> None:
    assert worker.ask("me", 5, lambda task: "new").result(LONG) == "new"
    for number in (4, 5):
        with pytest.raises(Dropped):
            worker.ask("me", number, lambda task: "old").result(LONG)


def test_what_runs_ends_at_its_next_step_when_a_newer_question_comes(worker: Worker) -> None:
    gate = Gate()
    old = worker.ask("me", 0, gate)
    assert gate.begun.wait(LONG)
    new = worker.ask("me", 1, lambda task: "new")
    gate.may_end.set()
    with pytest.raises(Dropped):
        old.result(LONG)
    assert new.result(LONG) == "new"


def test_askers_do_not_replace_each_other_and_have_their_turns_in_order(worker: Worker) -> None:
    gate, done = Gate(), list[str]()
    worker.ask("gate", 0, gate)
    assert gate.begun.wait(LONG)
    answers = [worker.ask(name, 0, noting(done, name)) for name in "abc"]
    # A newer question has the turn of the one that it replaces.
    answers[0] = worker.ask("a", 1, lambda task: done.append("a, newer"))
    gate.may_end.set()
    for answer in answers:
        answer.result(LONG)
    assert done == ["a, newer", "b", "c"]


def test_long_work_gives_way_between_its_parts(worker: Worker) -> None:
    gate, done = Gate(), list[str]()

    def long(task: Task) -> None:
        gate(task)
        for part in "12":
            task.give_way(part)
            done.append(part)

    answer = worker.ask("long", 0, long)
    assert gate.begun.wait(LONG)
    between = worker.ask("short", 0, lambda task: done.append("between"))
    gate.may_end.set()
    answer.result(LONG)
    between.result(LONG)
    assert done == ["between", "1", "2"]


def test_long_work_that_is_dropped_ends_before_the_newer_one_begins(worker: Worker) -> None:
    last, running, most = 20, list[int](), list[int]()
    answered: Future[str] = Future()

    def long(number: int) -> Callable[[Task], None]:
        def work(task: Task) -> None:
            running.append(number)
            most.append(len(running))
            try:
                if number < last:
                    worker.ask("me", number + 1, long(number + 1))
                task.give_way("a part")
                answered.set_result(f"{number}")
            finally:
                running.remove(number)

        return work

    worker.ask("me", 0, long(0))
    assert answered.result(LONG) == f"{last}"
    assert most == [1] * (last + 1)


def test_long_work_that_is_dropped_while_it_gives_way_takes_no_other_part(worker: Worker) -> None:
    gate, done = Gate(), list[str]()

    def long(task: Task) -> None:
        gate(task)
        task.give_way("a part")
        done.append("a part")

    old = worker.ask("me", 0, long)
    assert gate.begun.wait(LONG)
    worker.ask("other", 0, lambda task: worker.ask("me", 1, noting(done, "newer")))
    gate.may_end.set()
    with pytest.raises(Dropped):
        old.result(LONG)
    assert done == ["newer"]


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(3), KeyboardInterrupt()])
def test_a_failure_is_the_answer_and_the_worker_lives_on(
    worker: Worker, error: BaseException
) -> None:
    def fails(task: Task) -> None:
        raise error

    with pytest.raises(type(error)):
        worker.ask("me", 0, fails).result(LONG)
    assert worker.ask("me", 1, lambda task: "alive").result(LONG) == "alive"


def test_an_answer_that_nobody_waits_for_ends_nothing(worker: Worker) -> None:
    gate = Gate()
    running = worker.ask("me", 0, gate)
    assert gate.begun.wait(LONG)
    waiting = worker.ask("other", 0, lambda task: None)
    assert running.cancel()  # as when the browser is gone
    assert waiting.cancel()
    gate.may_end.set()
    assert worker.ask("other", 1, lambda task: "alive").result(LONG) == "alive"


def test_steps_are_told_to_who_asked(worker: Worker) -> None:
    gate = Gate()
    answer = worker.ask("me", 0, gate)
    assert gate.begun.wait(LONG)
    waits = worker.ask("other", 0, lambda task: None)
    mine, others = worker.step(lambda asker: asker == "me"), worker.step(lambda a: a == "other")
    assert mine is not None
    assert mine[0] == "computing"
    assert others is not None
    assert others[0] == "waiting for another question"
    gate.may_end.set()
    answer.result(LONG)
    waits.result(LONG)
    assert worker.step(lambda asker: asker == "me") is None


def test_who_waits_is_told_the_step_of_the_other_question(worker: Worker) -> None:
    gate = Gate()

    def stepping(task: Task) -> str:
        task.show("the model runs")
        return gate(task)

    worker.ask("me", 0, stepping)
    assert gate.begun.wait(LONG)
    waits = worker.ask("other", 0, lambda task: None)
    told = worker.step(lambda asker: asker == "other")
    assert told is not None
    assert told[0] == "waiting: the model runs"
    gate.may_end.set()
    waits.result(LONG)


def test_questions_can_be_forgotten(worker: Worker) -> None:
    gate = Gate()
    running = worker.ask("me", 0, gate)
    assert gate.begun.wait(LONG)
    waiting = worker.ask("me too", 0, lambda task: None)
    other = worker.ask("other", 0, lambda task: "other")
    worker.forget(lambda asker: str(asker).startswith("me"))
    with pytest.raises(Dropped):
        waiting.result(LONG)
    gate.may_end.set()
    with pytest.raises(Dropped):
        running.result(LONG)
    assert other.result(LONG) == "other"


def test_a_closed_worker_drops_what_waits() -> None:
    worker, gate = Worker(), Gate()
    running = worker.ask("me", 0, gate)
    assert gate.begun.wait(LONG)
    waiting = worker.ask("other", 0, lambda task: None)
    worker.close()
    with pytest.raises(Dropped):
        waiting.result(LONG)
    gate.may_end.set()
    with pytest.raises(Dropped):
        running.result(LONG)


def test_the_memory_of_askers_is_bounded(worker: Worker) -> None:
    for n in range(MOST_ASKERS + 100):
        worker.ask(n, 3, lambda task: None).result(LONG)
    assert len(worker._numbers) == MOST_ASKERS
