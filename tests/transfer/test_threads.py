from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorbackup.transfer.threads import in_threads


@settings(max_examples=30)
@given(st.lists(st.integers(), max_size=30), st.integers(1, 5))
def test_results_come_in_the_items_order(items: list[int], threads: int) -> None:
    assert list(in_threads(lambda item: item * 2, items, threads)) == [item * 2 for item in items]


def test_the_order_is_kept_when_the_first_is_the_last_to_end() -> None:
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item:
            second_is_done.set()
        elif not second_is_done.wait(10):
            raise TimeoutError
        return item

    assert list(in_threads(work, [0, 1], 2)) == [0, 1]


def test_as_many_at_once_as_there_are_threads() -> None:
    together = threading.Barrier(3, timeout=10)
    assert list(in_threads(lambda _: together.wait() < 3, range(9), 3)) == [True] * 9


def test_little_is_begun_ahead_of_what_is_taken() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number

    results = in_threads(lambda item: item, items(), 2)
    assert asked == []
    for taken in range(50):
        assert next(results) == taken
        assert len(asked) <= taken + 4
    results.close()  # type: ignore[attr-defined]


def test_error_comes_in_its_turn_and_ends_the_rest() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 5:
            raise ValueError("the fifth")
        done.append(item)
        return item

    taken: list[int] = []
    with pytest.raises(ValueError, match="the fifth"):
        taken.extend(in_threads(work, range(1000), 2))
    assert taken == [0, 1, 2, 3, 4]
    assert len(done) < 15


def test_what_has_not_begun_by_then_never_does(monkeypatch: pytest.MonkeyPatch) -> None:
    second_has_begun, error_was_seen = threading.Event(), threading.Event()
    shutdown = ThreadPoolExecutor.shutdown

    def releasing(pool: ThreadPoolExecutor, **options: bool) -> None:
        error_was_seen.set()
        shutdown(pool, **options)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", releasing)
    done: list[int] = []

    def work(item: int) -> None:
        if item == 0:
            second_has_begun.wait(10)
            raise ValueError("the first")
        second_has_begun.set()
        error_was_seen.wait(10)
        done.append(item)

    with pytest.raises(ValueError, match="the first"):
        list(in_threads(work, range(100), 2))
    # The failed one's thread may have taken the next before the error was seen; the one after it waits for a thread.
    assert sorted(done) in ([1], [1, 2])


def test_error_of_the_items() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        list(in_threads(lambda item: item, items(), 2))


def test_no_thread_is_left_when_the_caller_stops() -> None:
    before = threading.active_count()
    results = in_threads(lambda item: item, range(1000), 4)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
