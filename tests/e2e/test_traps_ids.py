"""Ids that are spent, or in use elsewhere, on real servers of both versions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.status import BackupAddress
from airflow_provider_vectorbackup.exceptions import AlreadyExists, OperationInProgress
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.features import parse_version
from tests.e2e.traps_lab import (
    COLLECTIONS,
    PREFIX,
    SLOW_UPLOADS,
    VERSIONS,
    Server,
    Way,
    both_servers,
    one_way_each,
)
from tests.operators.contexts import TaskRun
from tests.services.fixtures import BUCKET


@one_way_each
def test_trap_11_one_id_on_two_backends(server: Server, way: Way) -> None:
    """Trap 11: asked for a backup on one backend, a server answers for a running one of that id on another."""
    server.fill()
    backup_id = f"twice-{server.name}"
    server.line.mode = SLOW_UPLOADS
    server.create(backup_id, wait_for_completion=False).execute(TaskRun().context)
    assert server.do("GET", f"/backups/filesystem/{backup_id}")["path"] == f"s3://{BUCKET}/{PREFIX}/{backup_id}"
    elsewhere: dict[str, Any] = {"backend": "filesystem", "include": ["Barley"]}
    for place, lies in ((elsewhere, "filesystem, bucket None"), ({"path": "else"}, "s3, bucket 'vectorbackup', path")):
        with pytest.raises(OperationInProgress) as caught:
            way(server.create(backup_id, slot_timeout=0, **place), TaskRun())
        assert f"'{backup_id}' is running at s3://{BUCKET}/{PREFIX}/{backup_id}, which is not" in str(caught.value)
        assert f"this one lies: {lies}" in str(caught.value)
    with ThreadPoolExecutor(1) as aside:
        waiting = aside.submit(way, server.create(backup_id, **elsewhere), TaskRun())
        server.await_status(backup_id, "STARTED")
        server.line.mode = "ok"
        result = waiting.result()
    assert (result["backup_id"], result["backend"], result["status"]) == (backup_id, "filesystem", "SUCCESS")
    assert result["collections"] == ["Barley"]
    assert (server.backup_folder / backup_id / "w1" / "Barley").is_dir()
    assert sorted(server.bucket.read(f"{backup_id}/backup_config.json")["nodes"]["w1"]["classes"]) == COLLECTIONS


@both_servers
def test_trap_11_cancellation_of_one_id_on_two_backends(server: Server) -> None:
    """Trap 11: told to cancel a backup on one backend, a server cancels a running one of that id on another."""
    server.fill()
    backup_id = f"bystander-{server.name}"
    server.line.mode = SLOW_UPLOADS
    server.create(backup_id, wait_for_completion=False).execute(TaskRun().context)
    with pytest.raises(Exception, match=f"running at s3://{BUCKET}/{PREFIX}/{backup_id}"):
        server.cancel(backup_id, backend="filesystem", timeout=5).execute(TaskRun().context)
    server.line.mode = "ok"
    server.await_status(backup_id, "SUCCESS")


@both_servers
def test_trap_12_spent_id(server: Server) -> None:
    """Trap 12: a canceled backup's id is spent, and a server says so in odd words; so is a finished one's."""
    server.fill()
    backup_id = f"spent-{server.name}"
    server.line.mode = SLOW_UPLOADS
    server.create(backup_id, wait_for_completion=False).execute(TaskRun().context)
    assert server.cancel(backup_id).execute(TaskRun().context)["status"] == "CANCELED"
    server.line.mode = "ok"
    _refused(server, backup_id, r"check if backup .* exists at .*%!w\(<nil>\)")
    result = server.create(backup_id, include=["Barley"]).execute(TaskRun().context)
    assert (result["backup_id"], result["status"], result["attempts"]) == (f"{backup_id}-a2", "SUCCESS", 2)
    assert server.bucket.read(f"{backup_id}-a2/backup_config.json")["status"] == "SUCCESS"
    _refused(server, f"{backup_id}-a2", "already exists at")


def _refused(server: Server, backup_id: str, text: str) -> None:
    """Send a request for a backup under an id as it is."""
    request = calls.BackupRequest(BackupAddress("s3", backup_id))
    with WeaviateBackupHook(server.conn_id).open_client() as client, pytest.raises(AlreadyExists, match=text):
        client.send(calls.create_backup(request, parse_version(VERSIONS[server.name])))
