"""What happens while the code under test is at work."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.services.process import wait_until


def started_when(ready: Callable[[], bool], what: str, act: Callable[[], None]) -> threading.Thread:
    """Start a thread that acts as soon as `ready()`; `what` names that in the error of one that waits too long."""

    def run() -> None:
        wait_until(ready, 10, what, 0.005)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
