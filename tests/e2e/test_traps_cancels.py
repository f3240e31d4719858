"""Cancellations, whose answer promises nothing, on real servers of both versions."""

from __future__ import annotations

import pytest

from airflow_provider_vectorbackup.compat import AirflowFailException
from tests.e2e.traps_lab import SLOW_UPLOADS, TEMPLATE, Server, both_servers
from tests.operators.contexts import TaskRun
from tests.services.process import wait_until


@both_servers
@pytest.mark.parametrize("operation", ["backup", "restore"])
def test_trap_15_cancel_of_what_never_was(server: Server, operation: str) -> None:
    """Trap 15: the answer is 204; and 1.37.0 makes a state CANCELED of a restore that never was."""
    backup_id = "never-was" if operation == "backup" else server.bucket.add_backup(f"never-restored-{server.name}")
    with pytest.raises(AirflowFailException, match=r"Weaviate answered 404 to GET .*Look at the id"):
        server.cancel(backup_id, operation=operation).execute(TaskRun().context)
    assert server.bucket.read(f"{backup_id}/restore_config.json") is None
    path = f"/backups/s3/{backup_id}" + ("/restore" if operation == "restore" else "")
    assert server.ask("DELETE", path).status_code == 204


@both_servers
def test_trap_15_cancel_of_what_crashed(server: Server) -> None:
    """Trap 15: the answer is 204, and the status stays STARTED for ever."""
    server.fill()
    backup_id = f"crashed-{server.name}"
    server.line.mode = SLOW_UPLOADS
    server.create(backup_id, wait_for_completion=False).execute(TaskRun().context)
    server.node.kill()
    server.line.mode = "ok"
    server.node.start()
    with pytest.raises(AirflowFailException, match=r"did not end before .*: STARTED after \d+ s.*after a crash"):
        server.cancel(backup_id, timeout=1).execute(TaskRun().context)
    assert server.bucket.read(f"{backup_id}/backup_config.json")["status"] == "STARTED"


@both_servers
def test_trap_15_cancel_of_what_has_just_finished(server: Server) -> None:
    """Trap 15: when the nodes are done and the coordinator has not looked yet, the answer is 204, the end SUCCESS."""
    server.fill()
    backup_id = f"just-done-{server.name}"
    server.create(backup_id, include=["Barley"], wait_for_completion=False).execute(TaskRun().context)
    node_descriptor = f"{backup_id}/w1/backup.json"
    wait_until(lambda: server.bucket.read(node_descriptor) is not None, 30, "the node to be done", poll_seconds=0.02)
    assert server.status(backup_id) == "STARTED"
    result = server.cancel(backup_id).execute(TaskRun().context)
    assert (result["status"], result["backup_id"]) == ("SUCCESS", backup_id)
    assert server.bucket.read(f"{backup_id}/backup_config.json")["status"] == "SUCCESS"


@both_servers
def test_trap_15_cancel_of_what_has_finished(server: Server) -> None:
    """Trap 15: it stays as it is, and the result says so."""
    assert server.ask("DELETE", f"/backups/s3/{TEMPLATE}").status_code == 422
    assert server.cancel(TEMPLATE).execute(TaskRun().context)["status"] == "SUCCESS"
