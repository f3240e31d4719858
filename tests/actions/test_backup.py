from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.backup import BackupOrder, IfExists, begin_backup
from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.status import BackupAddress
from airflow_provider_vectorbackup.exceptions import (
    AlreadyExists,
    InvalidRequest,
    OperationInProgress,
    PreflightFailed,
    SelectionMismatch,
    ServerFault,
    ServerNotReady,
    UnexpectedAnswer,
    Unreachable,
    VectorBackupError,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory

ALL = ("Article", "Author", "Product")
RUN_STARTED = datetime.now(UTC) - timedelta(minutes=1)
CREATE = r"/backups/s3"


def order(backup_id: str = "x1", *, bucket: str | None = None, path: str | None = None, **fields: Any) -> BackupOrder:
    return BackupOrder(BackupAddress(fields.pop("backend", "s3"), backup_id, bucket, path), **fields)


def body(server: WeaviateStandIn) -> Any:
    """Return what the only POST said."""
    (seen,) = server.sent("POST", CREATE)
    return seen.body


def refused(
    client: WeaviateClient, server: WeaviateStandIn, asked: BackupOrder, kind: type[VectorBackupError], text: str
) -> VectorBackupError:
    """Make sure that an order is refused before anything is started."""
    with pytest.raises(kind, match=text) as caught:
        begin_backup(client, asked, NoMemory(), RUN_STARTED)
    assert server.sent("POST", CREATE) == []
    assert server.sent("PUT", ".*") == []
    return caught.value


class TestStart:
    def test_everything(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        operation = begin_backup(client, order(), memory, RUN_STARTED)
        assert body(server) == {"id": "x1"}
        assert operation.collections == ALL
        assert (operation.bucket, operation.path, operation.server_path) == ("backups", None, "s3://backups/x1")
        assert (operation.server_version, operation.attempts) == ("1.39.2", 1)
        assert Operation.from_json(memory.get("backup")) == operation

    @pytest.mark.parametrize(
        ("fields", "sent"),
        [
            ({"include": ("Au*", "Product")}, ["Author", "Product"]),
            ({"exclude": ("A*",)}, ["Product"]),
            ({"exclude": ("Gone",)}, [*ALL]),
        ],
    )
    def test_only_names_are_sent(
        self, client: WeaviateClient, server: WeaviateStandIn, fields: dict[str, Any], sent: list[str]
    ) -> None:
        operation = begin_backup(client, order(**fields), NoMemory(), RUN_STARTED)
        assert body(server) == {"id": "x1", "include": sent}
        assert operation.collections == tuple(sent)

    def test_exclude_of_nothing_is_told(self, client: WeaviateClient, caplog: pytest.LogCaptureFixture) -> None:
        begin_backup(client, order(exclude=("Gone",)), NoMemory(), RUN_STARTED)
        assert "exclude names what is not there: Gone" in caplog.text

    def test_settings(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        asked = order(include_users=("a",), include_roles=("b",), compression="BestSpeed", cpu_percentage=10)
        begin_backup(client, asked, NoMemory(), RUN_STARTED)
        assert body(server) == {
            "id": "x1",
            "includeUsers": ["a"],
            "includeRoles": ["b"],
            "config": {"CPUPercentage": 10, "CompressionLevel": "BestSpeed"},
        }

    def test_another_place(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        operation = begin_backup(client, order(bucket="other", path="team/a"), NoMemory(), RUN_STARTED)
        assert body(server)["config"] == {"Bucket": "other", "Path": "team/a"}
        assert (operation.bucket, operation.path) == ("other", "team/a")
        assert operation.server_path == "s3://other/team/a/x1"

    def test_the_servers_own_place_is_not_sent(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        """A backup with needless overrides would be missing in the server's list."""
        server.modules["backup-s3"]["rootName"] = "prod"
        operation = begin_backup(client, order(bucket="backups", path="/prod/"), NoMemory(), RUN_STARTED)
        assert body(server) == {"id": "x1"}
        assert (operation.bucket, operation.path) == ("backups", "prod")


class TestPreflight:
    def test_backend_that_is_not_enabled(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        asked = order(backend="gcs")
        error = refused(client, server, asked, PreflightFailed, r"'gcs' is not enabled .*\(enabled: filesystem, s3\)")
        assert "backup-gcs" in error.hint

    @pytest.mark.parametrize("status", ["UNHEALTHY", "UNAVAILABLE", "TIMEOUT", ""])
    def test_node_that_is_not_healthy(self, client: WeaviateClient, server: WeaviateStandIn, status: str) -> None:
        server.nodes["node2"] = status
        error = refused(client, server, order(), ServerNotReady, f"node2 is {status or 'unknown'}")
        assert error.retryable

    def test_illegal_id(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        refused(client, server, order("Bad Id"), InvalidRequest, "is not a backup id")
        assert server.requests == []

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"include": ("Z*",)}, "matches no collection"),
            ({"include": ("Articel",)}, "Did you mean 'Article'"),
            ({"include": ("Article",), "exclude": ("Author",)}, "both given"),
            ({"exclude": ("*",)}, "no collection left"),
            ({"compression": "fast"}, "compression is 'fast'"),
            ({"cpu_percentage": 99}, "cpu_percentage is 99"),
        ],
    )
    def test_what_can_not_be(
        self, client: WeaviateClient, server: WeaviateStandIn, fields: dict[str, Any], text: str
    ) -> None:
        refused(client, server, order(**fields), InvalidRequest, text)

    def test_what_an_old_server_would_ignore(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.version = "1.38.2"
        refused(client, server, order(include_users=("a",)), InvalidRequest, "does not know include_users")

    def test_empty_server(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.collections.clear()
        refused(client, server, order(), InvalidRequest, "no collection left")

    def test_server_that_is_no_weaviate(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.fail_next("GET", "/meta", status=200, body={"version": "8.1", "name": "something"})
        refused(client, server, order(), VectorBackupError, r"is not enabled|can't be read")


class TestLocation:
    @pytest.mark.parametrize(
        ("location", "place"),
        [
            ("s3://aws@backups", {}),
            ("s3://aws@backups/team/a", {"path": "team/a"}),
            ("s3://aws@backups", {"path": "team/a"}),
            ("s3://aws@backups", {"bucket": "other"}),
        ],
    )
    def test_where_the_server_writes(self, client: WeaviateClient, location: str, place: dict[str, Any]) -> None:
        operation = begin_backup(client, order(location=location, **place), NoMemory(), RUN_STARTED)
        path = "/team/a" if "path" in place else ""
        assert operation.uri == f"s3://aws@{place.get('bucket', 'backups')}{path}/x1"

    @pytest.mark.parametrize("location", ["s3://aws@other", "s3://aws@backups/elsewhere", "gs://google@backups"])
    def test_elsewhere(self, client: WeaviateClient, server: WeaviateStandIn, location: str) -> None:
        refused(client, server, order(location=location), InvalidRequest, "The location")

    def test_a_directory_may_be_mounted_anywhere(self, client: WeaviateClient) -> None:
        asked = order(backend="filesystem", location="file:///mnt/weaviate")
        assert begin_backup(client, asked, NoMemory(), RUN_STARTED).uri == "file:///mnt/weaviate/x1"


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
        error = refused(client, server, order(id_is_chosen=id_is_chosen), AlreadyExists, "this run, which began")
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
        refused(client, server, order(id_is_chosen=True, if_exists=IfExists.REUSE), AlreadyExists, "STARTED")


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
        refused(client, server, order(), PreflightFailed, "50 ids from 'x1' on are spent")


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


class TestIncremental:
    def test_named_base(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_backup("x0", ALL)
        operation = begin_backup(client, order(incremental_base="x0"), NoMemory(), RUN_STARTED)
        assert body(server) == {"id": "x1", "incremental_base_backup_id": "x0"}
        assert operation.base_backup_id == "x0"

    def test_latest_base(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_backup("old", ALL)
        server.add_backup("new", ALL)
        server.add_backup("newest-part", ["Article"])
        server.add_backup("newest-failed", ALL, status="FAILED")
        begin_backup(client, order(incremental_base="latest"), NoMemory(), RUN_STARTED)
        assert body(server)["incremental_base_backup_id"] == "new"

    def test_no_base_yet(
        self, client: WeaviateClient, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        operation = begin_backup(client, order(incremental_base="latest"), NoMemory(), RUN_STARTED)
        assert body(server) == {"id": "x1"}
        assert operation.base_backup_id is None
        assert "this is a full backup" in caplog.text

    @pytest.mark.parametrize("place", [{"bucket": "other"}, {"path": "team/a"}])
    def test_latest_is_not_known_elsewhere(
        self, client: WeaviateClient, server: WeaviateStandIn, place: dict[str, Any]
    ) -> None:
        refused(client, server, order(incremental_base="latest", **place), InvalidRequest, "'latest' can't be found")

    @pytest.mark.parametrize("status", ["STARTED", "FAILED", "CANCELED"])
    def test_base_that_is_not_finished(self, client: WeaviateClient, server: WeaviateStandIn, status: str) -> None:
        server.add_backup("x0", ALL, status=status)
        refused(client, server, order(incremental_base="x0"), PreflightFailed, f"The base 'x0' is {status}")

    def test_base_that_is_not_there(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        refused(client, server, order(incremental_base="x0"), PreflightFailed, "The base 'x0' is not there")

    def test_base_whose_end_is_not_written_yet(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.running_polls, server.early_success_polls = 0, 5
        begin_backup(client, order("x0"), NoMemory(), RUN_STARTED)
        with pytest.raises(PreflightFailed, match="The base 'x0' is SUCCESS"):
            begin_backup(client, order(incremental_base="x0"), NoMemory(), RUN_STARTED)


def test_one_at_a_time(client: WeaviateClient, server: WeaviateStandIn) -> None:
    server.running_polls = None
    begin_backup(client, order("other"), NoMemory(), RUN_STARTED)
    with pytest.raises(OperationInProgress, match="backup other already in progress") as caught:
        begin_backup(client, order(), NoMemory(), RUN_STARTED)
    assert caught.value.retryable
