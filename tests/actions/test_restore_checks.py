"""What storage says before a restore."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.actions.obstacles import IfCollectionExists
from airflow_provider_vectorbackup.actions.restore import RestoreOrder, begin_restore
from airflow_provider_vectorbackup.backups.status import BackupAddress
from airflow_provider_vectorbackup.exceptions import PreflightFailed
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.stored_trees import TreeStore
from tests.actions.test_bases import LOCATION, TREE, open_nothing

RESTORE = "/backups/s3/.*/restore"


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    """An empty one, with the backups of the tree."""
    weaviate_stand_in.nodes = {"w1": "HEALTHY"}
    for name in ("full", "second", "third", "fourth"):
        weaviate_stand_in.add_backup(name, TREE)
    return weaviate_stand_in


@pytest.fixture
def chain(tmp_path: Path) -> TreeStore:
    return TreeStore("chain-1.39.2", tmp_path)


def order(backup_id: str, path: str | None = None, **fields: Any) -> RestoreOrder:
    return RestoreOrder(BackupAddress("s3", backup_id, path=path), location=LOCATION, **fields)


def sent(client: WeaviateClient, server: WeaviateStandIn, store: TreeStore, asked: RestoreOrder) -> Any:
    """Begin a restore, and return what its request said."""
    begin_restore(client, asked, NoMemory(), store.open)
    (seen,) = server.sent("POST", RESTORE)
    return seen.body


def assert_refused(
    client: WeaviateClient,
    server: WeaviateStandIn,
    store: TreeStore,
    asked: RestoreOrder,
    text: str,
) -> PreflightFailed:
    with pytest.raises(PreflightFailed, match=text) as caught:
        begin_restore(client, asked, NoMemory(), store.open)
    assert server.sent("POST", ".*") == server.sent("DELETE", ".*") == []
    return caught.value


def test_whole_chain(client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore) -> None:
    assert sent(client, server, chain, order("fourth")) == {"include": [*TREE]}
    assert sorted(set(chain.reads)) == sorted(
        ["fourth/restore_config.json", "fourth/w1/backup.json"]
        + [f"{name}/backup_config.json" for name in ("full", "second", "third", "fourth")]
    )


@pytest.mark.parametrize("missing", ["full", "second", "third"])
def test_base_that_is_gone(client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore, missing: str) -> None:
    """Also one that is no direct base."""
    chain.delete_descriptor(missing)
    text = f"s3://aws_default@backups/fourth can't be restored into this server: .*base {missing} is not there"
    assert_refused(client, server, chain, order("fourth"), text)


def test_backup_that_storage_says_failed(client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore) -> None:
    chain.tell("full", status="FAILED")
    assert_refused(client, server, chain, order("full"), "Its descriptor says FAILED")


def test_layout_of_the_future(client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore) -> None:
    chain.tell("full", version="3.0")
    error = assert_refused(client, server, chain, order("full"), "layout version '3.0', which this package does not")
    assert error.hint == "Update airflow-provider-vectorbackup."


def test_newer_backup_is_told(
    client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore, caplog: pytest.LogCaptureFixture
) -> None:
    server.version = "1.37.0"
    assert sent(client, server, chain, order("full"))
    assert "was made by Weaviate 1.39.2, and is restored by 1.37.0: that works, but is not promised" in caplog.text


def test_node_descriptor_that_is_gone(client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore) -> None:
    (chain.root / "full/w1/backup.json").unlink()
    assert_refused(client, server, chain, order("full"), "The descriptor full/w1/backup.json is not there")


class TestNodes:
    @pytest.fixture
    def three(self, server: WeaviateStandIn, tmp_path: Path) -> TreeStore:
        for name in ("full", "second"):
            server.add_backup(name, ["Article", "Author"], nodes=["w1", "w2", "w3"])
        return TreeStore("three-nodes-1.39.2", tmp_path)

    def test_other_names_with_the_mapping_that_is_proposed(
        self, client: WeaviateClient, server: WeaviateStandIn, three: TreeStore
    ) -> None:
        server.nodes = dict.fromkeys(("x1", "w2", "x10"), "HEALTHY")
        error = assert_refused(client, server, three, order("second"), r"no nodes of the names w1, w3 \(it has w2, x1,")
        (proposed,) = re.findall(r"node_mapping to (\{.*?\})", error.hint)
        mapping = json.loads(proposed)
        assert mapping == {"w1": "x1", "w2": "w2", "w3": "x10"}
        assert sent(client, server, three, order("second", node_mapping=mapping))["node_mapping"] == mapping

    def test_strange_key_is_no_panic(self, client: WeaviateClient, server: WeaviateStandIn, three: TreeStore) -> None:
        """Trap 14: 1.37.0 answers 200 with nothing."""
        server.version, server.nodes = "1.37.0", dict.fromkeys(("w1", "w2", "w3"), "HEALTHY")
        asked = order("full", node_mapping={"gone": "w1"})
        assert_refused(client, server, three, asked, r"node_mapping names nodes that it does not have: gone")

    def test_nodes_that_take_no_part_are_not_sent(
        self, client: WeaviateClient, server: WeaviateStandIn, three: TreeStore
    ) -> None:
        """The server drops them before it applies the mapping, and takes their names for strange ones."""
        server.nodes = dict.fromkeys(("x1", "x2", "x3"), "HEALTHY")
        mapping = {"w1": "x1", "w2": "x2", "w3": "x3"}
        told = json.loads((three.root / "full/backup_config.json").read_bytes())
        holding = {node for node, share in told["nodes"].items() if "Author" in share["classes"]}
        server.add_backup("full", ["Article", "Author"], nodes=holding)
        body = sent(client, server, three, order("full", include=("Author",), node_mapping=mapping))
        assert set(body["node_mapping"]) == holding < set(mapping)

    def test_too_few(self, client: WeaviateClient, server: WeaviateStandIn, three: TreeStore) -> None:
        assert_refused(
            client, server, three, order("full"), r"lies on 3 nodes \(w1, w2, w3\) and the target has 1 \(w1\)"
        )


class TestMismatch:
    def test_modules(
        self, client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        chain.give_schema("full", "w1", "Author", moduleConfig={"generative-openai": {}, "reranker-cohere": {}})
        server.modules["generative-openai"] = {}
        text = r"lacks modules that collections use \(Author: reranker-cohere\)"
        error = assert_refused(client, server, chain, order("full"), text)
        assert "set ignore_mismatch" in error.hint
        assert sent(client, server, chain, order("full", ignore_mismatch=True)) == {"include": [*TREE]}
        assert re.search(f"Restored all the same, as ignore_mismatch is set: .*{text}", caplog.text)

    def test_vectorizer_can_not_be_ignored(
        self, client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore
    ) -> None:
        chain.give_schema("full", "w1", "Article", vectorizer="text2vec-openai")
        text = r"restores no collection that names them \(Article: text2vec-openai\)"
        assert_refused(client, server, chain, order("full", ignore_mismatch=True), text)

    def test_of_what_is_not_restored_is_none(
        self, client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore
    ) -> None:
        chain.give_schema("full", "w1", "Article", vectorizer="text2vec-openai")
        server.add_collection("Article")
        skipping = order("full", if_collection_exists=IfCollectionExists.SKIP)
        assert sent(client, server, chain, skipping) == {"include": ["Author", "Photo", "Product"]}

    def test_replication_factor(self, client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore) -> None:
        chain.give_schema("full", "w1", "Article", replicationConfig={"factor": 3})
        assert_refused(client, server, chain, order("full"), r"above the target's number of nodes, 1 \(Article 3\)")
        assert sent(client, server, chain, order("full", exclude=("Article",)))


class TestAliases:
    def test_whose_name_is_taken(self, client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore) -> None:
        server.add_collection("Story")
        text = r"has collections of the names of aliases \(Story of Article\)"
        assert_refused(client, server, chain, order("full", overwrite_alias=True), text)
        assert sent(client, server, chain, order("full", exclude=("Article",)))

    @pytest.mark.parametrize(("overwrite", "done"), [(False, "stay as they are"), (True, "will be pointed to")])
    def test_that_are_there_are_told(
        self,
        client: WeaviateClient,
        server: WeaviateStandIn,
        chain: TreeStore,
        caplog: pytest.LogCaptureFixture,
        done: str,
        *,
        overwrite: bool,
    ) -> None:
        server.add_collection("Other")
        server.aliases["Story"] = "Other"
        assert sent(client, server, chain, order("full", overwrite_alias=overwrite))
        assert re.search(f"Aliases of the backup that the server has already {done}.*: Story", caplog.text)


def test_tenants_without_data_are_told(
    client: WeaviateClient, server: WeaviateStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert sent(client, server, TreeStore("pair-1.34.18", tmp_path), order("second"))
    assert "The backup has no data of these tenants of Product: west" in caplog.text


class TestUnlisted:
    """One in another place is not in the server's list; its descriptor tells what it holds."""

    @pytest.fixture(autouse=True)
    def moved(self, server: WeaviateStandIn) -> None:
        server.backups.clear()
        server.add_backup("full", TREE, path="team/a")

    def test_patterns(self, client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore) -> None:
        body = sent(client, server, chain, order("full", "team/a", include=("A*",)))
        assert body == {"include": ["Article", "Author"], "config": {"Path": "team/a"}}
        assert set(map(str, chain.opened)) == {f"{LOCATION}/team/a"}

    def test_everything_beside_other_collections(
        self, client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore
    ) -> None:
        server.add_collection("Other")
        assert sent(client, server, chain, order("full", "team/a"))["include"] == [*TREE]

    def test_collection_in_the_way(self, client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore) -> None:
        server.add_collection("PHOTO")
        text = "In the way of the restore: collection PHOTO"
        assert_refused(client, server, chain, order("full", "team/a", exclude=("A*",)), text)


def test_unreadable_storage_keeps_nothing_from_being_started(
    client: WeaviateClient, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    begin_restore(client, order("full", node_mapping={"w1": "w1"}), NoMemory(), open_nothing)
    (seen,) = server.sent("POST", RESTORE)
    assert seen.body == {"include": [*TREE], "node_mapping": {"w1": "w1"}}
    assert f"What lies in {LOCATION} can't be read, so it is not checked." in caplog.text


def test_storage_that_shows_no_backup_is_told(
    client: WeaviateClient, server: WeaviateStandIn, chain: TreeStore, caplog: pytest.LogCaptureFixture
) -> None:
    chain.delete_descriptor("full")
    assert sent(client, server, chain, order("full"))
    assert f"{LOCATION} shows no backup 'full': is it where the server writes?" in caplog.text
