from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_vectorbackup.actions.backup import BackupOrder, IfExists, begin_backup
from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.exceptions import (
    AlreadyExists,
    PreflightFailed,
    SelectionMismatch,
    ServerFault,
    UnexpectedAnswer,
    Unreachable,
    VectorBackupError,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.orders import ALL, CREATE, RUN_STARTED, order


def assert_refused(
    client: WeaviateClient, server: WeaviateStandIn, asked: BackupOrder, kind: type[VectorBackupError], text: str
) -> VectorBackupError:
    """Make sure that an order is refused before anything is started."""
    with pytest.raises(kind, match=text) as caught:
        begin_backup(client, asked, NoMemory(), RUN_STARTED)
    assert server.sent("POST", CREATE) == []
    return caught.value


class TestAttach:
    def test_to_the_running_one_that_an_earlier_try_started(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.running_polls = None
        first = begin_backup(client, order(), memory, RUN_STARTED)
        assert begin_backup(client, order(), memory, RUN_STARTED) == first
        assert len(server.sent("POST", CREATE)) == 1

    def test_to_the_finished_one(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        first = begin_backup(client, order(), memory, RUN_STARTED)
        server.finish()
        assert begin_backup(client, order(), memory, RUN_STARTED) == first
        assert len(server.sent("POST", CREATE)) == 1

    def test_while_a_node_is_ill(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        first = begin_backup(client, order(), memory, RUN_STARTED)
        server.nodes["node1"] = "UNHEALTHY"
        assert begin_backup(client, order(), memory, RUN_STARTED) == first

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
        assert begin_backup(client, order(), memory, RUN_STARTED) == first
        assert begin_backup(client, order(), NoMemory(), RUN_STARTED).address == first.address
        assert len(server.sent("POST", CREATE)) == 1

    def test_not_for_ever(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        for number in range(60):
            server.add_backup("x1" if number < 2 else f"x1-a{number}", status="FAILED")
        assert_refused(client, server, order(), PreflightFailed, "50 ids from 'x1' on are spent")


class TestLostAnswer:
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
        with pytest.raises(AlreadyExists):
            begin_backup(client, order(id_is_chosen=True), NoMemory(), RUN_STARTED)


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
