"""Restores whose status is stale, wrong or not final, on real servers of both versions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import OperationFailed, OperationLost
from airflow_provider_vectorbackup.operators.own_restore import OwnRestoreOperator, WeaviateRollBackRestoreOperator
from tests.actions.conftest import TaskMemory
from tests.e2e.traps_lab import (
    COLLECTIONS,
    LOCATION,
    SLOW_DOWNLOADS,
    Server,
    Way,
    both_servers,
    on_triggerer,
    on_worker,
    start_both_ways,
)
from tests.operators.contexts import TaskRun
from tests.services import dataset


@both_servers
def test_trap_05_old_success_stands_when_the_request_fails(server: Server) -> None:
    """Trap 5: the status stays SUCCESS when a later POST is refused, with 422 or, on the new server, with 500."""
    server.empty()
    backup_id = server.bucket.add_backup(f"stale-{server.name}")
    assert server.restore(backup_id).execute(TaskRun().context)["status"] == "SUCCESS"
    server.empty()
    node_descriptor = f"{backup_id}/w1/backup.json"
    server.bucket.write(node_descriptor, server.bucket.read(node_descriptor) | {"status": "FAILED"})
    for location in (None, LOCATION):
        run = TaskRun()
        for _ in ("try", "retry"):
            with pytest.raises(AirflowFailException, match=r"invalid backup in restorer .*FAILED.*Only a finished"):
                server.restore(backup_id, location=location).execute(run.context)
    assert server.status(f"{backup_id}/restore") == "SUCCESS"
    assert server.collections() == []


def test_trap_05_success_of_a_restore_that_another_server_began(new: Server, old: Server) -> None:
    """Trap 5: the server dies in mid-restore; what it says when it is back is the end of another server's restore."""
    new.empty()
    old.empty()
    backup_id = new.bucket.add_backup("contested")
    new.line.mode = SLOW_DOWNLOADS
    with ThreadPoolExecutor(2) as aside:
        tasks = start_both_ways(aside, lambda: new.restore(backup_id, location=LOCATION))
        ours = new.bucket.read(f"{backup_id}/restore_config.json")["startedAt"]
        new.node.kill()
        new.line.mode = "ok"
        old.do("POST", f"/backups/s3/{backup_id}/restore", {})
        old.await_status(f"{backup_id}/restore", "SUCCESS")
        new.node.start()
        for task in tasks:
            with pytest.raises(OperationLost, match=f"can't be told from another one: ours began at {ours}, the last"):
                task.result()
    assert (new.status(f"{backup_id}/restore"), new.collections()) == ("SUCCESS", [])
    assert old.collections() == COLLECTIONS


@both_servers
def test_trap_06_missing_chunk(server: Server) -> None:
    """Trap 6: a missing chunk ends as CANCELED with a misleading reason, or as FAILED; that is a race."""
    server.empty()
    backup_id = server.bucket.add_backup(f"holed-{server.name}")
    server.bucket.delete(f"{backup_id}/w1/Airport/chunk-1")
    with ThreadPoolExecutor(2) as aside:
        for task in start_both_ways(aside, lambda: server.restore(backup_id)):
            with pytest.raises((AirflowFailException, OperationFailed)) as caught:
                task.result()
            message = str(caught.value)
            assert "mostly that means a missing or damaged chunk" in message or "failed: " in message
            assert "Arrived: none. Not arrived: Airport, Barley, Car." in message
    assert server.collections() == []


def test_trap_06_canceled_that_becomes_success(new: Server, old: Server) -> None:
    """Trap 6: a cancellation that comes while the server writes that it is FINALIZING does not stop the restore."""
    with ThreadPoolExecutor(8) as aside:
        fates = {server: aside.submit(_cancel_too_late, server, aside) for server in (new, old)}
        for server, fate in fates.items():
            statuses, says_in_between = fate.result()
            assert says_in_between == "CANCELED"
            assert statuses == ["SUCCESS", "SUCCESS", "SUCCESS"]
            assert server.collections() == COLLECTIONS


def _cancel_too_late(server: Server, aside: ThreadPoolExecutor) -> tuple[list[str], str]:
    """Return what the restore task on the worker, on the triggerer, and the task that cancels it say it came to."""
    server.empty()
    backup_id = server.bucket.add_backup(f"revenant-{server.name}")
    server.line.mode = "delayput:restore_config.json"
    restores = start_both_ways(aside, lambda: server.restore(backup_id))
    server.await_status(f"{backup_id}/restore", "FINALIZING")
    server.line.mode = "ok"  # for the writes of the cancellation: they overtake the one that is held
    cancel = aside.submit(on_worker, server.cancel(backup_id, operation="restore"), TaskRun())
    server.await_status(f"{backup_id}/restore", "CANCELED", "SUCCESS")
    in_between = server.status(f"{backup_id}/restore")
    return [task.result()["status"] for task in (*restores, cancel)], in_between


def test_trap_16_restore_right_after_a_canceled_one(new: Server, old: Server) -> None:
    """Trap 16: the slot stays taken for some 10 s after a restore is CANCELED; the next one waits for it."""
    with ThreadPoolExecutor(2) as aside:
        nexts = {
            server: aside.submit(_restore_after_cancel, server, way)
            for server, way in ((new, on_worker), (old, on_triggerer))
        }
        for server, fate in nexts.items():
            refusal, result = fate.result()
            assert "restoration" in refusal
            assert "already in progress" in refusal
            assert (result["status"], result["attempts"]) == ("SUCCESS", 1)
            assert server.collections() == COLLECTIONS


def _restore_after_cancel(server: Server, way: Way) -> tuple[str, Any]:
    """Return what the server said to a restore right after a cancellation, and what came of a task's."""
    server.empty()
    backup_id = server.bucket.add_backup(f"impatient-{server.name}")
    server.line.mode = SLOW_DOWNLOADS
    server.do("POST", f"/backups/s3/{backup_id}/restore", {})
    server.do("DELETE", f"/backups/s3/{backup_id}/restore")
    server.line.mode = "ok"
    assert server.status(f"{backup_id}/restore") == "CANCELED"
    refused = server.ask("POST", f"/backups/s3/{backup_id}/restore", {})
    return refused.text, way(server.restore(backup_id), TaskRun())


@both_servers
def test_trap_18_failed_restore_tells_what_arrived(server: Server) -> None:
    """Trap 18: a collection that somebody makes meanwhile fails the restore; the others arrive."""
    server.empty()
    backup_id, memory = server.bucket.add_backup(f"partly-{server.name}"), TaskMemory()
    server.restore(backup_id, wait_for_completion=False).execute(TaskRun(memory=memory).context)
    server.do("POST", "/schema", {"class": "Barley"})
    with ThreadPoolExecutor(2) as aside:
        for task in start_both_ways(aside, lambda: server.restore(backup_id), memory):
            with pytest.raises(OperationFailed) as caught:
                task.result()
            message = str(caught.value)
            assert '"Barley": error when trying to restore class' in message
            assert "Arrived: Airport, Car. Not arrived: Barley." in message
            assert 'To restore the rest only: include=["Barley"].' in message
    counts = dataset.count(server.node.url)
    assert (counts["Airport"], counts["Barley"]) == (3376, 0)
    server.do("DELETE", "/schema/Barley")
    assert server.restore(backup_id, include=["Barley"]).execute(TaskRun().context)["status"] == "SUCCESS"
    assert dataset.count(server.node.url) == counts | {"Barley": 120}


@both_servers
def test_trap_18_a_restore_on_record_goes_on_and_is_rolled_back(server: Server) -> None:
    """Trap 18: what arrived is left out the next time; what somebody else made is never deleted."""
    server.empty()
    backup_id, memory = server.bucket.add_backup(f"recorded-{server.name}"), TaskMemory()
    fields: dict[str, Any] = {"weaviate_conn_id": server.conn_id, "backup_id": backup_id, "location": LOCATION}
    restore = OwnRestoreOperator(task_id="restore", poll_interval=1, timeout=120, **fields)
    roll_back = WeaviateRollBackRestoreOperator(task_id="roll_back", **fields)
    restore.wait_for_completion = False
    restore.execute(TaskRun(memory=memory).context)
    server.do("POST", "/schema", {"class": "Barley"})
    restore.wait_for_completion = True
    with pytest.raises(OperationFailed, match=r"Arrived: Airport, Car\. Not arrived: Barley\."):
        restore.execute(TaskRun(memory=memory).context)
    with pytest.raises(AirflowFailException, match="In the way of the restore: collection Barley"):
        restore.execute(TaskRun(memory=memory).context)
    server.do("DELETE", "/schema/Barley")
    assert restore.execute(TaskRun(memory=memory).context)["collections"] == ["Barley"]
    assert dataset.count(server.node.url)["Barley"] == 120
    server.do("DELETE", "/schema/Car")
    server.do("POST", "/schema", {"class": "Other"})
    assert roll_back.execute(TaskRun().context)["collections"] == ["Airport", "Barley"]
    assert server.collections() == ["Other"]
