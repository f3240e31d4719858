from __future__ import annotations

import time

import pytest

from airflow_provider_vectorbackup.actions.cancel import cancel
from airflow_provider_vectorbackup.backups.polling import Watch
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.exceptions import (
    Forbidden,
    InvalidRequest,
    NotFound,
    OperationInProgress,
    OperationTimedOut,
    ServerFault,
    Unauthenticated,
    WeaviateError,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

BACKUP, RESTORE = OperationKind.BACKUP, OperationKind.RESTORE
ADDRESS = BackupAddress("s3", "x1")


def watch(kind: OperationKind = BACKUP, timeout: float = 30.0) -> Watch:
    now = time.time()
    return Watch(kind, ADDRESS, since=now, deadline=now + timeout, poll_interval=0.01)


def start(client: WeaviateClient, server: WeaviateStandIn, kind: OperationKind = BACKUP) -> None:
    server.running_polls = None
    if kind is BACKUP:
        client.send(calls.create_backup(calls.BackupRequest(ADDRESS), server.parsed_version))
    else:
        server.add_backup("x1", ["Other"])
        client.send(calls.restore_backup(calls.RestoreRequest(ADDRESS), server.parsed_version))


@pytest.mark.parametrize("kind", OperationKind)
def test_running_one(client: WeaviateClient, server: WeaviateStandIn, kind: OperationKind) -> None:
    start(client, server, kind)
    result = cancel(client, watch(kind), wait_for_end=True)
    assert (result["backup_id"], result["status"], result["bucket"]) == ("x1", "CANCELED", "backups")
    assert len(server.sent("DELETE", ".*")) == 1


@pytest.mark.parametrize("kind", OperationKind)
def test_one_that_was_faster(client: WeaviateClient, server: WeaviateStandIn, kind: OperationKind) -> None:
    """204 promises nothing, and a restore shows CANCELED for a moment before it ends in SUCCESS."""
    server.cancels_too_late = True
    start(client, server, kind)
    assert cancel(client, watch(kind), wait_for_end=True)["status"] == "SUCCESS"


@pytest.mark.parametrize("status", ["SUCCESS", "FAILED", "CANCELED"])
def test_one_that_has_ended_is_left_alone(client: WeaviateClient, server: WeaviateStandIn, status: str) -> None:
    server.add_backup("x1", ["Article"], status=status)
    result = cancel(client, watch(), wait_for_end=True)
    assert (result["status"], result["uri"]) == (status, "s3://backups/x1")
    assert server.sent("DELETE", ".*") == []


def test_one_that_ends_in_between(
    client: WeaviateClient, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    start(client, server)
    server.fail_next("DELETE", ".*", status=422, body={"error": [{"message": 'backup "x1" already succeeded'}]})
    server.running[BACKUP].polls_left = 1
    assert cancel(client, watch(), wait_for_end=True)["status"] == "SUCCESS"
    assert "can't be canceled" in caplog.text


@pytest.mark.parametrize("kind", OperationKind)
def test_one_that_never_was(client: WeaviateClient, server: WeaviateStandIn, kind: OperationKind) -> None:
    """The server itself says 204 to that, and old ones even make a state for it."""
    with pytest.raises(NotFound):
        cancel(client, watch(kind), wait_for_end=True)
    assert server.sent("DELETE", ".*") == []


def test_without_waiting(client: WeaviateClient, server: WeaviateStandIn) -> None:
    start(client, server)
    assert cancel(client, watch(), wait_for_end=False)["status"] == "STARTED"
    assert len(server.sent("DELETE", ".*")) == 1


def test_crashed_one_never_ends(client: WeaviateClient, server: WeaviateStandIn) -> None:
    start(client, server)
    server.crash()
    with pytest.raises(OperationTimedOut, match="STARTED"):
        cancel(client, watch(timeout=0.1), wait_for_end=True)


def test_server_that_can_not_cancel_restores(client: WeaviateClient, server: WeaviateStandIn) -> None:
    server.version = "1.35.9"
    start(client, server, RESTORE)
    with pytest.raises(InvalidRequest, match="does not know cancelling a restore"):
        cancel(client, watch(RESTORE), wait_for_end=True)


@pytest.mark.parametrize(("code", "kind"), [(401, Unauthenticated), (403, Forbidden)])
def test_user_who_may_not(
    client: WeaviateClient, server: WeaviateStandIn, code: int, kind: type[WeaviateError]
) -> None:
    start(client, server)
    server.fail_next("DELETE", ".*", status=code)
    with pytest.raises(kind):
        cancel(client, watch(), wait_for_end=True)


def test_fault_of_the_server_is_not_hidden(client: WeaviateClient, server: WeaviateStandIn) -> None:
    start(client, server)
    server.fail_next("DELETE", ".*", status=500)
    with pytest.raises(ServerFault):
        cancel(client, watch(), wait_for_end=True)


@pytest.mark.parametrize("kind", [BACKUP, RESTORE])
def test_one_that_runs_elsewhere_is_left_alone(
    client: WeaviateClient, server: WeaviateStandIn, kind: OperationKind
) -> None:
    """Trap 11: a cancellation, too, is by id only."""
    running = {"id": "x1", "backend": "gcs", "status": "STARTED", "path": "gs://bucket/x1"}
    server.fail_next("GET", "/backups/s3/x1(/restore)?", status=200, body=running)
    with pytest.raises(OperationInProgress, match="same id 'x1' is running at gs://bucket/x1"):
        cancel(client, watch(kind), wait_for_end=True)
    assert server.sent("DELETE", ".*") == []
