"""What the demo prints while it works: numbered steps, the time since its start, and a sign of life while it waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

_QUIET_SECONDS = 15.0


class Progress:
    """Prints steps and lines; after 15 s without one, says that it is still at work. Lines may come from any thread."""

    def __init__(self, steps: Sequence[str]) -> None:
        self._steps = list(steps)
        self._step = 0
        self._begun = self._printed = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._watcher.join()

    def step(self) -> None:
        """Begin the next step."""
        self._step += 1
        self._print(f"\n[{self._step}/{len(self._steps)}] {self._steps[self._step - 1]}")

    def say(self, line: str) -> None:
        """Print one line of the current step."""
        self._print(f"{self._clock():>8}  {line}")

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            if time.monotonic() - self._printed >= _QUIET_SECONDS:
                self.say("… still at it")

    def _print(self, line: str) -> None:
        with self._lock:
            print(line, flush=True)
            self._printed = time.monotonic()

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        return f"{minutes}:{seconds:02}"
