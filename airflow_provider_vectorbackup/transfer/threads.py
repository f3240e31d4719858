"""Work side by side in threads, with a bound on what is begun and not yet taken."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")

_END = object()
_MEANWHILE_SECONDS = 0.25


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield ``work(item)`` of each item, in the items' order; at most twice as many are begun as there are threads.

    An error of ``work`` is raised in its turn; what has not begun by then never does.
    """
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[Result]] = deque()
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) >= 2 * threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


def work_off(
    work: Callable[[Item], object],
    items: Iterable[Item],
    threads: int,
    *,
    stop: threading.Event,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Run ``work`` on each item, in no certain order; items are drawn from ``items`` when a thread is free.

    The first error, of ``work``, ``items`` or ``meanwhile``, is raised after all threads have ended: nothing new begins
    after it, and ``stop`` is set, by which work that takes long can tell.

    :param meanwhile: called again and again from this thread, several times a second.
    """
    source, drawing, failures = iter(items), threading.Lock(), list[BaseException]()

    def run() -> None:
        try:
            while not stop.is_set():
                with drawing:
                    item = next(source, _END)
                if item is _END:
                    return
                work(cast("Item", item))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for this one
            failures.append(error)
            stop.set()

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        while alive := [thread for thread in running if thread.is_alive()]:
            alive[0].join(_MEANWHILE_SECONDS)
            meanwhile()
    except BaseException:
        stop.set()
        raise
    finally:
        for thread in running:
            thread.join()
    if failures:
        raise failures[0]
