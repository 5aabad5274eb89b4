"""Turns: fair, bounded, and given up at once."""

from __future__ import annotations

import threading

import pytest
from serving import wait_until

from rrwkv_server.engine.scheduler import Busy, Closed, Scheduler


class Counting:
    """So many steps, each written down; it waits where it is told to."""

    def __init__(self, name, steps, log, gate=None):
        self.name, self.left, self.log, self.gate = name, steps, log, gate

    def advance(self):
        if self.gate:
            self.gate.wait(10)
        self.log.append(self.name)
        self.left -= 1
        return self.left > 0


@pytest.fixture
def scheduler():
    made = Scheduler(workers=1, parallel=2, waiting=2)
    yield made
    made.close()


def test_each_has_a_turn_before_anyone_has_another(scheduler):
    log, gate = [], threading.Event()
    for name in ("a", "b", "c"):
        scheduler.add(Counting(name, 3, log, gate))
    assert (scheduler.active, scheduler.waiting) == (2, 1)
    gate.set()
    assert wait_until(lambda: len(log) == 9)
    assert "".join(log) == "abababccc"
    assert wait_until(lambda: scheduler.active == 0)


def test_there_are_so_many_places_and_no_more(scheduler):
    for _ in range(4):
        scheduler.reserve()
    with pytest.raises(Busy):
        scheduler.reserve()
    scheduler.release()
    scheduler.reserve()


def test_who_leaves_makes_room_at_once(scheduler):
    log, gate = [], threading.Event()
    jobs = [Counting(name, 1000, log, gate) for name in "abcd"]
    for job in jobs:
        scheduler.add(job)
    scheduler.remove(jobs[2])  # it waits
    scheduler.remove(jobs[0])  # its step runs
    assert (scheduler.active, scheduler.waiting) == (2, 0)
    gate.set()
    assert wait_until(lambda: len(log) > 9)
    assert log.count("a") <= 1
    assert "c" not in log
    for job in jobs:
        scheduler.remove(job)
    scheduler.remove(jobs[0])  # again, which is nothing


def test_a_closed_one_gives_no_place_and_an_opened_one_goes_on(scheduler):
    log = []
    scheduler.close()
    with pytest.raises(Closed):
        scheduler.reserve()
    scheduler.open()
    scheduler.reserve()
    scheduler.add(Counting("a", 3, log))
    assert wait_until(lambda: log == ["a"] * 3)


def test_several_threads_take_every_step_once():
    log, scheduler = [], Scheduler(workers=4, parallel=8, waiting=100)
    for number in range(40):
        scheduler.add(Counting(number, 25, log))
    assert wait_until(lambda: len(log) == 1000)
    scheduler.close()
    assert all(log.count(number) == 25 for number in range(40))
