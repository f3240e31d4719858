"""A restore reports its own success only, and what it brought where it did not succeed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.memory import NoMemory, Stage, recall
from airflow_provider_vectorbackup.actions.restore import RestoreOrder, begin_restore
from airflow_provider_vectorbackup.actions.restore_end import finish_restore
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    OperationCanceled,
    OperationFailed,
    OperationLost,
    OperationTimedOut,
    ServerFault,
    Unreachable,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.stores import StoreOf

ALL = ("Article", "Author", "Product")
RESTORE = r"/backups/s3/x1/restore"
KEY = "x1/restore_config.json"
LOCATION = "s3://aws_default@backups"


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    """An empty one, with a backup to restore."""
    weaviate_stand_in.add_backup("x1", ALL)
    return weaviate_stand_in


class Storage(StoreOf):
    """The state of restores in storage; `starts` are the starts that one look after the other finds."""

    def __init__(self, *starts: str | None) -> None:
        super().__init__(Path(), {})
        self.starts = list(starts)

    def read(self, key: str) -> bytes | None:
        if key != KEY:
            return None
        start = self.starts.pop(0) if len(self.starts) > 1 else self.starts[0]
        return None if start is None else json.dumps({"status": "SUCCESS", "startedAt": start}).encode()


def order() -> RestoreOrder:
    return RestoreOrder(BackupAddress("s3", "x1"), location=LOCATION)


def ended(operation: Operation, status: Status = Status.SUCCESS, error: str = "") -> Outcome:
    return Outcome(operation, OperationStatus(OperationKind.RESTORE, status, error))


class TestInStorage:
    def test_a_new_start_is_ours(self, client: WeaviateClient, memory: TaskMemory) -> None:
        storage = Storage("t1", "t2")
        operation = begin_restore(client, order(), memory, storage.open)
        assert operation.restore_started_at == "t2"
        assert finish_restore(client, ended(operation), memory, storage.open)["status"] == "SUCCESS"
        assert {str(location) for location in storage.opened} == {LOCATION}

    def test_the_old_start_means_that_nothing_began(self, client: WeaviateClient, memory: TaskMemory) -> None:
        with pytest.raises(OperationLost, match="still that of an earlier one, from t1: it did not begin"):
            begin_restore(client, order(), memory, Storage("t1").open)

    def test_another_restore_since_is_not_ours(self, client: WeaviateClient, memory: TaskMemory) -> None:
        storage = Storage(None, "t2", "t3")
        operation = begin_restore(client, order(), memory, storage.open)
        with pytest.raises(OperationLost, match="ours began at t2, the last one in storage at t3"):
            finish_restore(client, ended(operation), memory, storage.open)

    def test_location_without_a_state_decides_nothing(
        self, client: WeaviateClient, memory: TaskMemory, caplog: pytest.LogCaptureFixture
    ) -> None:
        storage = Storage(None)
        operation = begin_restore(client, order(), memory, storage.open)
        assert f"{LOCATION} shows none: is it where the server writes?" in caplog.text
        assert finish_restore(client, ended(operation), memory, storage.open)["status"] == "SUCCESS"

    def test_a_retry_knows_its_own(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        storage = Storage("t1", "t2")
        first = begin_restore(client, order(), memory, storage.open)
        server.finish()
        assert begin_restore(client, order(), memory, storage.open).restore_started_at == first.restore_started_at
        assert len(server.sent("POST", RESTORE)) == 1

    def test_a_retry_knows_that_it_is_not_its_own(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        storage = Storage("t1", "t2", "t3", "t4")
        begin_restore(client, order(), memory, storage.open)
        server.finish()
        server.collections.clear()
        assert begin_restore(client, order(), memory, storage.open).attempts == 2
        assert len(server.sent("POST", RESTORE)) == 2

    @pytest.mark.parametrize(("after", "is_followed"), [("t2", True), ("t1", False)])
    def test_lost_answer_over_an_old_success(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory, after: str, *, is_followed: bool
    ) -> None:
        """Both are SUCCESS: only the start tells whether the request was done."""
        server.add_restore("x1", "SUCCESS")
        server.running_polls = 0
        server.drop_next("POST", RESTORE, handled=True)
        storage = Storage("t1", after)
        if is_followed:
            assert begin_restore(client, order(), memory, storage.open).collections == ALL
        else:
            with pytest.raises(Unreachable):
                begin_restore(client, order(), memory, storage.open)
        assert len(server.sent("POST", RESTORE)) == 1


class TestKilledTry:
    def test_a_canceled_one_is_looked_at_twice(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        """Trap 6: what a killed try canceled can still turn into SUCCESS; then it is this task's success."""
        first = begin_restore(client, order(), memory)
        server.finish()
        canceled = {"backend": "s3", "id": "x1", "path": "s3://backups/x1", "status": "CANCELED"}
        server.fail_next("GET", RESTORE, status=200, body=canceled)
        assert begin_restore(client, order(), memory).collections == first.collections
        assert len(server.sent("POST", RESTORE)) == 1

    def test_a_canceled_one_is_followed_by_another(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        begin_restore(client, order(), memory)
        server.finish("CANCELED", "restore canceled by user")
        assert begin_restore(client, order(), memory).attempts == 2


class TestArrivals:
    @pytest.fixture
    def failed(self, client: WeaviateClient, server: WeaviateStandIn) -> Callable[[str], OperationFailed]:
        def finished(reason: str) -> OperationFailed:
            operation = begin_restore(client, order(), NoMemory())
            server.finish("FAILED", reason)
            for name in ("Article", "Author"):
                server.add_collection(name)
            with pytest.raises(OperationFailed) as caught:
                finish_restore(client, ended(operation, Status.FAILED, reason), NoMemory())
            return caught.value

        return finished

    def test_are_named(self, failed: Callable[[str], OperationFailed]) -> None:
        """Trap 18."""
        error = failed("disk full")
        assert error.message.endswith("failed: disk full. Arrived: Article, Author. Not arrived: Product.")
        assert error.hint.endswith('To restore the rest only: include=["Product"].')

    def test_what_the_server_could_not_restore_did_not_arrive(self, failed: Callable[[str], OperationFailed]) -> None:
        """Somebody made a collection of that name while the restore ran."""
        exists = "error when trying to restore class: class name Author already exists"
        error = failed(f'could not restore classes: ["Author": {exists}]')
        assert "Arrived: Article. Not arrived: Author, Product." in error.message

    def test_after_a_time_out(self, client: WeaviateClient, memory: TaskMemory) -> None:
        operation = begin_restore(client, order(), memory)
        timed_out = Outcome(operation, error=OperationTimedOut("It did not end.", hint="Look."))
        with pytest.raises(OperationTimedOut, match=r"Arrived: none\. Not arrived: Article, Author, Product\. Look\."):
            finish_restore(client, timed_out, memory)

    def test_that_can_not_be_seen_hide_nothing(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        operation = begin_restore(client, order(), memory)
        server.fail_next("GET", "/schema", status=503, times=100)
        canceled = ended(operation, Status.CANCELED, "restore cancelled: write files: get files")
        with pytest.raises(OperationCanceled, match=r"damaged chunk.*did arrive can't be seen: Weaviate answered 503"):
            finish_restore(client, canceled, memory)
        remembered = recall(memory, OperationKind.RESTORE)
        assert remembered is not None
        assert remembered.stage is Stage.SPENT

    def test_refused_requests_are_no_attempts(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.fail_next("POST", RESTORE, status=422)
        server.fail_next("POST", RESTORE, status=500)
        for kind in (Exception, ServerFault):
            with pytest.raises(kind):
                begin_restore(client, order(), memory)
        assert begin_restore(client, order(), memory).attempts == 2
