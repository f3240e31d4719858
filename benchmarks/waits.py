"""What 2,000 deferred waits cost the triggerer, against a real Weaviate; 7 minutes.

Each measurement is a process of its own (``_triggerer.py``). Its 2,000 triggers start at once, as after a restart:

=========== ==========================================================================================================
``sleep``   only sleep: what Airflow and the event loop cost anyway; it is taken off the others' figures
``ours``    ``WeaviateBackupTrigger``, each for a backup of its own
``threads`` a peer: a wait is a thread that asks by ``requests``
``pool``    another peer: each poll is ``requests`` in ``asyncio.to_thread``
``one``     ``WeaviateBackupTrigger``, all for one backup, which ends when the measurement has
=========== ==========================================================================================================

The peers are spared what can be spared: one session a thread, no more parsing than the status, no log, and polls that
are spread evenly from the start. The pool has one weakness that no figure shows: a server that answers slowly holds its
few threads, which are everybody's.

A server makes one backup at a time; the others are descriptors in its storage that say STARTED. It reads them for each
status request, as it does for a backup that another node makes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.services.binaries import WEAVIATE
from tests.services.weaviate import WeaviateNode, filesystem_env, weaviate_server

Variant = Literal["sleep", "ours", "threads", "pool", "one"]

ROUNDS: dict[Variant, int] = {"sleep": 3, "ours": 3, "threads": 2, "pool": 1, "one": 1}
WAITS = 2000
IDS = [f"wait-{number:04}" for number in range(WAITS)]
INTERVAL_SECONDS = 10.0

BAR_CPU_MS = 0.6
BAR_KIB = 30.0
BAR_LAG_MS = 100.0
BAR_REQUESTS_PER_SECOND = 1.0
"""No wait asks more often than once a second, so an answer that is younger than that is good enough for all."""
BAR_TOLD_SECONDS = INTERVAL_SECONDS + 1
"""A wait learns of the end within its interval, and sharing makes that no more than a second later."""

_CHILD = "from benchmarks._triggerer import main; main()"
_ENOUGH_POLLS = 0.9
_IGNORED = ("AIRFLOW", "PYTHON", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Figures:
    """What one process measured, in seconds and bytes.

    :param parts: of the window: user and system time, and the status requests answered.
    :param seconds: how long the window was.
    :param memory: resident, over what it was before the triggers came; both after a garbage collection.
    :param lag: the 99th percentile, in the window, of how late a timer fires; one is due every 10 ms, whether or not
        the loop is held at that moment.
    :param starting_polls: status requests answered before the window.
    :param starting_lag: the lag before the window.
    :param told: how long after the end of their one backup the last wait fired.
    """

    parts: Sequence[tuple[float, int]]
    seconds: float
    memory: int
    lag: float
    starting_polls: int
    starting_lag: float
    told: float | None

    @property
    def cpu(self) -> float:
        """In the window."""
        return sum(cpu for cpu, _ in self.parts)

    @property
    def polls(self) -> int:
        """In the window."""
        return sum(polls for _, polls in self.parts)

    def __str__(self) -> str:
        return (
            f"{self.cpu:.2f} s of CPU for {self.polls} polls in {self.seconds:g} s, {self.memory / 2**20:.1f} MiB, "
            f"lag p99 {self.lag * 1000:.0f} ms; before that {self.starting_polls} polls, "
            f"lag p99 {self.starting_lag * 1000:.0f} ms"
        )


@dataclass(frozen=True)
class Costs:
    """The medians of a variant, over the triggers that only sleep."""

    cpu_ms: float
    kib: float
    lag_ms: float

    def __str__(self) -> str:
        return f"{self.cpu_ms:.2f} ms of CPU a poll, {self.kib:.1f} KiB a wait, lag p99 {self.lag_ms:.0f} ms"

    def over(self, peer: Costs) -> str:
        """Return the ratios; none of memory over next to nothing."""
        memory = f"{self.kib / peer.kib:.2f} of its memory, " if peer.kib >= 1 else ""
        return f"{self.cpu_ms / peer.cpu_ms:.2f} of its CPU, {memory}{self.lag_ms / peer.lag_ms:.2f} of its lag"


def main() -> int:
    """Measure, print, and return 0 if the bars are kept."""
    measured: dict[Variant, list[Figures]] = {variant: [] for variant in ROUNDS}
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as (server, backups):
        for number in range(max(ROUNDS.values())):
            for variant, rounds in ROUNDS.items():
                if number < rounds:
                    measured[variant].append(_measure(variant, server, backups))
    ours = _costs(measured["ours"], measured["sleep"])
    print(f"ours: {ours}")
    for name in ("threads", "pool"):
        peer = _costs(measured[name], measured["sleep"])
        print(f"{name}: {peer}; ours is {ours.over(peer)}")
        print(f"BENCH waits {name}_cpu_ms_per_poll {peer.cpu_ms:.2f}")
        print(f"BENCH waits {name}_kib_per_wait {peer.kib:.1f}")
        print(f"BENCH waits {name}_lag_p99_ms {peer.lag_ms:.1f}")
    kept = [
        _judge("cpu_ms_per_poll", ours.cpu_ms, BAR_CPU_MS),
        _judge("kib_per_wait", ours.kib, BAR_KIB),
        _judge("lag_p99_ms", ours.lag_ms, BAR_LAG_MS),
        *_judge_sharing(measured["one"]),
    ]
    return 0 if all(kept) else 1


def write_descriptor(backups: Path, backup_id: str, status: str, completed_at: str = "0001-01-01T00:00:00Z") -> None:
    """Write what the server reads for a status request; it never sees half of it."""
    descriptor = {
        "startedAt": "2026-01-01T00:00:00Z",
        "completedAt": completed_at,
        "id": backup_id,
        "nodes": {"w1": {"classes": ["Article"], "status": "", "error": ""}},
        "node_mapping": None,
        "status": status,
        "version": "2.1",
        "serverVersion": WEAVIATE,
        "leader": "w1",
        "error": "",
        "preCompressionSizeBytes": 0,
        "compressionType": "gzip",
        "baseBackupId": "",
    }
    folder = backups / backup_id
    folder.mkdir(exist_ok=True)
    (folder / "new").write_text(json.dumps(descriptor))
    (folder / "new").rename(folder / "backup_config.json")


@contextmanager
def _server(folder: Path) -> Iterator[tuple[WeaviateNode, Path]]:
    backups = folder / "backups"
    with weaviate_server(folder, backups=[filesystem_env(backups)], env={"LOG_LEVEL": "warning"}) as server:
        # Not before the start: then the server ends what it finds unfinished.
        for backup_id in IDS:
            write_descriptor(backups, backup_id, "STARTED")
        yield server, backups


def _measure(variant: Variant, server: WeaviateNode, backups: Path) -> Figures:
    """Return what a process of its own measures."""
    write_descriptor(backups, IDS[0], "STARTED")  # a process before this one may have let it end
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith(_IGNORED)}
    connection = {"conn_type": "weaviate", "host": server.host, "port": server.port}
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, variant, server.url, backups],
            env=env | {"AIRFLOW_HOME": home, "AIRFLOW_CONN_WEAVIATE_DEFAULT": json.dumps(connection)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    figures = Figures(**json.loads(done.stdout.splitlines()[-1]))
    print(f"{variant}: {figures}", flush=True)
    due_polls = WAITS * figures.seconds / INTERVAL_SECONDS
    if variant not in ("sleep", "one") and figures.polls < _ENOUGH_POLLS * due_polls:
        raise RuntimeError(f"{variant}: {figures.polls} polls; {due_polls:.0f} were due.")
    return figures


def _costs(measured: Sequence[Figures], sleeping: Sequence[Figures]) -> Costs:
    cpu = [cpu for figures in sleeping for cpu, _ in figures.parts]
    parts = [part for figures in measured for part in figures.parts]
    return Costs(
        cpu_ms=statistics.median((spent - statistics.median(cpu)) / polls for spent, polls in parts) * 1000,
        kib=(statistics.median(f.memory for f in measured) - statistics.median(f.memory for f in sleeping))
        / WAITS
        / 1024,
        lag_ms=statistics.median(f.lag for f in measured) * 1000,
    )


def _judge_sharing(measured: Sequence[Figures]) -> list[bool]:
    """Look at the waits for one backup."""
    requests = statistics.median(f.polls / f.seconds for f in measured)
    told = statistics.median(f.told for f in measured if f.told is not None)
    return [
        _judge("one_backup_requests_per_second", requests, BAR_REQUESTS_PER_SECOND),
        _judge("one_backup_last_told_seconds", told, BAR_TOLD_SECONDS),
    ]


def _judge(name: str, value: float, bar: float) -> bool:
    print(f"BENCH waits {name} {value:.2f} bar {bar:g} {'ok' if value <= bar else 'short'}")
    return value <= bar


if __name__ == "__main__":
    sys.exit(main())
