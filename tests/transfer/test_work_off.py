from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from airflow_provider_vectorbackup.transfer import threads
from airflow_provider_vectorbackup.transfer.threads import work_off


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done meanwhile is done often."""
    monkeypatch.setattr(threads, "_MEANWHILE_SECONDS", 0.005)


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.mark.parametrize("count", [1, 3, 50])
def test_each_item_once(stop: threading.Event, count: int) -> None:
    done: list[int] = []
    work_off(done.append, range(count), 4, stop=stop)
    assert sorted(done) == list(range(count))
    assert not stop.is_set()


def test_nothing_to_do(stop: threading.Event) -> None:
    work_off(pytest.fail, [], 4, stop=stop)


def test_as_many_at_once_as_there_are_threads(stop: threading.Event) -> None:
    together = threading.Barrier(3, timeout=20)
    work_off(lambda _: together.wait(), range(9), 3, stop=stop)


def test_items_are_drawn_when_a_thread_is_free(stop: threading.Event) -> None:
    """What they are may depend on what was done before; and they may be too many to hold."""
    drawn, worked = list[int](), list[int]()

    def items() -> Iterator[int]:
        for number in range(100):
            assert number - len(worked) <= 3
            drawn.append(number)
            yield number

    work_off(worked.append, items(), 3, stop=stop)
    assert len(worked) == 100


def test_first_error_ends_all(stop: threading.Event) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 5:
            raise ValueError("the fifth")
        done.append(item)

    with pytest.raises(ValueError, match="the fifth"):
        work_off(work, range(100_000), 2, stop=stop)
    assert stop.is_set()
    assert len(done) < 100_000 - 1


def test_error_is_raised_when_all_threads_have_ended(stop: threading.Event) -> None:
    """Nothing may go on writing after the caller has begun to clean up."""
    before = threading.active_count()
    is_under_way = threading.Event()

    def work(item: int) -> None:
        if item:
            is_under_way.wait(20)
            raise ValueError("the second")
        is_under_way.set()
        assert stop.wait(20)

    with pytest.raises(ValueError, match="the second"):
        work_off(work, range(2), 2, stop=stop)
    assert threading.active_count() == before


def test_error_of_the_items(stop: threading.Event) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        work_off(lambda _: None, items(), 3, stop=stop)


def test_error_of_what_is_done_meanwhile(stop: threading.Event) -> None:
    def meanwhile() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_off(lambda _: stop.wait(20), range(9), 2, stop=stop, meanwhile=meanwhile)
    assert stop.is_set()


def test_meanwhile_is_called_again_and_again(stop: threading.Event) -> None:
    is_enough, calls = threading.Event(), list[str]()

    def meanwhile() -> None:
        calls.append(threading.current_thread().name)
        if len(calls) == 3:
            is_enough.set()

    work_off(lambda _: is_enough.wait(20), [1], 2, stop=stop, meanwhile=meanwhile)
    assert len(calls) >= 3
    assert set(calls) == {threading.current_thread().name}


def test_stopped_by_somebody_else(stop: threading.Event) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        stop.set()

    work_off(work, range(100), 1, stop=stop)
    assert done == [0]
