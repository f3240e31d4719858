"""What fits what, by descriptors that real servers wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.actions import compatibility
from airflow_provider_vectorbackup.actions.compatibility import Problem
from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.actions.stored_descriptors import read_told
from airflow_provider_vectorbackup.actions.stored_facts import read_contents, read_links
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import PreflightFailed
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.answers import CollectionSchema
from airflow_provider_vectorbackup.weaviate.descriptors import GlobalDescriptor, NodeShare, node_key
from airflow_provider_vectorbackup.weaviate.features import parse_version
from airflow_provider_vectorbackup.weaviate.node_descriptors import parse_node
from airflow_provider_vectorbackup.weaviate.stored_schema import StoredSchema, VectorConfig
from tests.actions.stored_trees import TreeStore

TreeOf = Callable[[str], TreeStore]
SAME = {"w1": "w1", "w2": "w2", "w3": "w3"}
NAMES = st.sampled_from([f"w{number}" for number in range(6)])
OTHERS = st.sampled_from([f"x{number}" for number in range(6)])


@pytest.fixture
def tree(tmp_path: Path) -> TreeOf:
    return lambda name: TreeStore(name, tmp_path)


def told(store: TreeStore, backup_id: str) -> GlobalDescriptor:
    found = read_told(store, backup_id)
    assert found is not None
    return found


def backup_on(shares: dict[str, NodeShare]) -> GlobalDescriptor:
    return GlobalDescriptor("x", Status.SUCCESS, "2.1", "1.39.2", shares, Codec.GZIP, leader="w1")


def target(version: str = "1.39.2", *nodes: str, modules: frozenset[str] = frozenset()) -> Server:
    return Server(parse_version(version), "s3", "b", None, modules, nodes or ("w1",))


def said(problems: Iterable[Problem]) -> str:
    """Return all that problems say."""
    return " ".join(f"{problem.what} {problem.hint}" for problem in problems)


class TestBase:
    def problems(self, store: TreeStore, backup_id: str, codec: Codec) -> str:
        base = told(store, backup_id)
        return said(compatibility.base_problems(base, read_links(store, base), codec))

    @pytest.mark.parametrize(
        ("name", "backup_id", "codec"),
        [
            ("chain-1.39.2", "fourth", Codec.GZIP),
            ("zstd-1.39.2", "second", Codec.ZSTD),
            ("none-1.39.2", "full", Codec.NONE),
            ("pair-1.34.18", "second", Codec.GZIP),
            ("old-1.34.10", "first", Codec.GZIP),
            ("three-nodes-1.39.2", "second", Codec.GZIP),
        ],
    )
    def test_that_fits(self, tree: TreeOf, name: str, backup_id: str, codec: Codec) -> None:
        assert self.problems(tree(name), backup_id, codec) == ""

    @pytest.mark.parametrize(
        ("name", "codec", "text"),
        [
            ("zstd-1.39.2", Codec.GZIP, r"by zstd, and the new one would be by gzip\. .*a level of zstd"),
            ("chain-1.39.2", Codec.ZSTD, r"by gzip, and the new one would be by zstd\. .*a level of gzip"),
            ("none-1.39.2", Codec.GZIP, r"by nothing \(NoCompression\), and the new one would be by gzip"),
            ("old-1.30.22", Codec.GZIP, r"made by Weaviate 1\.30\.22, on whose backups none can build"),
        ],
    )
    def test_that_does_not(self, tree: TreeOf, name: str, codec: Codec, text: str) -> None:
        store = tree(name)
        backup_id = "first" if name.startswith("old") else "full"
        assert re.search(text, self.problems(store, backup_id, codec))

    @pytest.mark.parametrize(("backup_id", "status"), [("failed", "FAILED"), ("killed", "STARTED")])
    def test_that_did_not_end_well(self, tree: TreeOf, backup_id: str, status: str) -> None:
        assert f"Its descriptor says {status}." in self.problems(tree("ended-otherwise-1.39.2"), backup_id, Codec.GZIP)

    def test_whose_chain_is_broken(self, tree: TreeOf) -> None:
        store = tree("chain-1.39.2")
        store.delete_descriptor("second")
        assert "Its chain is broken: base second is not there" in self.problems(store, "fourth", Codec.GZIP)

    def test_that_names_another_as_itself_does_not_hang(self, tree: TreeOf) -> None:
        store = tree("chain-1.39.2")
        store.tell("second", id="third", baseBackupId="fourth")
        assert "did not start before" in self.problems(store, "fourth", Codec.GZIP)


@pytest.mark.parametrize(
    ("codec", "levels"),
    [
        (Codec.GZIP, [None, *calls.GZIP_LEVELS]),
        (Codec.ZSTD, ["ZstdDefaultCompression", "ZstdBestSpeed", "ZstdBestCompression"]),
        (Codec.NONE, ["NoCompression"]),
    ],
)
def test_codec_of_a_compression_level(codec: Codec, levels: list[str | None]) -> None:
    assert {calls.codec_of_level(level) for level in levels} == {codec}


class TestTarget:
    def problems(self, store: TreeStore, backup_id: str, version: str) -> str:
        return said(compatibility.restore_problems(told(store, backup_id), backup_id, target(version)))

    @pytest.mark.parametrize(
        ("name", "backup_id", "version"),
        [
            ("chain-1.39.2", "fourth", "1.39.2"),
            ("chain-1.39.2", "fourth", "1.37.0"),
            ("pair-1.37.0", "second", "1.39.2"),
            ("old-1.24.26", "first", "1.39.2"),
            ("old-1.20.6", "first", "1.38.7"),
            ("old-1.34.10", "first", "1.30.22"),
            ("chain-1.39.2", "full", "1.30.22"),
        ],
    )
    def test_that_can(self, tree: TreeOf, name: str, backup_id: str, version: str) -> None:
        assert self.problems(tree(name), backup_id, version) == ""

    @pytest.mark.parametrize(
        ("name", "backup_id", "version", "text"),
        [
            ("old-1.20.6", "first", "1.38.8", r"by Weaviate 1\.20\.6 in layout 1\.0, which .*1\.38\.8 refuses"),
            ("zstd-1.39.2", "full", "1.32.17", r"1\.32\.17 does not know this compression"),
            ("chain-1.39.2", "second", "1.34.17", r"does not know incremental_base_backup_id"),
        ],
    )
    def test_that_can_not(self, tree: TreeOf, name: str, backup_id: str, version: str, text: str) -> None:
        assert re.search(text, self.problems(tree(name), backup_id, version))

    def test_that_looks_at_the_server_version_too(self, tree: TreeOf) -> None:
        store = tree("old-1.24.26")
        store.tell("first", serverVersion="1.22.9")
        assert "by Weaviate 1.22.9 in layout 2.0, which Weaviate 1.39.2 refuses" in self.problems(
            store, "first", "1.39.2"
        )
        assert self.problems(store, "first", "1.38.7") == ""

    def test_of_a_backup_that_is_none(self, tree: TreeOf) -> None:
        assert "says CANCELED" in self.problems(tree("ended-otherwise-1.39.2"), "canceled", "1.39.2")
        store = tree("chain-1.39.2")
        other = compatibility.restore_problems(told(store, "full"), "fuller", target())
        assert "is of another backup, 'full'" in said(other)

    @pytest.mark.parametrize(("version", "expected"), [("1.38.9", True), ("1.39.0", False), ("1.40.1", False)])
    def test_older_than_the_backup(self, tree: TreeOf, version: str, *, expected: bool) -> None:
        assert compatibility.is_newer(told(tree("chain-1.39.2"), "full"), target(version)) is expected


def problems_of(
    backup: GlobalDescriptor, chosen: list[str], mapping: dict[str, str], nodes: Collection[str]
) -> Iterator[Problem]:
    needed = compatibility.nodes_taking_part(backup, chosen)
    return compatibility.node_problems(needed, backup.nodes, mapping, nodes)


class TestNodes:
    @pytest.fixture
    def backup(self) -> GlobalDescriptor:
        both = NodeShare(("Article", "Author"))
        return backup_on({"w1": both, "w2": NodeShare(("Article",)), "w3": both})

    def problems(self, backup: GlobalDescriptor, nodes: str, mapping: dict[str, str] | None = None) -> str:
        return said(problems_of(backup, ["Article", "Author"], mapping or {}, nodes.split()))

    def test_the_leader_always_takes_part(self, tree: TreeOf) -> None:
        """Also if nothing of the collection lies there: in the tree, the leader has none of Author."""
        store = tree("three-nodes-1.39.2")
        full = told(store, "full")
        parts = {node: parse_node(node, store.read(node_key("full", node)) or b"") for node in full.nodes}
        holding = {node for node, part in parts.items() for c in part.collections if c.name == "Author" and c.shards}
        assert set(compatibility.nodes_taking_part(full, ["Author"])) == {full.leader} | holding
        assert full.leader not in holding
        assert compatibility.nodes_taking_part(full, ["Article", "Author"]) == ("w1", "w2", "w3")

    @pytest.mark.parametrize(
        ("nodes", "mapping"),
        [
            ("w1 w2 w3", {}),
            ("w1 w2 w3 w4", {}),
            ("x1 x2 x3", {"w1": "x1", "w2": "x2", "w3": "x3"}),
            ("w1 w2 w3", {"w1": "w2", "w2": "w1"}),
        ],
    )
    def test_that_fit(self, backup: GlobalDescriptor, nodes: str, mapping: dict[str, str]) -> None:
        assert self.problems(backup, nodes, mapping) == ""

    @pytest.mark.parametrize(
        ("nodes", "mapping", "text", "proposed"),
        [
            ("x1 w2 x3", {}, "no nodes of the names w1, w3 (it has w2, x1, x3)", {"w1": "x1", "w2": "w2", "w3": "x3"}),
            ("n10 n2 n1", {}, "no nodes of the names w1, w2, w3", {"w1": "n1", "w2": "n2", "w3": "n10"}),
            ("a b c", {"w1": "c"}, "no nodes of the names w2, w3", {"w1": "c", "w2": "a", "w3": "b"}),
            ("w1 w2 w3", {"w9": "w1"}, "that it does not have: w9 (it has w1, w2, w3)", SAME),
            ("w1 w2 w3", {"w1": "gone"}, "no nodes of the names gone", SAME),
            ("w1 w2 w3", {"w1": "w2"}, "w1, w2 would all be restored to w2", SAME | {"w1": "w2", "w2": "w1"}),
        ],
    )
    def test_that_do_not(
        self, backup: GlobalDescriptor, nodes: str, mapping: dict[str, str], text: str, proposed: dict[str, str]
    ) -> None:
        found = self.problems(backup, nodes, mapping)
        assert text in found
        (pasted,) = set(re.findall(r"node_mapping to (\{.*?\})", found))
        assert json.loads(pasted) == proposed

    def test_too_few(self, backup: GlobalDescriptor) -> None:
        found = self.problems(backup, "w1 w2")
        assert "It lies on 3 nodes (w1, w2, w3) and the target has 2 (w1, w2)" in found
        assert "node_mapping" not in found
        assert said(problems_of(backup, ["Author"], {"w3": "w2"}, ("w1", "w2"))) == ""

    @given(
        needed=st.sets(NAMES, min_size=1),
        mapping=st.dictionaries(NAMES, NAMES | OTHERS),
        nodes=st.sets(NAMES | OTHERS, min_size=6),
    )
    def test_what_is_proposed_fits(self, needed: set[str], mapping: dict[str, str], nodes: set[str]) -> None:
        backup = backup_on({node: NodeShare(("Article",)) for node in needed})
        proposed = compatibility.proposed_mapping(sorted(needed), mapping, nodes)
        assert proposed.keys() == needed
        assert list(problems_of(backup, ["Article"], proposed, nodes)) == []
        assert mapping or all(proposed[node] == node for node in needed & nodes)


class TestSchemas:
    def schema(self, *modules: str, vectorizer: str = "none", vector: str = "", factor: int = 1) -> StoredSchema:
        named = frozenset(modules) | ({vectorizer} - {"none"})
        vectors = (VectorConfig(vector, vectorizer, "hnsw"),)
        return StoredSchema("Article", {}, vectors, named, factor, is_multi_tenant=False)

    def problems(self, schema: StoredSchema, server: Server) -> tuple[str, str]:
        """Return what keeps it from being restored, and what is only a mismatch."""
        schemas = {"Article": schema}
        return said(compatibility.schema_problems(schemas, server)), said(compatibility.mismatches(schemas, server))

    def test_modules_that_are_there(self) -> None:
        server = target(modules=frozenset({"text2vec-google", "generative-openai", "backup-s3"}))
        assert self.problems(self.schema("generative-openai", vectorizer="text2vec-palm"), server) == ("", "")

    def test_vectorizer_that_is_not(self) -> None:
        problem, mismatch = self.problems(self.schema("reranker-cohere", vectorizer="text2vec-openai"), target())
        assert "restores no collection that names them (Article: text2vec-openai)" in problem
        assert "ignore_mismatch" not in problem
        assert "lacks modules that collections use (Article: reranker-cohere)" in mismatch
        assert "set ignore_mismatch" in mismatch

    def test_modules_beside_named_vectors(self) -> None:
        """These the server looks for."""
        problem, mismatch = self.problems(self.schema("generative-openai", vector="title"), target())
        assert "(Article: generative-openai)" in problem
        assert mismatch == ""

    def test_replication_factor(self) -> None:
        assert self.problems(self.schema(factor=2), target("1.39.2", "w1", "w2")) == ("", "")
        problem, mismatch = self.problems(self.schema(factor=3), target("1.39.2", "w1", "w2"))
        assert problem == ""
        assert "above the target's number of nodes, 2 (Article 3)" in mismatch


class TestAliases:
    def test_whose_names_are_taken(self) -> None:
        server = replace(target(), collections=(CollectionSchema("Story", is_multi_tenant=False),))
        (problem,) = compatibility.alias_problems({"Story": "Article", "Other": "Author"}, server)
        assert "collections of the names of aliases (Story of Article)" in problem.what

    def test_that_an_old_server_does_not_restore(self) -> None:
        server = replace(target("1.31.0"), collections=(CollectionSchema("Story", is_multi_tenant=False),))
        assert list(compatibility.alias_problems({"Story": "Article"}, server)) == []

    def test_that_are_there(self) -> None:
        assert compatibility.aliases_there({"Story": "Article", "Other": "Author"}, ["STORY"]) == ("Story",)


class TestContents:
    def test_of_a_backup_that_left_tenants_out(self, tree: TreeOf) -> None:
        store = tree("pair-1.34.18")
        second = told(store, "second")
        contents = read_contents(store, second, second.collections, ["w1"])
        assert contents.left_out == {"Product": {"west"}}
        assert contents.aliases == {"Story": "Article"}
        assert contents.bases == {"full"}

    def test_of_chosen_collections_only(self, tree: TreeOf) -> None:
        store = tree("pair-1.34.18")
        contents = read_contents(store, told(store, "second"), ["Author"], ["w1"])
        assert (set(contents.schemas), contents.aliases, contents.left_out) == ({"Author"}, {}, {})

    def test_only_what_is_needed_is_read(self, tree: TreeOf) -> None:
        """The leader's descriptor tells all of a full backup without tenants; references stand in each node's own."""
        store = tree("three-nodes-1.39.2")
        for backup_id, count in (("full", 1), ("second", 3)):
            backup = told(store, backup_id)
            store.reads.clear()
            read_contents(store, backup, backup.collections, sorted(backup.nodes))
            assert len(store.reads) == count
            assert store.reads[0] == f"{backup_id}/{backup.leader}/backup.json"

    def test_of_a_node_that_left_nothing(self, tree: TreeOf) -> None:
        store = tree("three-nodes-1.39.2")
        backup = told(store, "full")
        (store.root / f"full/{backup.leader}/backup.json").write_bytes(b"[]")
        (node,) = sorted(set(backup.nodes) - {backup.leader})[:1]
        (store.root / f"full/{node}/backup.json").unlink()
        broken = read_contents(store, backup, backup.collections, [backup.leader, node]).broken
        assert [backup.leader in broken[0], f"full/{node}/backup.json is not there" in broken[1]] == [True, True]


def test_all_problems_are_told_at_once() -> None:
    problems = [Problem("It is red.", "Paint it."), Problem("It is tall.", "Cut it."), Problem("Dusty.", "Paint it.")]
    with pytest.raises(PreflightFailed, match=r"^x won't do: It is red\. It is tall\. Dusty\. Paint it\. Cut it\.$"):
        compatibility.require_none(problems, "x won't do", "x")
    compatibility.require_none([], "x won't do", "x")
