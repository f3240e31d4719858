"""Backups whose server can't reach its storage for a while, on real servers of both versions."""

from __future__ import annotations

import re
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import OperationFailed
from tests.actions.conftest import TaskMemory
from tests.e2e.traps_lab import (
    LOCATION,
    SLOW_UPLOADS,
    Server,
    both_servers,
    on_worker,
    start,
    start_both_ways,
)
from tests.operators.contexts import TaskRun, deferred, fire
from tests.services.process import wait_until

EXPIRY_SECONDS = 12.0


@dataclass
class Fate:
    """A backup whose server loses its storage in mid-backup, and the tasks that follow it.

    :param memory: what the task run keeps over its tries.
    :param tries: of that run, on a worker and on the triggerer.
    :param impatient: a task whose time-out passes meanwhile.
    """

    server: Server
    backup_id: str
    memory: TaskMemory = field(default_factory=TaskMemory)
    tries: list[Future[Any]] = field(default_factory=list)
    impatient: Future[Any] = field(default_factory=Future)

    def begin(self, aside: Executor) -> None:
        """Start the backup and the tasks, then cut the line."""
        server, backup_id = self.server, self.backup_id
        server.line.mode = SLOW_UPLOADS
        self.tries = start_both_ways(aside, lambda: server.create(backup_id), self.memory)
        impatient = server.create(backup_id, timeout=EXPIRY_SECONDS, location=LOCATION)
        self.impatient = start(aside, on_worker, impatient)
        server.line.mode = "down"


@dataclass
class Outage:
    """One outage of both servers' storage.

    :param fates: of what was running, by server.
    :param waits: the ends of two waits for a backup on the old server that had succeeded before, on worker and
        triggerer; they looked first when the storage was away.
    :param retry: of the task that had made that backup, in the same time.
    """

    fates: dict[str, Fate]
    waits: list[Future[Outcome]]
    memory: TaskMemory
    retry: Future[Any]


@pytest.fixture(scope="module")
def outage(trap_servers: dict[str, Server]) -> Outage:
    """Lose the storage of both servers at once, for as long as it takes the old one to notice."""
    new, old = trap_servers["new"], trap_servers["old"]
    fates = {name: Fate(server, f"outage-{name}") for name, server in trap_servers.items()}
    for server in (new, old):
        server.fill()
    memory = TaskMemory()
    on_worker(old.create("ended-before"), TaskRun(memory=memory))
    trigger = deferred(old.create("ended-before", deferrable=True), TaskRun(memory=memory))
    with ThreadPoolExecutor(9) as aside:
        for fate in fates.values():
            fate.begin(aside)
        operator = old.create("ended-before")
        waits = [aside.submit(fire, trigger), aside.submit(operator._wait, Operation.from_json(trigger.operation), 1.0)]
        retry = aside.submit(on_worker, operator, TaskRun(memory=memory))
        wait(fates["old"].tries)
        wait_until(lambda: old.ask("GET", "/backups/s3/outage-old").status_code == 404, 30, "404 for what FAILED")
        old.line.mode = "ok"
        # So that it remembers the FAILED in memory only.
        new.line.mode = "block:backup_config.json"
    new.node.stop()
    new.line.mode = "ok"
    new.node.start()
    return Outage(fates, waits, memory, retry)


def test_trap_07_outage_ends_as_failed(outage: Outage, new: Server) -> None:
    """Trap 7: on 1.39.2 the status is 500 while the storage is away, and FAILED afterwards."""
    for task in outage.fates["new"].tries:
        error = task.exception()
        assert isinstance(error, OperationFailed)
        assert str(error).startswith("Backup 'outage-new' on s3 failed: ")
        assert "the server gives no reason" not in str(error)
        assert "a retry starts a new backup under an id of its own" in str(error)


@both_servers
def test_trap_07_expiry_tells_what_storage_shows(outage: Outage, server: Server) -> None:
    """Trap 7: nothing times out on the server; the task's own time-out passes during the outage."""
    fate = outage.fates[server.name]
    error = fate.impatient.exception()
    assert isinstance(error, AirflowFailException)
    told = str(error)
    assert re.match(rf"Backup '{fate.backup_id}' on s3 did not end before .*: (STARTED|no status seen) after", told)
    assert ("at the last look no status (500)" in told) is (server.name == "new")
    assert f"Nodes: w1 HEALTHY. In storage, {fate.backup_id}/backup_config.json says STARTED." in told
    assert "Written by nodes: w1 nothing. So no node has finished;" in told


@both_servers
@pytest.mark.parametrize("written", ["late", "never"])
def test_trap_08_success_that_is_not_written(server: Server, written: str) -> None:
    """Trap 8: the server says SUCCESS before it has written that; if it can't, it says STARTED again, for ever."""
    server.fill()
    backup_id, memory = f"unsigned-{written}-{server.name}", TaskMemory()
    fields = {"include": ["Barley"], "timeout": 9, "poll_interval": 0.3, "location": LOCATION}
    server.create(backup_id, wait_for_completion=False, **fields).execute(TaskRun(memory=memory).context)
    server.line.mode = "delayput:backup_config.json" if written == "late" else "block:backup_config.json"
    with ThreadPoolExecutor(2) as aside:
        tasks = start_both_ways(aside, lambda: server.create(backup_id, **fields), memory)
        path = f"/backups/s3/{backup_id}"
        wait_until(lambda: server.status(backup_id) == "SUCCESS", 20, "an early SUCCESS", poll_seconds=0.05)
        assert server.do("GET", path)["completedAt"].startswith("0001-01-01")
        for task in tasks:
            if written == "late":
                assert task.result()["status"] == "SUCCESS"
                assert task.result()["completed_at"].startswith("20")
            else:
                _assert_told(task.exception(), backup_id)
    stored = server.bucket.read(f"{backup_id}/backup_config.json")["status"]
    assert (stored, server.status(backup_id)) == (("SUCCESS",) * 2 if written == "late" else ("STARTED",) * 2)


def _assert_told(error: BaseException | None, backup_id: str) -> None:
    assert isinstance(error, AirflowFailException)
    assert re.match(rf"Backup '{backup_id}' on s3 did not end before .*: STARTED after", str(error))
    assert (
        f"In storage, {backup_id}/backup_config.json says STARTED. Written by nodes: w1 SUCCESS. So all data is there, "
        "but the server's last word on it could not be written."
    ) in str(error)


def test_trap_09_not_found_for_storage_away(outage: Outage, old: Server) -> None:
    """Trap 9: 1.37.0 says 404 of a finished backup while it can't reach the storage; waits bear that."""
    for end in outage.waits:
        outcome = end.result()
        assert outcome.error is None
        assert outcome.status is not None
        assert outcome.status.status == "SUCCESS"


def test_trap_09_retry_while_storage_is_away(outage: Outage, old: Server) -> None:
    """Trap 9: a retry that is told 404 of its own backup starts no other, and leaves it to the next one."""
    assert not isinstance(outage.retry.exception(), AirflowFailException)
    result = on_worker(old.create("ended-before"), TaskRun(memory=outage.memory))
    assert (result["backup_id"], result["status"], result["attempts"]) == ("ended-before", "SUCCESS", 1)
    assert old.bucket.keys("ended-before-") == set()


@both_servers
def test_trap_10_failed_that_says_started_again(outage: Outage, server: Server) -> None:
    """Trap 10: a FAILED that is in memory only is gone on 1.37.0 when the storage is back, on 1.39.2 at a restart."""
    fate = outage.fates[server.name]
    assert all(isinstance(task.exception(), OperationFailed) for task in fate.tries)
    assert server.status(fate.backup_id) == "STARTED"
    result = on_worker(server.create(fate.backup_id), TaskRun(memory=fate.memory))
    assert (result["backup_id"], result["status"], result["attempts"]) == (f"{fate.backup_id}-a2", "SUCCESS", 2)
    assert server.status(fate.backup_id) == "STARTED"
    assert server.bucket.read(f"{fate.backup_id}-a2/backup_config.json")["status"] == "SUCCESS"
