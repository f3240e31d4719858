"""What an incremental backup builds on, where storage tells more than the server."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.backup import begin_backup, finish_backup
from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import InvalidRequest, PreflightFailed, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.orders import CREATE, RUN_STARTED, order
from tests.actions.stored_trees import TreeStore

LOCATION = "s3://aws_default@backups"
TREE = ("Article", "Author", "Photo", "Product")


def open_nothing(location: Location) -> Store:
    raise StorageUnreachable(f"{location} does not answer.")


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    """One that made the backups of the tree."""
    weaviate_stand_in.nodes = {"w1": "HEALTHY"}
    for name in TREE:
        weaviate_stand_in.add_collection(name)
    return weaviate_stand_in


def begin(client: WeaviateClient, store: TreeStore, base: str, **fields: Any) -> str | None:
    """Begin a backup, and return what it builds on."""
    asked = order(location=LOCATION, incremental_base=base, **fields)
    return begin_backup(client, asked, NoMemory(), RUN_STARTED, store.open).base_backup_id


def assert_refused(
    client: WeaviateClient, server: WeaviateStandIn, store: TreeStore, base: str, text: str, **fields: Any
) -> PreflightFailed:
    with pytest.raises(PreflightFailed, match=text) as caught:
        begin(client, store, base, **fields)
    assert server.sent("POST", CREATE) == []
    return caught.value


class TestNamed:
    def test_that_is_whole(self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path) -> None:
        server.add_backup("fourth", TREE)
        store = TreeStore("chain-1.39.2", tmp_path)
        assert begin(client, store, "fourth") == "fourth"
        assert set(map(str, store.opened)) == {LOCATION}
        assert set(store.reads) == {f"{name}/backup_config.json" for name in ("full", "second", "third", "fourth")}

    def test_of_another_codec(self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path) -> None:
        server.add_backup("full", TREE)
        store = TreeStore("zstd-1.39.2", tmp_path)
        error = assert_refused(client, server, store, "full", "No backup can build on s3://aws_default@backups/full: ")
        assert "Set compression to a level of zstd" in error.hint
        server.backup("full").compression = "zstd"
        assert begin(client, store, "full", compression="ZstdBestSpeed") == "full"

    def test_without_its_own_base(self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path) -> None:
        server.add_backup("fourth", TREE)
        store = TreeStore("chain-1.39.2", tmp_path)
        store.delete_descriptor("full")
        assert_refused(client, server, store, "fourth", "Its chain is broken: base full is not there")

    def test_that_storage_says_failed(self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path) -> None:
        server.add_backup("failed", TREE)
        store = TreeStore("ended-otherwise-1.39.2", tmp_path)
        assert_refused(client, server, store, "failed", "Its descriptor says FAILED")

    @pytest.mark.parametrize("broken", [b"[]", b'{"id": "full", "version": "3.0"}'])
    def test_that_is_not_known(
        self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path, broken: bytes
    ) -> None:
        server.add_backup("full", TREE)
        store = TreeStore("chain-1.39.2", tmp_path)
        (store.root / "full/backup_config.json").write_bytes(broken)
        assert_refused(
            client, server, store, "full", "s3://aws_default@backups/full can't be used: The descriptor full"
        )

    def test_new_nodes_are_told(
        self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.nodes = {"w1": "HEALTHY", "w2": "HEALTHY"}
        server.add_backup("full", TREE)
        assert begin(client, TreeStore("chain-1.39.2", tmp_path), "full") == "full"
        assert "Not in the base 'full', so what lies on them is backed up in full: w2" in caplog.text


class TestLatest:
    def test_is_of_the_same_codec_and_whole(
        self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        store = TreeStore("chain-1.39.2", tmp_path)
        for name in ("full", "third", "fourth"):
            server.add_backup(name, TREE)
        store.tell("fourth", compressionType="zstd")
        store.delete_descriptor("second")
        assert begin(client, store, "latest") == "full"
        assert "Not taken as the base: No backup can build on s3://aws_default@backups/fourth: " in caplog.text

    def test_is_none_where_none_fits(self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path) -> None:
        server.add_backup("second", TREE)
        store = TreeStore("zstd-1.39.2", tmp_path)
        assert begin(client, store, "latest") is None
        assert len(server.sent("POST", CREATE)) == 1

    def test_of_another_place(self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path) -> None:
        """What the server's list does not show, storage does."""
        server.add_backup("third", TREE, path="team/a")
        store = TreeStore("chain-1.39.2", tmp_path)
        store.tell("fourth", status="FAILED")
        assert begin(client, store, "latest", path="team/a") == "third"
        assert set(map(str, store.opened)) == {f"{LOCATION}/team/a"}
        assert server.sent("GET", "/backups/s3") == []

    def test_of_another_place_that_the_server_does_not_see(
        self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path
    ) -> None:
        store = TreeStore("chain-1.39.2", tmp_path)
        assert_refused(client, server, store, "latest", "The base 'fourth' is not there", path="team/a")


class TestUnreadableStorage:
    def test_keeps_nothing_from_being_started(
        self, client: WeaviateClient, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.add_backup("full", TREE)
        for number, base in enumerate(("full", "latest")):
            asked = order(f"x{number}", location=LOCATION, incremental_base=base)
            assert begin_backup(client, asked, NoMemory(), RUN_STARTED, open_nothing).base_backup_id == "full"
            server.finish()
            server.backups.pop(server.key("s3", f"x{number}", {}))
        assert caplog.text.count(f"What lies in {LOCATION} can't be read, so it is not checked.") == 2

    def test_knows_no_latest_of_another_place(self, client: WeaviateClient) -> None:
        asked = order(location=LOCATION, incremental_base="latest", path="team/a")
        with pytest.raises(InvalidRequest, match="no location that can be read tells more"):
            begin_backup(client, asked, NoMemory(), RUN_STARTED, open_nothing)

    def test_that_shows_no_base_is_told(
        self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.add_backup("elsewhere", TREE)
        assert begin(client, TreeStore("chain-1.39.2", tmp_path), "elsewhere") == "elsewhere"
        assert f"{LOCATION} shows no backup 'elsewhere': is it where the server writes?" in caplog.text


class TestEnd:
    @pytest.fixture
    def ended(self, client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path) -> tuple[Outcome, TreeStore]:
        """A backup `second` that was to build on `full`."""
        server.add_backup("full", TREE)
        store = TreeStore("chain-1.39.2", tmp_path)
        asked = order("second", location=LOCATION, incremental_base="full")
        operation = begin_backup(client, asked, NoMemory(), RUN_STARTED, store.open)
        return Outcome(operation, OperationStatus(OperationKind.BACKUP, Status.SUCCESS)), store

    def test_that_is_as_asked(
        self, client: WeaviateClient, ended: tuple[Outcome, TreeStore], caplog: pytest.LogCaptureFixture
    ) -> None:
        outcome, store = ended
        assert finish_backup(client, outcome, NoMemory(), store.open)["base_backup_id"] == "full"
        assert caplog.text == ""

    def test_that_is_full_after_all(
        self, client: WeaviateClient, ended: tuple[Outcome, TreeStore], caplog: pytest.LogCaptureFixture
    ) -> None:
        outcome, store = ended
        store.tell("second", baseBackupId="")
        assert finish_backup(client, outcome, NoMemory(), store.open)["base_backup_id"] is None
        assert "was to build on 'full', but its descriptor names nothing as its base" in caplog.text

    def test_that_can_not_be_seen(
        self, client: WeaviateClient, ended: tuple[Outcome, TreeStore], caplog: pytest.LogCaptureFixture
    ) -> None:
        outcome, store = ended
        (store.root / "second/backup_config.json").write_bytes(b"")
        assert finish_backup(client, outcome, NoMemory(), store.open)["base_backup_id"] == "full"
        assert finish_backup(client, outcome, NoMemory(), open_nothing)["status"] == "SUCCESS"
        assert caplog.text.count("can't be read, so it is not checked") == 2

    def test_of_a_full_backup_is_not_looked_at(self, client: WeaviateClient, ended: tuple[Outcome, TreeStore]) -> None:
        outcome, store = ended
        store.reads.clear()
        full = replace(outcome, operation=replace(outcome.operation, base_backup_id=None))
        finish_backup(client, full, NoMemory(), store.open)
        assert store.reads == []
