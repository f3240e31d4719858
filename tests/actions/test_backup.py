from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.backup import begin_backup
from airflow_provider_vectorbackup.actions.memory import NoMemory, Remembered, Stage, recall
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    OperationInProgress,
    PreflightFailed,
    ServerNotReady,
    VectorBackupError,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.orders import ALL, CREATE, RUN_STARTED, assert_refused, order


def body(server: WeaviateStandIn) -> Any:
    """Return what the only POST said."""
    (seen,) = server.sent("POST", CREATE)
    return seen.body


class TestStart:
    def test_everything(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        operation = begin_backup(client, order(), memory, RUN_STARTED)
        assert body(server) == {"id": "x1"}
        assert operation.collections == ALL
        assert (operation.bucket, operation.path, operation.server_path) == ("backups", None, "s3://backups/x1")
        assert (operation.server_version, operation.attempts) == ("1.39.2", 1)
        assert recall(memory, OperationKind.BACKUP) == Remembered(operation, Stage.ACCEPTED)

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
        error = assert_refused(
            client, server, asked, PreflightFailed, r"'gcs' is not enabled .*\(enabled: filesystem, s3\)"
        )
        assert "backup-gcs" in error.hint

    @pytest.mark.parametrize("status", ["UNHEALTHY", "UNAVAILABLE", "TIMEOUT", ""])
    def test_node_that_is_not_healthy(self, client: WeaviateClient, server: WeaviateStandIn, status: str) -> None:
        server.nodes["node2"] = status
        error = assert_refused(client, server, order(), ServerNotReady, f"node2 is {status or 'unknown'}")
        assert error.retryable

    def test_illegal_id(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        assert_refused(client, server, order("Bad Id"), InvalidRequest, "is not a backup id")
        assert server.sent("GET", "/backups/.*") == []

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
        assert_refused(client, server, order(**fields), InvalidRequest, text)

    def test_what_an_old_server_would_ignore(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.version = "1.38.2"
        assert_refused(client, server, order(include_users=("a",)), InvalidRequest, "does not know include_users")

    def test_empty_server(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.collections.clear()
        assert_refused(client, server, order(), InvalidRequest, "no collection left")

    def test_server_that_is_no_weaviate(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.fail_next("GET", "/meta", status=200, body={"version": "8.1", "name": "something"})
        assert_refused(client, server, order(), VectorBackupError, r"is not enabled|can't be read")


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
        assert_refused(client, server, order(location=location), InvalidRequest, "The location")

    def test_a_directory_may_be_mounted_anywhere(self, client: WeaviateClient) -> None:
        asked = order(backend="filesystem", location="file:///mnt/weaviate")
        assert begin_backup(client, asked, NoMemory(), RUN_STARTED).uri == "file:///mnt/weaviate/x1"


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
        assert_refused(
            client, server, order(incremental_base="latest", **place), InvalidRequest, "'latest' can't be found"
        )

    @pytest.mark.parametrize("status", ["STARTED", "FAILED", "CANCELED"])
    def test_base_that_is_not_finished(self, client: WeaviateClient, server: WeaviateStandIn, status: str) -> None:
        server.add_backup("x0", ALL, status=status)
        assert_refused(client, server, order(incremental_base="x0"), PreflightFailed, f"The base 'x0' is {status}")

    def test_base_that_is_not_there(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        assert_refused(client, server, order(incremental_base="x0"), PreflightFailed, "The base 'x0' is not there")

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
