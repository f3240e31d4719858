from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from airflow_provider_vectorbackup.transfer import rate
from airflow_provider_vectorbackup.transfer.rate import Budget, RateLimit


class Clock:
    """Stands still but for those who wait by it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(rate, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


class TestRateLimit:
    def test_bytes_pass_at_that_rate(self, clock: Clock) -> None:
        limit = RateLimit(1000, clock.wait)
        for _ in range(5):
            limit.take(500)
        assert clock.waits == [0.5] * 4
        assert clock.now == pytest.approx(102.0)

    def test_what_was_not_used_is_not_made_up_for(self, clock: Clock) -> None:
        """A pause must not be followed by a burst."""
        limit = RateLimit(1000, clock.wait)
        limit.take(500)
        clock.now += 60
        limit.take(500)
        assert clock.waits == []
        limit.take(500)
        assert clock.waits == [0.5]

    def test_a_large_piece_is_paid_for_by_the_next(self, clock: Clock) -> None:
        limit = RateLimit(1000, clock.wait)
        limit.take(5000)
        limit.take(1)
        assert clock.waits == [5.0]

    @pytest.mark.usefixtures("clock")
    def test_it_is_one_for_all_threads(self) -> None:
        """Those who come together wait one behind the other, also while none of them has waited yet."""
        waits: list[float] = []
        limit = RateLimit(1000, waits.append)
        threads = [threading.Thread(target=limit.take, args=(500,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(waits) == [0.5, 1.0, 1.5]

    def test_no_bound(self, clock: Clock) -> None:
        limit = RateLimit(None, clock.wait)
        for _ in range(5):
            limit.take(2**40)
        assert clock.waits == []


class TestBudget:
    def test_who_takes_more_than_there_is_waits(self) -> None:
        budget, has_it = Budget(10), threading.Event()
        budget.take(7, lambda: False)

        def take() -> None:
            budget.take(4, lambda: False)
            has_it.set()

        asking = threading.Thread(target=take)
        asking.start()
        assert not has_it.wait(0.05)
        budget.give_back(7)
        asking.join(10)
        assert has_it.is_set()

    def test_what_fits_does_not_wait(self) -> None:
        budget = Budget(10)
        for _ in range(5):
            budget.take(2, lambda: False)

    def test_nobody_waits_for_ever_when_all_is_stopped(self) -> None:
        budget, stop = Budget(10), threading.Event()
        budget.take(10, stop.is_set)
        asking = threading.Thread(target=budget.take, args=(1, stop.is_set))
        asking.start()
        stop.set()
        asking.join(10)
        assert not asking.is_alive()
