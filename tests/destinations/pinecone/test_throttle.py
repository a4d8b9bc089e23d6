"""Concurrency that falls when the store pushes back, and recovers. Time is a number here."""

from __future__ import annotations

from contextlib import ExitStack
from threading import Condition, Event, Thread

import pytest

from vectorferry.destinations.pinecone._writer import Permit, Throttle


class Clock(Condition):
    """A condition whose waits take no time but pass it; one without an end would never end here."""

    now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None, "nobody will ever make room"
        self.now += timeout
        return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


def throttled(ceiling: int, clock: Clock) -> Throttle:
    return Throttle(ceiling, clock=clock, changed=clock)


def taken(stack: ExitStack, throttle: Throttle) -> Permit:
    permit = stack.enter_context(throttle.permit())
    assert permit is not None
    return permit


def once(throttle: Throttle) -> None:
    """One request that goes well."""
    with throttle.permit() as permit:
        assert permit is not None
        permit.succeeded()


def push_back(throttle: Throttle, after: float | None = None) -> None:
    with throttle.permit() as permit:
        assert permit is not None
        permit.pushed_back(after)


def test_no_more_requests_at_once_than_the_limit(clock: Clock) -> None:
    throttle = throttled(3, clock)
    with ExitStack() as stack:
        for _ in range(3):
            taken(stack, throttle)
        with pytest.raises(AssertionError, match="make room"):
            taken(stack, throttle)
    once(throttle)


def test_it_starts_at_the_ceiling_and_never_goes_beyond(clock: Clock) -> None:
    throttle = throttled(4, clock)
    for _ in range(20):
        once(throttle)
    assert throttle.limit == 4


def test_all_requests_in_flight_together_halve_it_once(clock: Clock) -> None:
    throttle = throttled(16, clock)
    with ExitStack() as stack:
        for permit in [taken(stack, throttle) for _ in range(16)]:
            permit.pushed_back()
    assert throttle.limit == 8
    push_back(throttle)
    assert throttle.limit == 4


def test_it_is_never_less_than_one(clock: Clock) -> None:
    throttle = throttled(16, clock)
    for _ in range(10):
        push_back(throttle)
    assert throttle.limit == 1
    once(throttle)


def test_it_grows_by_one_for_a_round_of_answers(clock: Clock) -> None:
    throttle = throttled(8, clock)
    push_back(throttle)
    limits = []
    for _ in range(4 + 6 + 7 + 8):
        limits.append(throttle.limit)
        once(throttle)
    assert limits == sorted(limits)
    assert (limits[0], limits[4], limits[6], throttle.limit) == (4, 4, 5, 8)


def test_answers_to_requests_from_before_the_push_back_do_not_count_as_recovery(clock: Clock) -> None:
    throttle = throttled(2, clock)
    with ExitStack() as stack:
        first, second = taken(stack, throttle), taken(stack, throttle)
        first.pushed_back()
        for _ in range(10):
            second.succeeded()
    assert throttle.limit == 1


def test_retry_after_holds_everybody_back(clock: Clock) -> None:
    throttle = throttled(8, clock)
    push_back(throttle, after=30)
    once(throttle)
    assert clock.now == 130


def test_the_longest_hold_counts(clock: Clock) -> None:
    throttle = throttled(8, clock)
    with ExitStack() as stack:
        for permit, after in zip([taken(stack, throttle) for _ in range(3)], (5, 30, 10), strict=True):
            permit.pushed_back(after)
    once(throttle)
    assert clock.now == 130


def test_who_has_given_up_waits_for_nothing(clock: Clock) -> None:
    throttle = throttled(1, clock)
    push_back(throttle, after=30)
    with throttle.permit(lambda: True) as permit:
        assert permit is None
    assert clock.now == 100
    once(throttle)


def test_who_gives_up_while_waiting_is_woken() -> None:
    throttle = Throttle(1)
    given_up, waiting = Event(), Event()
    got: list[Permit | None] = []

    def asked() -> bool:
        waiting.set()
        return given_up.is_set()

    def ask() -> None:
        with throttle.permit(asked) as permit:
            got.append(permit)

    with throttle.permit():
        thread = Thread(target=ask)
        thread.start()
        waiting.wait()
        given_up.set()
        throttle.wake()
        thread.join()
    assert got == [None]


def test_a_turn_that_ends_makes_room_for_who_waits() -> None:
    throttle = Throttle(1)
    waiting, done = Event(), Event()

    def asked() -> bool:
        waiting.set()
        return False

    def ask() -> None:
        with throttle.permit(asked) as permit:
            assert permit is not None
            done.set()

    thread = Thread(target=ask)
    with throttle.permit():
        thread.start()
        waiting.wait()
        assert not done.is_set()
    thread.join()
    assert done.is_set()


def test_requests_of_a_kind_go_evenly_and_those_of_another_between_them(clock: Clock) -> None:
    """Red where nothing but a 429 slows a writer down."""
    throttle, times = throttled(8, clock), []
    for _ in range(5):
        with throttle.permit(kind="upsert", seconds=0.5):
            times.append(clock.now)
    with throttle.permit(kind="delete", seconds=0.5):
        times.append(clock.now)
    assert [time - 100.0 for time in times] == pytest.approx([0, 0.49, 0.99, 1.49, 1.99, 1.99])


def test_who_comes_a_little_late_keeps_nobody_waiting_and_a_long_rest_is_not_made_up_for(clock: Clock) -> None:
    throttle, times = throttled(8, clock), []
    for late in (0.0, 0.01, 10.0, 0.0):
        clock.now += late
        with throttle.permit(kind="upsert", seconds=0.5):
            times.append(clock.now)
    assert [time - 100.0 for time in times] == pytest.approx([0, 0.49, 10.49, 10.98])


def test_a_kind_can_be_put_off(clock: Clock) -> None:
    throttle = throttled(8, clock)
    throttle.rest("delete", 30)
    throttle.rest("delete", 10)
    with throttle.permit(kind="upsert"):
        assert clock.now == 100
    with throttle.permit(kind="delete"):
        assert clock.now == 130
