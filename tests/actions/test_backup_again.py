from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_vectorbackup.actions.backup import IfExists, begin_backup, finish_backup
from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    AlreadyExists,
    OperationFailed,
    OperationInProgress,
    OperationTimedOut,
    PreflightFailed,
    Rejected,
    SelectionMismatch,
    ServerFault,
    UnexpectedAnswer,
    Unreachable,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.orders import ALL, CREATE, RUN_STARTED, assert_refused, order

BACKUP = OperationKind.BACKUP


class TestAttach:
    def test_to_the_running_one_that_an_earlier_try_started(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.running_polls = None
        first = begin_backup(client, order(), memory, RUN_STARTED)
        again = begin_backup(client, order(), memory, RUN_STARTED)
        assert replace(again, attached_at=None) == first
        assert again.attached_at is not None
        assert len(server.sent("POST", CREATE)) == 1

    def test_to_the_finished_one(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        first = begin_backup(client, order(), memory, RUN_STARTED)
        server.finish()
        assert begin_backup(client, order(), memory, RUN_STARTED) == first
        assert len(server.sent("POST", CREATE)) == 1

    def test_while_a_node_is_ill(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        first = begin_backup(client, order(), memory, RUN_STARTED)
        server.nodes["node1"] = "UNHEALTHY"
        assert begin_backup(client, order(), memory, RUN_STARTED).address == first.address

    def test_without_a_memory_by_the_time_of_its_start(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        """Airflow below 3.3 keeps nothing over tries."""
        first = begin_backup(client, order(), NoMemory(), RUN_STARTED)
        again = begin_backup(client, order(), NoMemory(), RUN_STARTED)
        assert (again.address, again.collections, again.server_path) == (first.address, ALL, first.server_path)
        assert len(server.sent("POST", CREATE)) == 1

    @pytest.mark.parametrize("status", ["SUCCESS", "STARTED"])
    @pytest.mark.parametrize("id_is_chosen", [True, False])
    def test_never_to_one_from_before_this_run(
        self, client: WeaviateClient, server: WeaviateStandIn, status: str, id_is_chosen: bool
    ) -> None:
        server.add_backup("x1", ALL, status=status, started_at=RUN_STARTED - timedelta(seconds=1))
        error = assert_refused(client, server, order(id_is_chosen=id_is_chosen), AlreadyExists, "this run, which began")
        assert error.backup_id == "x1"
        assert ("if_exists" in error.hint) is id_is_chosen

    def test_never_without_knowing_when_this_run_began(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_backup("x1", ALL)
        with pytest.raises(AlreadyExists):
            begin_backup(client, order(), NoMemory(), None)

    def test_reuse_of_a_finished_one(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_backup("x1", ["Author"], started_at=RUN_STARTED - timedelta(days=1))
        operation = begin_backup(client, order(id_is_chosen=True, if_exists=IfExists.REUSE), NoMemory(), RUN_STARTED)
        assert operation.collections == ("Author",)
        assert server.sent("POST", CREATE) == []

    def test_no_reuse_of_a_running_one(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_backup("x1", ALL, status="STARTED", started_at=RUN_STARTED - timedelta(days=1))
        assert_refused(client, server, order(id_is_chosen=True, if_exists=IfExists.REUSE), AlreadyExists, "STARTED")


class TestSpentIds:
    @pytest.mark.parametrize("status", ["FAILED", "CANCELED"])
    @pytest.mark.parametrize("id_is_chosen", [True, False])
    def test_get_a_suffix(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory, status: str, id_is_chosen: bool
    ) -> None:
        begin_backup(client, order(id_is_chosen=id_is_chosen), memory, RUN_STARTED)
        server.finish(status, "disk full")
        second = begin_backup(client, order(id_is_chosen=id_is_chosen), memory, RUN_STARTED)
        assert (second.address.backup_id, second.attempts) == ("x1-a2", 2)
        server.finish(status)
        third = begin_backup(client, order(id_is_chosen=id_is_chosen), memory, RUN_STARTED)
        assert (third.address.backup_id, third.attempts) == ("x1-a3", 3)

    def test_a_later_try_attaches_to_the_suffixed_one(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.add_backup("x1", status="FAILED")
        first = begin_backup(client, order(), memory, RUN_STARTED)
        assert begin_backup(client, order(), memory, RUN_STARTED).address == first.address
        assert begin_backup(client, order(), NoMemory(), RUN_STARTED).address == first.address
        assert len(server.sent("POST", CREATE)) == 1

    def test_not_for_ever(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        for number in range(60):
            server.add_backup("x1" if number < 2 else f"x1-a{number}", status="FAILED")
        assert_refused(client, server, order(), PreflightFailed, "50 ids from 'x1' on are spent")

    def test_a_failed_one_that_the_server_forgot_stays_failed(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        """Trap 10: a FAILED in the server's memory only; after its restart, the status is STARTED for ever."""
        server.running_polls = None
        first = begin_backup(client, order(), memory, RUN_STARTED)
        with pytest.raises(OperationFailed):
            finish_backup(client, Outcome(first, OperationStatus(BACKUP, Status.FAILED, "disk full")), memory)
        server.crash()
        assert begin_backup(client, order(), memory, RUN_STARTED).address.backup_id == "x1-a2"

    def test_a_refused_request_does_not_make_the_id_ours(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.fail_next("POST", CREATE, status=422)
        with pytest.raises(Rejected):
            begin_backup(client, order(), memory, RUN_STARTED)
        server.add_backup("x1", ALL, started_at=RUN_STARTED - timedelta(days=1))
        with pytest.raises(AlreadyExists):
            begin_backup(client, order(), memory, RUN_STARTED)

    def test_an_outage_of_storage_takes_nothing_from_us(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        """Trap 9: 1.37.0 says 404 of our own backup while it can't reach its storage, and 422 to a request for it."""
        begin_backup(client, order(), memory, RUN_STARTED)
        server.finish()
        away = 'get object contents: Get "http://127.0.0.1:9000/b/x1": read: connection reset by peer'
        told = {"error": [{"message": f'coordinator cannot get status: metadata not found: "": {away}'}]}
        server.fail_next("GET", "/backups/s3/x1", status=404, body=told)
        with pytest.raises(ServerFault, match="can't reach its storage"):
            begin_backup(client, order(), memory, RUN_STARTED)
        # Nor does a 404 without a reason, and a request that is refused because of it.
        server.fail_next("GET", "/backups/s3/x1", status=404)
        server.fail_next("POST", CREATE, status=422)
        with pytest.raises(Rejected):
            begin_backup(client, order(), memory, RUN_STARTED)
        later = datetime.now(UTC) + timedelta(hours=1)
        assert begin_backup(client, order(), memory, later).address.backup_id == "x1"


class TestDeadline:
    def test_is_one_for_all_tries(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        server.running_polls = None
        first = begin_backup(client, order(timeout_seconds=100), memory, RUN_STARTED)
        assert first.deadline == pytest.approx(time.time() + 100, abs=10)
        assert begin_backup(client, order(timeout_seconds=999), memory, RUN_STARTED).deadline == first.deadline

    def test_without_a_memory_counts_from_the_start_of_the_backup(
        self, client: WeaviateClient, server: WeaviateStandIn
    ) -> None:
        started_at = RUN_STARTED + timedelta(seconds=5)
        server.add_backup("x1", ALL, status="STARTED", started_at=started_at)
        found = begin_backup(client, order(timeout_seconds=100), NoMemory(), RUN_STARTED)
        assert found.deadline == pytest.approx(started_at.timestamp() + 100, abs=0.01)

    def test_that_was_told_is_another_for_whoever_clears_the_task(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.running_polls = None
        first = begin_backup(client, order(timeout_seconds=0.01), memory, RUN_STARTED)
        with pytest.raises(OperationTimedOut, match="Nodes: node1 HEALTHY"):
            finish_backup(client, Outcome(first, error=OperationTimedOut("It did not end.")), memory)
        again = begin_backup(client, order(timeout_seconds=100), memory, RUN_STARTED)
        assert again.deadline == pytest.approx(time.time() + 100, abs=10)
        assert len(server.sent("POST", CREATE)) == 1


class TestLostAnswer:
    def test_of_a_server_that_takes_its_time(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        """The connection is cut while the server still checks its storage: the backup shows up some looks later."""
        server.drop_next("POST", CREATE, handled=True)
        begun = {"error": [{"message": "metadata not found"}]}
        server.fail_next("GET", "/backups/s3/x1", status=404, body=begun, times=3)
        assert begin_backup(client, order(), NoMemory(), RUN_STARTED).collections == ALL
        assert len(server.sent("POST", CREATE)) == 1

    def test_that_says_our_own_backup_is_in_progress(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        busy = {"error": [{"message": "backup x1 already in progress"}]}
        server.fail_next("POST", CREATE, status=422, body=busy, handled=True)
        assert begin_backup(client, order(), memory, RUN_STARTED).address.backup_id == "x1"

    def test_that_was_done_is_followed(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.drop_next("POST", CREATE, handled=True)
        operation = begin_backup(client, order(), memory, RUN_STARTED)
        assert operation.collections == ALL
        assert len(server.sent("POST", CREATE)) == 1
        assert begin_backup(client, order(), memory, RUN_STARTED).address == operation.address

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_with_an_error_code_is_followed(self, client: WeaviateClient, server: WeaviateStandIn, status: int) -> None:
        server.fail_next("POST", CREATE, status=status, handled=True)
        assert begin_backup(client, order(), NoMemory(), RUN_STARTED).address.backup_id == "x1"
        assert len(server.sent("POST", CREATE)) == 1

    def test_that_is_empty_is_followed(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.fail_next("POST", CREATE, status=200, body=b"", handled=True)
        assert begin_backup(client, order(), NoMemory(), RUN_STARTED).address.backup_id == "x1"

    def test_that_was_not_done_is_an_error(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.drop_next("POST", CREATE)
        with pytest.raises(Unreachable):
            begin_backup(client, order(), NoMemory(), RUN_STARTED)
        server.fail_next("POST", CREATE, status=503)
        with pytest.raises(ServerFault):
            begin_backup(client, order(), NoMemory(), RUN_STARTED)
        server.fail_next("POST", CREATE, status=200, body=b"")
        with pytest.raises(UnexpectedAnswer):
            begin_backup(client, order(), NoMemory(), RUN_STARTED)
        assert server.backups == {}

    def test_of_one_that_failed_at_once(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.drop_next("POST", CREATE, handled=True)
        server.running_polls = 0
        server.end_next("FAILED", "disk full")
        with pytest.raises(Unreachable):
            begin_backup(client, order(), NoMemory(), RUN_STARTED)
        assert begin_backup(client, order(), NoMemory(), RUN_STARTED).address.backup_id == "x1-a2"

    def test_is_checked_all_the_same(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        server.permitted = {"Article"}
        server.drop_next("POST", CREATE, handled=True)
        with pytest.raises(SelectionMismatch, match="Missing: Author, Product"):
            begin_backup(client, order(), memory, RUN_STARTED)

    def test_of_a_request_that_came_second(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        """An id of our own making can only be taken by us."""
        taken = {"error": [{"message": 'backup "x1" already exists at "s3://backups/x1"'}]}
        server.fail_next("POST", CREATE, status=422, body=taken, handled=True)
        assert begin_backup(client, order(), NoMemory(), RUN_STARTED).address.backup_id == "x1"

    def test_of_a_chosen_id_that_somebody_took_meanwhile(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        taken = {"error": [{"message": 'backup "x1" already exists at "s3://backups/x1"'}]}
        server.fail_next("POST", CREATE, status=422, body=taken, handled=True)
        later = datetime.now(UTC) + timedelta(seconds=10)
        with pytest.raises(AlreadyExists, match="this run, which began"):
            begin_backup(client, order(id_is_chosen=True), NoMemory(), later)


class TestOtherPlaces:
    """Trap 11: while a backup runs, the server answers for its id, whatever backend, bucket and path are asked for."""

    @pytest.mark.parametrize("path", ["s3://elsewhere/x1", "s3://backups/deeper/x1", "gs://backups/x1", "/backups/x1"])
    def test_a_running_one_elsewhere_is_not_ours(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory, path: str
    ) -> None:
        running = {"id": "x1", "backend": "s3", "status": "STARTED", "path": path}
        server.fail_next("GET", "/backups/s3/x1", status=200, body=running)
        with pytest.raises(OperationInProgress, match=f"same id 'x1' is running at {path}") as caught:
            begin_backup(client, order(), memory, RUN_STARTED)
        assert caught.value.blocking_id == "x1"
        assert server.sent("POST", CREATE) == []


class TestSelection:
    def test_narrowed_backup_is_canceled(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.permitted = {"Article"}
        with pytest.raises(SelectionMismatch, match=r"Missing: Author, Product\. Too many: none\."):
            begin_backup(client, order(), NoMemory(), RUN_STARTED)
        assert len(server.sent("DELETE", "/backups/s3/x1")) == 1

    def test_narrowed_backup_is_not_taken_for_whole_later(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        """The cancellation may come too late; then a cleared task finds a finished backup under its id."""
        server.permitted = {"Article"}
        server.cancels_too_late = True
        with pytest.raises(SelectionMismatch):
            begin_backup(client, order(), memory, RUN_STARTED)
        server.finish()
        assert server.backup("x1").status == "SUCCESS"
        with pytest.raises(SelectionMismatch):
            begin_backup(client, order(), memory, RUN_STARTED)

    def test_more_than_was_asked_for(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        answer = {"id": "x1", "status": "STARTED", "path": "s3://backups/x1", "classes": [*ALL]}
        server.fail_next("POST", CREATE, status=200, body=answer)
        with pytest.raises(SelectionMismatch, match="Too many: Author, Product"):
            begin_backup(client, order(include=("Article",)), NoMemory(), RUN_STARTED)

    def test_collection_that_is_made_meanwhile_is_no_mismatch(
        self, client: WeaviateClient, server: WeaviateStandIn
    ) -> None:
        server.fail_next("GET", "/schema", status=200, body={"classes": [{"class": "Article"}]})
        assert begin_backup(client, order(), NoMemory(), RUN_STARTED).collections == ALL

    def test_collection_that_is_deleted_meanwhile_is_no_mismatch(
        self, client: WeaviateClient, server: WeaviateStandIn
    ) -> None:
        before = [{"class": name} for name in (*ALL, "Gone")]
        server.fail_next("GET", "/schema", status=200, body={"classes": before})
        assert begin_backup(client, order(), NoMemory(), RUN_STARTED).collections == ALL

    def test_cancel_that_fails_hides_nothing(
        self, client: WeaviateClient, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.permitted = {"Article"}
        server.fail_next("DELETE", ".*", status=500, times=10)
        with pytest.raises(SelectionMismatch):
            begin_backup(client, order(), NoMemory(), RUN_STARTED)
        assert "could not be canceled" in caplog.text
