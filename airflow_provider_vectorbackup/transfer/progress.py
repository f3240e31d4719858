"""How far a transfer has come, in words."""

from __future__ import annotations

import threading
import time

from airflow_provider_vectorbackup.backups.units import in_units


class Progress:
    """Counts what several threads move.

    :param objects: that are to be moved; likewise ``size_bytes``.
    """

    def __init__(self, objects: int, size_bytes: int) -> None:
        self.objects = 0
        self.moved_bytes = 0
        self._all_objects = objects
        self._all_bytes = size_bytes
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def add(self, size_bytes: int, objects: int = 0) -> None:
        """Count bytes, and objects that are whole by now."""
        with self._lock:
            self.moved_bytes += size_bytes
            self.objects += objects

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def in_words(self) -> str:
        """Return one line for a log."""
        rate = self.moved_bytes / max(self.seconds, 0.001)
        # What had to begin anew was moved twice.
        left = f"{max(self._all_bytes - self.moved_bytes, 0) / rate:.0f} s" if rate else "unknown"
        return (
            f"{self.objects:,} of {self._all_objects:,} objects, {in_units(self.moved_bytes)} of "
            f"{in_units(self._all_bytes)}, {in_units(rate)}/s, remaining time {left}"
        )
