"""What an error says beside the server's own status."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.evidence import (
    NO_RESTORE,
    explained,
    running_restore,
    stored_restore_start,
)
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import OperationLost, OperationTimedOut, StorageError
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.stores import StoreOf

ROOT = Location.parse("s3://aws_default@bucket/team")
STARTED = "2026-11-22T03:00:00.123456789Z"

Given = Callable[[Mapping[str, bytes]], StoreOf]
Told = Callable[..., OperationTimedOut]


def descriptor(status: str, *nodes: str, error: str = "") -> bytes:
    fields = {"status": status, "error": error, "startedAt": STARTED, "nodes": {node: {} for node in nodes}}
    return json.dumps(fields).encode()


def operation(kind: OperationKind = OperationKind.BACKUP, location: str | None = str(ROOT)) -> Operation:
    return Operation(kind, BackupAddress("s3", "x1"), location=location)


@pytest.fixture
def store_of(tmp_path: Path) -> Given:
    return lambda objects: StoreOf(tmp_path, objects)


@pytest.fixture
def told(client: WeaviateClient, store_of: Given) -> Told:
    """Return what gives the error of a wait that ran out of time, as the task raises it."""

    def error_with(objects: Mapping[str, bytes], timed_out: Operation | None = None) -> OperationTimedOut:
        error = OperationTimedOut("It did not end.", hint="Look.", backup_id="x1")
        outcome = explained(client, store_of(objects).open, Outcome(timed_out or operation(), error=error))
        assert isinstance(outcome.error, OperationTimedOut)
        assert (outcome.error.hint, outcome.error.backup_id) == ("Look.", "x1")
        return outcome.error

    return error_with


class TestExplained:
    def test_nodes(self, told: Told, server: WeaviateStandIn) -> None:
        server.nodes |= {"node2": "UNHEALTHY"}
        assert told({}, operation(location=None)).message == "It did not end. Nodes: node1 HEALTHY, node2 UNHEALTHY."

    def test_nobody_works_on_it(self, told: Told) -> None:
        message = told({"x1/backup_config.json": descriptor("STARTED", "w1", "w2")}).message
        assert "In storage, x1/backup_config.json says STARTED. Written by nodes: w1 nothing, w2 nothing." in message
        assert "if the server was restarted since, nobody works on it any more" in message

    def test_only_the_last_word_is_missing(self, told: Told) -> None:
        objects = {
            "x1/backup_config.json": descriptor("STARTED", "w1"),
            "x1/w1/backup.json": descriptor("SUCCESS"),
        }
        assert "all data is there, but the server's last word" in told(objects).message

    def test_a_node_that_failed(self, told: Told) -> None:
        objects = {
            "x1/backup_config.json": descriptor("STARTED", "w1", "w2"),
            "x1/w2/backup.json": descriptor("FAILED", error="disk full"),
        }
        message = told(objects).message
        assert "w1 nothing, w2 FAILED (disk full)" in message
        assert "So " not in message

    def test_nothing_in_storage(self, told: Told) -> None:
        assert "Storage has no x1/backup_config.json." in told({}).message

    def test_restore(self, told: Told) -> None:
        objects = {"x1/restore_config.json": descriptor("TRANSFERRING", "w1")}
        message = told(objects, operation(OperationKind.RESTORE)).message
        assert message.endswith("In storage, x1/restore_config.json says TRANSFERRING.")

    def test_broken_descriptor(self, told: Told) -> None:
        message = told({"x1/backup_config.json": b"{"}).message
        assert "Storage can't be read: The descriptor x1/backup_config.json can't be read" in message

    def test_storage_that_can_not_be_read(self, client: WeaviateClient) -> None:
        def denied(location: Location) -> Store:
            raise StorageError(f"{location} is not for you.")

        error = OperationLost("No status.", backup_id="x1")
        outcome = explained(client, denied, Outcome(operation(), error=error))
        assert isinstance(outcome.error, OperationLost)
        assert "Storage can't be read: s3://aws_default@bucket/team is not for you." in outcome.error.message

    def test_server_that_is_gone(self, told: Told, server: WeaviateStandIn) -> None:
        server.fail_next("GET", "/nodes", status=503, times=100)
        assert "The server's nodes can't be asked: Weaviate answered 503" in told({}).message

    def test_what_ended_needs_none(self, store_of: Given, client: WeaviateClient, server: WeaviateStandIn) -> None:
        ended = Outcome(operation(), OperationStatus(OperationKind.BACKUP, Status.FAILED, "disk full"))
        assert explained(client, store_of({}).open, ended) is ended
        assert server.requests == []


class TestStoredRestoreStart:
    def test_to_the_nanosecond(self, store_of: Given) -> None:
        objects = {"x1/restore_config.json": descriptor("SUCCESS")}
        assert stored_restore_start(store_of(objects).open, ROOT, "x1") == STARTED

    def test_never(self, store_of: Given) -> None:
        assert stored_restore_start(store_of({}).open, ROOT, "x1") == NO_RESTORE

    def test_unknown_is_not_never(self, store_of: Given, caplog: pytest.LogCaptureFixture) -> None:
        assert stored_restore_start(store_of({"x1/restore_config.json": b"{"}).open, ROOT, "x1") is None
        assert "the server's word must do" in caplog.text
        assert stored_restore_start(None, ROOT, "x1") is None
        assert stored_restore_start(store_of({}).open, None, "x1") is None


class TestRunningRestore:
    KEY = "x1/restore_config.json"

    def test_never(self, store_of: Given) -> None:
        assert running_restore(store_of({"x1/backup_config.json": descriptor("STARTED")}), "x1") == ""

    @pytest.mark.parametrize("status", ["SUCCESS", "FAILED", "CANCELED"])
    def test_that_has_ended(self, store_of: Given, status: str) -> None:
        assert running_restore(store_of({self.KEY: descriptor(status, "w1")}), "x1") == ""

    @pytest.mark.parametrize("status", ["STARTED", "TRANSFERRING", "TRANSFERRED", "FINALIZING", "CANCELLING"])
    def test_that_has_not(self, store_of: Given, status: str) -> None:
        told = running_restore(store_of({self.KEY: descriptor(status, "w1")}), "x1")
        assert told == f"may be being restored just now: {self.KEY} says {status}"

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", descriptor("OF A LATER VERSION")])
    def test_unknown_is_not_ended(self, store_of: Given, content: bytes) -> None:
        told = running_restore(store_of({self.KEY: content}), "x1")
        assert told.startswith("may be being restored just now: ")
        assert self.KEY in told

    def test_that_can_not_be_read(self) -> None:
        class Forbidden(StoreOf):
            def read(self, key: str) -> bytes | None:
                raise StorageError(f"{key}: AccessDenied.")

        with pytest.raises(StorageError, match="AccessDenied"):
            running_restore(Forbidden(Path("/nowhere"), {}), "x1")
