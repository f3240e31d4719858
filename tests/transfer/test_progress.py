from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from airflow_provider_vectorbackup.backups.units import in_units
from airflow_provider_vectorbackup.transfer import progress
from airflow_provider_vectorbackup.transfer.progress import Progress


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_550_000, "1.6 MB"),
        (16 * 2**20, "16.8 MB"),
        (2.5e9, "2.5 GB"),
        (7.25e12, "7.2 TB"),
        (3e18, "3000.0 PB"),
    ],
)
def test_units(size_bytes: float, text: str) -> None:
    assert in_units(size_bytes) == text


def test_line_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    told = Progress(2500, 4_000_000)
    assert told.in_words() == "0 of 2,500 objects, 0 B of 4.0 MB, 0 B/s, remaining time unknown"
    clock.now += 10
    told.add(1_000_000, 1200)
    assert told.in_words() == "1,200 of 2,500 objects, 1.0 MB of 4.0 MB, 100.0 kB/s, remaining time 30 s"


def test_several_threads_count() -> None:
    told = Progress(8000, 8000)

    def add() -> None:
        for _ in range(1000):
            told.add(1, 1)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (told.objects, told.moved_bytes) == (8000, 8000)
