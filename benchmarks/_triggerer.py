"""The process that ``benchmarks.waits`` measures: Airflow's own ``TriggerRunner`` with 2,000 triggers.

Only its supervisor is not there: what that one would order is here from the start, and nobody is told of events.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import resource
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import psutil
import requests
from airflow.executors.workloads.trigger import RunTrigger
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.models.trigger import Trigger
from airflow.sdk.log import configure_logging
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.hooks import connection, weaviate
from airflow_provider_vectorbackup.triggers.weaviate import WeaviateBackupTrigger
from airflow_provider_vectorbackup.weaviate import async_client
from benchmarks.waits import IDS, INTERVAL_SECONDS, WAITS, Figures, Variant, write_descriptor

IMPORTED = (connection, weaviate, async_client)
"""What our triggers import when they run. Here all processes have it from the start: it is no cost of a wait."""

WARM_UP_SECONDS: dict[Variant, float] = {"sleep": 4.0, "threads": 12.0, "pool": 12.0, "ours": 24.0, "one": 24.0}
"""Our intervals grow for 21 s, from 1 s to 10 s; the others' do not."""
PARTS = 2
PART_SECONDS = INTERVAL_SECONDS
"""In which each wait polls once, or somewhat more often."""
TICK_SECONDS = 0.01
LONGEST_TOLD_SECONDS = 60.0


class SleepTrigger(BaseTrigger):
    """Does nothing, every 10 seconds."""

    def __init__(self, url: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.url = url

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"benchmarks._triggerer.{type(self).__name__}", {"url": self.url}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep for as long as there is a reason to."""
        await asyncio.sleep(random.uniform(0, INTERVAL_SECONDS))
        while await self.goes_on():  # noqa: ASYNC110  # it is polls that are measured
            await asyncio.sleep(INTERVAL_SECONDS)
        yield TriggerEvent("the end")  # type: ignore[no-untyped-call]  # Airflow's

    async def goes_on(self) -> bool:
        """Do what is to be done once an interval."""
        return True


class PoolTrigger(SleepTrigger):
    """Asks for the status in a thread, every 10 seconds."""

    async def goes_on(self) -> bool:
        """Ask."""
        return await asyncio.to_thread(_goes_on, self.url)


class ThreadTrigger(SleepTrigger):
    """Has a thread that asks for the status every 10 seconds."""

    async def goes_on(self) -> bool:
        """Leave it to the thread; it does not outlive the process."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        threading.Thread(target=_wait, args=(self.url, loop, ended), daemon=True).start()
        await ended.wait()
        return False


class Polls:
    """Counts the status requests of this process that were answered."""

    answered = 0
    _one_at_a_time = threading.Lock()

    @classmethod
    def count(cls) -> None:
        """Count one."""
        with cls._one_at_a_time:
            cls.answered += 1

    @classmethod
    def count_those_of_aiohttp(cls) -> None:
        """Look over aiohttp's shoulder: what counts is what is sent, whatever our client makes of it."""
        request = aiohttp.ClientSession._request  # noqa: SLF001  # the one place that all requests pass

        async def counted(*args: Any, **kwargs: Any) -> aiohttp.ClientResponse:
            response = await request(*args, **kwargs)
            if response.ok:
                cls.count()
            return response

        aiohttp.ClientSession._request = counted  # type: ignore[method-assign]  # noqa: SLF001  # as above


class Triggerer(TriggerRunner):
    """Airflow's triggerer. It takes its orders from here, runs its course, and ends."""

    def __init__(self, variant: Variant, backups: Path, orders: Sequence[RunTrigger]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.variant = variant
        self.backups = backups
        self.orders = orders
        self.fired = 0
        self.course: asyncio.Task[Figures] | None = None

    async def init_comms(self) -> None:
        """Begin, where the supervisor would be met."""
        nobody = SimpleNamespace(_reader_task=asyncio.create_task(asyncio.sleep(3600)))
        self.comms_decoder = cast("Any", nobody)
        self.course = asyncio.create_task(self.run_course())
        self.course.add_done_callback(lambda _: self._handle_signal(0, None))

    async def sync_state_to_supervisor(self, finished_ids: list[int]) -> None:  # noqa: ARG002  # Airflow's signature
        """Keep what the supervisor would be told."""
        self.fired += len(self.events)
        self.events.clear()
        if self.failed_triggers:
            raise RuntimeError(f"A trigger failed: {self.failed_triggers[0]}")

    async def run_course(self) -> Figures:
        """Start all, warm up, and measure."""
        memory_before = _memory_bytes()
        self.to_create.extend(self.orders)
        starting_late = await _late_seconds(WARM_UP_SECONDS[self.variant])
        starting_polls, parts, late = Polls.answered, [], []
        for _ in range(PARTS):
            polls_before, cpu_before = Polls.answered, time.process_time()
            late += await _late_seconds(PART_SECONDS)
            parts.append((time.process_time() - cpu_before, Polls.answered - polls_before))
        memory = _memory_bytes() - memory_before
        if len(self.triggers) != WAITS or self.fired or self.events:
            raise RuntimeError(f"{len(self.triggers)} triggers, {self.fired} events: nothing was to end.")
        return Figures(
            parts=parts,
            seconds=PARTS * PART_SECONDS,
            memory=memory,
            lag=_p99(late),
            starting_polls=starting_polls,
            starting_lag=_p99(starting_late),
            told=await self.end_the_backup() if self.variant == "one" else None,
        )

    async def end_the_backup(self) -> float:
        """Let it succeed; return after how many seconds the last wait fired."""
        begin = time.monotonic()
        write_descriptor(self.backups, IDS[0], "SUCCESS", "2026-01-01T00:00:02Z")
        while self.fired + len(self.events) < WAITS:
            if time.monotonic() > begin + LONGEST_TOLD_SECONDS:
                raise RuntimeError(f"{WAITS - self.fired} waits still wait.")
            await asyncio.sleep(0.1)
        return time.monotonic() - begin


def main() -> None:
    """Print the figures as JSON; in a process that has done nothing else."""
    variant, url, backups = cast("Variant", sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with Path(os.devnull).open("wb") as output:
        configure_logging(json_output=True, output=output, sending_to_supervisor=True)
        sys.excepthook = sys.__excepthook__  # Airflow's writes into the log, which nobody reads here
        figures = _figures(variant, url, backups)
    print(json.dumps(asdict(figures)))


def _figures(variant: Variant, url: str, backups: Path) -> Figures:
    Polls.count_those_of_aiohttp()
    triggerer = Triggerer(variant, backups, [_order(*item) for item in enumerate(_triggers(variant, url), 1)])
    triggerer.run()  # type: ignore[no-untyped-call]  # Airflow's
    if triggerer.course is None:
        raise RuntimeError("The triggerer did not start.")
    return triggerer.course.result()


def _triggers(variant: Variant, url: str) -> list[BaseTrigger]:
    if variant in ("ours", "one"):
        return [_ours(backup_id if variant == "ours" else IDS[0]) for backup_id in IDS]
    kind = {"sleep": SleepTrigger, "threads": ThreadTrigger, "pool": PoolTrigger}[variant]
    return [kind(f"{url}/v1/backups/filesystem/{backup_id}") for backup_id in IDS]


def _ours(backup_id: str) -> WeaviateBackupTrigger:
    """Return what an operator would defer with."""
    now = time.time()
    address = BackupAddress("filesystem", backup_id)
    operation = Operation(OperationKind.BACKUP, address, collections=("Article",), since=now, deadline=now + 3600)
    return WeaviateBackupTrigger(
        weaviate_conn_id="weaviate_default", operation=operation.to_json(), poll_interval=INTERVAL_SECONDS
    )


def _order(number: int, trigger: BaseTrigger) -> RunTrigger:
    """Return what the supervisor reads from the database."""
    class_path, arguments = trigger.serialize()
    return RunTrigger(id=number, classpath=class_path, encrypted_kwargs=Trigger.encrypt_kwargs(arguments))


def _wait(url: str, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while _goes_on(url):
        time.sleep(INTERVAL_SECONDS)
    loop.call_soon_threadsafe(ended.set)


_of_thread = threading.local()


def _goes_on(url: str) -> bool:
    """Ask, by requests; no answer counts as "not yet"."""
    if not hasattr(_of_thread, "session"):
        _of_thread.session = requests.Session()
    try:
        answer = _of_thread.session.get(url, timeout=60)
        answer.raise_for_status()
    except requests.RequestException:
        return True
    Polls.count()
    return bool(answer.json()["status"] == "STARTED")


async def _late_seconds(seconds: float) -> list[float]:
    """Return how late timers fire that are due one after another."""
    loop = asyncio.get_running_loop()
    begin, late = loop.time(), []
    for tick in range(1, round(seconds / TICK_SECONDS) + 1):
        due = begin + tick * TICK_SECONDS
        await asyncio.sleep(max(due - loop.time(), 0))
        late.append(loop.time() - due)
    return late


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


def _memory_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)
