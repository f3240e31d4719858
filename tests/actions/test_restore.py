from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.actions.obstacles import IfCollectionExists
from airflow_provider_vectorbackup.actions.restore import RestoreOrder, begin_restore
from airflow_provider_vectorbackup.actions.restore_end import finish_restore
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    NothingToRestore,
    OperationFailed,
    OperationInProgress,
    PreflightFailed,
    SelectionMismatch,
    ServerFault,
    ServerNotReady,
    UnexpectedAnswer,
    VectorBackupError,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory

ALL = ("Article", "Author", "Product")
RESTORE = r"/backups/s3/x1/restore"


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    """An empty one, with a backup to restore."""
    weaviate_stand_in.add_backup("x1", ALL)
    return weaviate_stand_in


def order(bucket: str | None = None, path: str | None = None, **fields: Any) -> RestoreOrder:
    return RestoreOrder(BackupAddress(fields.pop("backend", "s3"), "x1", bucket, path), **fields)


def body(server: WeaviateStandIn) -> Any:
    """Return what the only POST said."""
    (seen,) = server.sent("POST", RESTORE)
    return seen.body


def assert_refused(
    client: WeaviateClient, server: WeaviateStandIn, asked: RestoreOrder, kind: type[VectorBackupError], text: str
) -> VectorBackupError:
    """Make sure that an order is refused before anything is started or deleted."""
    with pytest.raises(kind, match=text) as caught:
        begin_restore(client, asked, NoMemory())
    assert server.sent("POST", ".*") == []
    assert server.sent("DELETE", ".*") == []
    return caught.value


class TestStart:
    def test_everything(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        operation = begin_restore(client, order(), NoMemory())
        # Named, so that a server can't narrow it without a word.
        assert body(server) == {"include": [*ALL]}
        assert operation.collections == ALL
        assert (operation.bucket, operation.server_path, operation.attempts) == ("backups", "s3://backups/x1", 1)
        server.finish()
        assert set(server.collections) == set(ALL)

    @pytest.mark.parametrize(
        ("fields", "sent"), [({"include": ("Au*",)}, ["Author"]), ({"exclude": ("A*",)}, ["Product"])]
    )
    def test_only_names_are_sent(
        self, client: WeaviateClient, server: WeaviateStandIn, fields: dict[str, Any], sent: list[str]
    ) -> None:
        assert begin_restore(client, order(**fields), NoMemory()).collections == tuple(sent)
        assert body(server) == {"include": sent}

    def test_settings(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        asked = order(
            node_mapping={"node1": "node1"},
            cpu_percentage=10,
            overwrite_alias=True,
            roles_options="all",
            users_options="noRestore",
        )
        begin_restore(client, asked, NoMemory())
        assert body(server) == {
            "include": [*ALL],
            "node_mapping": {"node1": "node1"},
            "overwriteAlias": True,
            "config": {"CPUPercentage": 10, "rolesOptions": "all", "usersOptions": "noRestore"},
        }

    def test_one_at_a_time(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_backup("other", ["Other"])
        server.running_polls = None
        begin_restore(client, RestoreOrder(BackupAddress("s3", "other")), NoMemory())
        with pytest.raises(OperationInProgress, match="restoration other already in progress"):
            begin_restore(client, order(), NoMemory())


class TestPreflight:
    @pytest.mark.parametrize("status", ["STARTED", "FAILED", "CANCELED"])
    def test_backup_that_is_not_whole(self, client: WeaviateClient, server: WeaviateStandIn, status: str) -> None:
        server.add_backup("x1", ALL, status=status)
        assert_refused(client, server, order(), PreflightFailed, f"Backup 'x1' on s3 is {status}")

    def test_backup_that_is_not_there(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.backups.clear()
        assert_refused(client, server, order(), PreflightFailed, "Backup 'x1' on s3 is not there")

    def test_node_that_is_not_healthy(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.nodes["node1"] = "UNHEALTHY"
        assert_refused(client, server, order(), ServerNotReady, "node1 is UNHEALTHY")

    def test_backend_that_is_not_enabled(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        assert_refused(client, server, order(backend="azure"), PreflightFailed, "'azure' is not enabled")

    def test_server_that_may_damage_data(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.version = "1.23.12"
        assert_refused(client, server, order(include=("Author",)), InvalidRequest, "safe restores")

    def test_location_elsewhere(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        assert_refused(
            client, server, order(location="s3://aws@other"), InvalidRequest, "is not where the server writes"
        )

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"include": ("Z*",)}, r"matches no collection\. Backup x1 has: Article, Author, Product"),
            ({"include": ("Articel",)}, "Did you mean 'Article'"),
            ({"exclude": ("*",)}, "no collection left"),
            ({"roles_options": "some"}, "roles_options is 'some'"),
        ],
    )
    def test_what_can_not_be(
        self, client: WeaviateClient, server: WeaviateStandIn, fields: dict[str, Any], text: str
    ) -> None:
        assert_refused(client, server, order(**fields), InvalidRequest, text)

    def test_leftover_that_makes_a_server_do_nothing(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_restore("x1", "CANCELLING")
        error = assert_refused(client, server, order(), PreflightFailed, "left the state CANCELLING behind")
        assert "Delete the object x1/restore_config.json" in error.hint

    @pytest.mark.parametrize("status", ["SUCCESS", "FAILED", "CANCELED", "TRANSFERRING", "FINALIZING"])
    def test_other_leftovers_are_no_obstacle(
        self, client: WeaviateClient, server: WeaviateStandIn, status: str
    ) -> None:
        server.add_restore("x1", status)
        begin_restore(client, order(), NoMemory())
        assert len(server.sent("POST", RESTORE)) == 1


class TestUnlistedBackup:
    """One in another bucket or path is not in the server's list, so its collections are not known."""

    @pytest.fixture(autouse=True)
    def moved(self, server: WeaviateStandIn) -> None:
        server.backups.clear()
        server.add_backup("x1", ALL, path="team/a")

    def test_named_collections(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_collection("Other")
        operation = begin_restore(client, order(path="team/a", include=("Author",)), NoMemory())
        assert body(server) == {"include": ["Author"], "config": {"Path": "team/a"}}
        assert (operation.path, operation.server_path) == ("team/a", "s3://backups/team/a/x1")

    def test_everything_into_an_empty_server(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        assert begin_restore(client, order(path="team/a"), NoMemory()).collections == ALL
        assert body(server) == {"config": {"Path": "team/a"}}

    def test_everything_into_a_server_with_collections(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_collection("Other")
        assert_refused(client, server, order(path="team/a"), InvalidRequest, "are in the way can't be checked")

    @pytest.mark.parametrize("fields", [{"include": ("A*",)}, {"exclude": ("Author",)}])
    def test_patterns(self, client: WeaviateClient, server: WeaviateStandIn, fields: dict[str, Any]) -> None:
        assert_refused(client, server, order(path="team/a", **fields), InvalidRequest, "is not in the server's list")


class TestInTheWay:
    @pytest.fixture(autouse=True)
    def author_exists(self, server: WeaviateStandIn) -> None:
        server.add_collection("Author")

    def test_failure_is_the_default(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        assert_refused(client, server, order(), PreflightFailed, "In the way of the restore: collection Author")

    @pytest.mark.parametrize("name", ["author", "AUTHOR"])
    def test_other_spelling_is_in_the_way_too(self, client: WeaviateClient, server: WeaviateStandIn, name: str) -> None:
        server.collections.clear()
        server.add_collection(name)
        assert_refused(client, server, order(), PreflightFailed, f"In the way of the restore: collection {name}")

    def test_alias_is_in_the_way_too(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.aliases["Article"] = "Author"
        assert_refused(client, server, order(), PreflightFailed, "alias Article, collection Author")

    def test_old_server_has_no_aliases(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.version = "1.31.9"
        assert_refused(client, server, order(), PreflightFailed, "In the way of the restore: collection Author")
        assert server.sent("GET", "/aliases") == []

    def test_what_is_not_restored_is_not_in_the_way(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        begin_restore(client, order(exclude=("Author",)), NoMemory())
        assert body(server) == {"include": ["Article", "Product"]}

    def test_skip(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        operation = begin_restore(client, order(if_collection_exists=IfCollectionExists.SKIP), NoMemory())
        assert operation.collections == ("Article", "Product")
        assert body(server) == {"include": ["Article", "Product"]}

    def test_skip_of_everything(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        asked = order(include=("Author",), if_collection_exists=IfCollectionExists.SKIP)
        assert_refused(client, server, asked, NothingToRestore, "are there already: Author")

    def test_replace_needs_two_yes(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        asked = order(if_collection_exists=IfCollectionExists.REPLACE)
        assert_refused(client, server, asked, InvalidRequest, "deletes the collections in the way")
        assert server.requests == []

    def test_replace(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_collection("Unrelated")
        asked = order(if_collection_exists=IfCollectionExists.REPLACE, allow_replace=True)
        assert begin_restore(client, asked, NoMemory()).collections == ALL
        assert [seen.path for seen in server.sent("DELETE", ".*")] == ["/schema/Author"]
        server.finish()
        assert server.restores[server.key("s3", "x1", {})].status == "SUCCESS"
        assert set(server.collections) == {*ALL, "Unrelated"}

    def test_replace_only_what_is_restored(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        asked = order(include=("Article",), if_collection_exists=IfCollectionExists.REPLACE, allow_replace=True)
        begin_restore(client, asked, NoMemory())
        assert server.sent("DELETE", ".*") == []

    def test_other_spelling_is_never_replaced(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_collection("ARTICLE")
        asked = order(if_collection_exists=IfCollectionExists.REPLACE, allow_replace=True)
        assert_refused(client, server, asked, PreflightFailed, r"In the way of the restore: collection ARTICLE\.")


class TestAttach:
    def test_to_the_running_one(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        server.running_polls = None
        first = begin_restore(client, order(), memory)
        again = begin_restore(client, order(), memory)
        assert replace(again, attached_at=None) == first
        assert again.attached_at is not None
        assert len(server.sent("POST", RESTORE)) == 1

    def test_to_the_finished_one(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        """Its collections are there now; they are its own work, and not in its way."""
        first = begin_restore(client, order(), memory)
        server.finish()
        assert begin_restore(client, order(), memory) == first
        assert len(server.sent("POST", RESTORE)) == 1

    def test_not_to_an_old_one(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        server.add_restore("x1", "SUCCESS")
        begin_restore(client, order(), memory)
        assert len(server.sent("POST", RESTORE)) == 1

    def test_not_to_one_that_failed(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        begin_restore(client, order(), memory)
        server.finish("FAILED", "disk full")
        assert begin_restore(client, order(), memory).attempts == 2
        assert len(server.sent("POST", RESTORE)) == 2

    def test_not_to_what_stood_there_before_a_refused_request(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.add_restore("x1", "SUCCESS")
        server.fail_next("POST", RESTORE, status=500)
        with pytest.raises(ServerFault):
            begin_restore(client, order(), memory)
        begin_restore(client, order(), memory)
        assert len(server.sent("POST", RESTORE)) == 2

    def test_to_one_whose_start_nobody_saw(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.fail_next("POST", RESTORE, status=500, handled=True)
        server.fail_next("GET", RESTORE, status=404)  # before
        server.fail_next("GET", RESTORE, status=500, times=4)  # and when it wants to know
        with pytest.raises(ServerFault):
            begin_restore(client, order(), memory)
        server.clear_faults()
        assert begin_restore(client, order(), memory).collections == ALL
        assert len(server.sent("POST", RESTORE)) == 1

    def test_a_finished_task_forgets(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        """Whoever clears the task wants another restore."""
        operation = begin_restore(client, order(), memory)
        server.finish()
        done = OperationStatus(OperationKind.RESTORE, Status.SUCCESS)
        assert finish_restore(client, Outcome(operation, done), memory)["status"] == "SUCCESS"
        with pytest.raises(PreflightFailed, match="In the way"):
            begin_restore(client, order(), memory)

    def test_a_failed_task_does_not(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        operation = begin_restore(client, order(), memory)
        server.finish("FAILED", "disk full")
        failed = OperationStatus(OperationKind.RESTORE, Status.FAILED, "disk full")
        with pytest.raises(OperationFailed):
            finish_restore(client, Outcome(operation, failed), memory)
        assert begin_restore(client, order(), memory).attempts == 2


class TestLostAnswer:
    def test_that_was_done_is_followed(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.drop_next("POST", RESTORE, handled=True)
        assert begin_restore(client, order(), NoMemory()).collections == ALL
        assert len(server.sent("POST", RESTORE)) == 1

    def test_that_is_empty_and_nothing_runs(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        """What 1.37.0 does with a node_mapping that names no node of the backup."""
        server.version = "1.37.0"
        with pytest.raises(UnexpectedAnswer, match="answered 200 with nothing"):
            begin_restore(client, order(node_mapping={"gone": "node1"}), NoMemory())
        assert server.restores == {}

    @pytest.mark.parametrize("before", ["SUCCESS", "FAILED", "CANCELED"])
    def test_old_state_is_not_taken_for_the_new(
        self, client: WeaviateClient, server: WeaviateStandIn, before: str
    ) -> None:
        server.add_restore("x1", before)
        server.fail_next("POST", RESTORE, status=500)
        with pytest.raises(ServerFault):
            begin_restore(client, order(), NoMemory())


def test_restore_of_other_collections_is_canceled(client: WeaviateClient, server: WeaviateStandIn) -> None:
    answer = {"id": "x1", "status": "STARTED", "path": "s3://backups/x1", "classes": ["Article"]}
    server.fail_next("POST", RESTORE, status=200, body=answer)
    with pytest.raises(SelectionMismatch, match="Missing: Author, Product"):
        begin_restore(client, order(), NoMemory())
    assert len(server.sent("DELETE", RESTORE)) == 1
