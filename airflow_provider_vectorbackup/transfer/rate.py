"""A bound on how many bytes pass in a second, over all threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class RateLimit:
    """Lets bytes pass no faster than ``bytes_per_second``; None is no bound.

    :param wait: sleeps; returns whether it was told to stop meanwhile.
    """

    def __init__(self, bytes_per_second: float | None, wait: Callable[[float], object]) -> None:
        self._rate = bytes_per_second
        self._wait = wait
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size_bytes: int) -> None:
        """Return when so many more bytes may pass."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + size_bytes / self._rate
        if begin > now:
            self._wait(begin - now)


class Budget:
    """Bytes of memory that threads share. Who takes more than there is waits."""

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes
        self._freed = threading.Condition()

    def take(self, size_bytes: int, is_stopped: Callable[[], bool]) -> None:
        """Return when so much is free; also when stopped."""
        with self._freed:
            while self._left < size_bytes and not is_stopped():
                self._freed.wait(0.5)
            self._left -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Let others have it."""
        with self._freed:
            self._left += size_bytes
            self._freed.notify_all()
