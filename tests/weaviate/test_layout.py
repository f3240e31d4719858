from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.codecs import Codec, is_plausible
from airflow_provider_vectorbackup.backups.status import OperationKind, Status
from airflow_provider_vectorbackup.weaviate.descriptors import GlobalDescriptor, NodeShare, global_key, node_key
from airflow_provider_vectorbackup.weaviate.layout import (
    NeededObject,
    deletion_ranks,
    descriptor_problems,
    is_access_check,
    is_part_of_backup,
    is_written_by_weaviate,
    link_of,
    node_problems,
    own_objects,
    referred_keys,
    tenants_left_out,
)
from airflow_provider_vectorbackup.weaviate.node_descriptors import NodeDescriptor, Shard, StoredCollection
from airflow_provider_vectorbackup.weaviate.stored_schema import ShardingState, ShardPlace
from tests.trees import NAMES
from tests.trees.reading import tree


def collection_of(found: NodeDescriptor, name: str) -> StoredCollection:
    (chosen,) = (collection for collection in found.collections if collection.name == name)
    return chosen


@pytest.mark.parametrize("name", NAMES)
def test_descriptors_name_all_there_is_and_nothing_else(name: str) -> None:
    listed = tree(name)
    whole = [backup_id for backup_id in listed.backup_ids if listed.told(backup_id).status is Status.SUCCESS]
    assert whole
    for backup_id in whole:
        named = [global_key(OperationKind.BACKUP, backup_id)]
        for node in listed.told(backup_id).nodes:
            named += [node_key(backup_id, node), *(o.key for o in own_objects(node, listed.node(backup_id, node)))]
        there = {key for key in listed.sizes if key.startswith(f"{backup_id}/")}
        assert len(set(named)) == len(named)
        assert set(named) == there - {global_key(OperationKind.RESTORE, backup_id)}


@pytest.mark.parametrize("name", NAMES)
def test_real_chunks_are_plausible_and_real_references_are_there(name: str) -> None:
    listed = tree(name)
    for backup_id in listed.backup_ids:
        if listed.told(backup_id).status is not Status.SUCCESS:
            continue
        for node in listed.told(backup_id).nodes:
            descriptor = listed.node(backup_id, node)
            for own in own_objects(node, descriptor):
                assert (own.codec is None) == (not descriptor.is_chunked)
                assert own.codec is None or is_plausible(own.codec, listed.sizes[own.key], own.file_bytes)
            for ancestor, key in referred_keys(node, descriptor):
                assert ancestor in descriptor.bases
                assert key in listed.sizes


def test_only_folder_of_1_15_has_no_node() -> None:
    shard = Shard("s1", "", ("article_s1_lsm/a.db",), {}, ())
    collection = StoredCollection("Article", (shard,), {}, None, None, {})
    descriptor = NodeDescriptor("x1", Status.SUCCESS, "1.0", "1.15.5", Codec.NONE, (collection,))
    assert list(own_objects("", descriptor)) == [NeededObject("x1/article_s1_lsm/a.db")]


def test_size_is_known_of_a_file_that_has_one_chunk() -> None:
    listed = tree("zstd-1.39.2")
    needed = {own.key: own.file_bytes for own in own_objects("w1", listed.node("second"))}
    article = collection_of(listed.node("second"), "Article")
    for file in article.shards[0].big_files.values():
        assert needed[f"second/w1/{file.chunk_keys[0]}"] == file.size_bytes
    (split,) = collection_of(listed.node("second"), "Photo").shards[0].big_files.values()
    assert {needed[f"second/w1/{key}"] for key in split.chunk_keys} == {0}


@pytest.mark.parametrize(
    ("rest", "is_part"),
    [
        ("backup_config.json", True),
        ("w1/backup.json", True),
        ("w1/Article/chunk-1", True),
        ("w1/Tenants:Article/chunk-1", True),
        ("w1/article_s1_lsm/objects/segment-1.db", True),
        ("whatever", True),
        ("restore_config.json", False),
        ("w1/restore_config.json", True),
        ("_vectorbackup/manifest.json", False),
        ("w1/_vectorbackup/manifest.json", True),
        ("access-check", False),
        ("w1/access-check", False),
        ("w1/access-check-host-1", False),
        ("w1/Article/access-check", True),
        ("w1/Article/chunk-1.tmp", False),
    ],
)
def test_what_can_be_a_part_of_a_backup(rest: str, *, is_part: bool) -> None:
    assert is_part_of_backup(rest) == is_part
    assert is_access_check(rest) == (not is_part and "access-check" in rest)


@pytest.mark.parametrize(
    ("rest", "is_ours"),
    [
        ("backup_config.json", True),
        ("restore_config.json", True),
        ("w1/backup.json", True),
        ("backup.json", True),
        ("w1/Article/chunk-17", True),
        ("w1/Article/chunk-17.tmp", True),
        ("w1/access-check", True),
        ("x1/w1/Article/chunk-17", False),
        ("x1/backup_config.json", False),
        ("w1/Article/chunk-x", False),
        ("readme.txt", False),
        ("w1/notes/backup.json", False),
    ],
)
def test_what_looks_like_weaviate_wrote_it(rest: str, *, is_ours: bool) -> None:
    assert is_written_by_weaviate(rest) == is_ours


class TestDeletionRanks:
    OWN = ("x1/_vectorbackup/copy/plan.json", "x1/_vectorbackup/w1/backup.json")
    DATA = ("x1/access-check-1", "x1/backup_config.json", "x1/restore_config.json", "x1/w1/Article/chunk-1")
    DESCRIPTORS = ("x1/w1/backup.json", "x1/w2/backup.json")
    FOREIGN = ("x1/notes.txt", "x1/w1/article/s1/a.db", "x1/w1/more/backup.json", "x1/_vectorbackups/a")

    def test_of_chunks(self) -> None:
        """What an incremental backup would look at goes first."""
        keys = [*self.FOREIGN, *self.OWN, *self.DATA, *self.DESCRIPTORS]
        assert deletion_ranks(keys, ()) == (list(self.DESCRIPTORS), list(self.DATA), list(self.OWN))

    def test_of_files_without_looks_of_their_own(self) -> None:
        """What names them is there as long as they are."""
        keys, files = [*self.DESCRIPTORS, *self.FOREIGN, *self.OWN], self.FOREIGN[:2]
        assert deletion_ranks(keys, files) == (list(files), list(self.DESCRIPTORS), list(self.OWN))

    def test_of_nothing(self) -> None:
        assert deletion_ranks([], ()) == ([], [], [])

    @pytest.mark.parametrize("name", NAMES)
    def test_of_recorded_trees(self, name: str) -> None:
        listed = tree(name)
        for backup_id in listed.backup_ids:
            there = {key for key in listed.sizes if key.startswith(f"{backup_id}/")}
            files = there if name == "old-1.20.6" else ()
            assert {key for rank in deletion_ranks(there, files) for key in rank} == there


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wrong_with_what_ended_well(name: str) -> None:
    listed = tree(name)
    for backup_id in listed.backup_ids:
        told = listed.told(backup_id)
        if told.status is Status.SUCCESS:
            assert descriptor_problems(backup_id, told) == []
            for node in told.nodes:
                assert node_problems(told, node, listed.node(backup_id, node)) == []
        else:
            (problem,) = descriptor_problems(backup_id, told)
            assert problem.startswith(f"says {told.status}")
            assert (len(problem) < 250, told.error[:200] in problem) == (True, True)


def told(**fields: Any) -> GlobalDescriptor:
    nodes = {"w1": NodeShare(("Article",), Status.SUCCESS, "", 5), "w2": NodeShare((), Status.SUCCESS, "", 2)}
    usual = GlobalDescriptor(
        "x1", Status.SUCCESS, "2.1", "1.39.2", nodes, Codec.GZIP, leader="w1", pre_compression_bytes=7
    )
    return replace(usual, **fields)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, None),
        ({"backup_id": "x2"}, "is of another backup, 'x2'"),
        ({"status": Status.FAILED, "error": "disk full"}, "says FAILED: disk full"),
        ({"status": Status.UNKNOWN}, "says UNKNOWN"),
        ({"error": "but"}, "says SUCCESS: but"),
        ({"nodes": {}, "leader": "", "pre_compression_bytes": 0}, "names no nodes"),
        ({"leader": "w3"}, "names a leader, 'w3', that is none of its nodes"),
        ({"pre_compression_bytes": 8}, "counts 8 bytes, and 7 in its nodes"),
        ({"pre_compression_bytes": None}, None),
    ],
)
def test_problems_of_the_coordinators_descriptor(fields: dict[str, Any], problem: str | None) -> None:
    assert descriptor_problems("x1", told(**fields)) == ([problem] if problem else [])


PAIR = tree("pair-1.34.18")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"backup_id": "x2"}, "is of another backup, 'x2'"),
        ({"status": Status.CANCELED}, "says CANCELED"),
        ({"error": "but"}, "says SUCCESS: but"),
        ({"codec": Codec.ZSTD}, "is compressed by zstd, the backup by gzip"),
        ({"pre_compression_bytes": 5}, "counts 5 bytes, the backup's 362409"),
        ({"collections": PAIR.node("second").collections[1:]}, "lacks collections: Product"),
    ],
)
def test_problems_of_a_nodes_descriptor(fields: dict[str, Any], problem: str) -> None:
    assert problem in node_problems(PAIR.told("second"), "w1", replace(PAIR.node("second"), **fields))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"schema": None}, "has no schema or sharding state of Author"),
        ({"sharding": None}, "has no schema or sharding state of Author"),
        ({"chunks": {}}, "names no chunks of Author"),
        ({"chunks": {1: ("other",)}}, "names chunks of shards of Author that it does not list: other"),
        ({"shards": ()}, "lacks shards of Author that belong to the node: E972cNph8KVT, xCcr0qRlda9E"),
    ],
)
def test_problems_of_a_collection(fields: dict[str, Any], problem: str) -> None:
    found = PAIR.node("full")
    changed = tuple(replace(c, **fields) if c.name == "Author" else c for c in found.collections)
    assert problem in node_problems(PAIR.told("full"), "w1", replace(found, collections=changed))


def test_descriptor_of_another_node() -> None:
    listed = tree("three-nodes-1.39.2")
    assert "is of another node: w2" in node_problems(listed.told("full"), "w1", listed.node("full", "w2"))


def test_bases_of_a_link_are_all_that_are_named_and_not_itself() -> None:
    told = tree("chain-1.39.2").told("fourth")
    assert link_of("fourth", told, {"full", "second", "fourth"}).bases == {"full", "second", "third"}
    assert link_of("full", tree("chain-1.39.2").told("full")).bases == frozenset()


def test_collection_elsewhere_is_no_problem() -> None:
    listed = tree("three-nodes-1.39.2")
    assert node_problems(listed.told("full"), "w1", listed.node("full", "w1")) == []  # w1 has no shard of Author


@pytest.mark.parametrize(("activity", "left_out"), [("HOT", ("t1",)), ("FROZEN", ("t1",)), ("", ())])
def test_tenants_without_data(activity: str, left_out: tuple[str, ...]) -> None:
    places = {"t1": ShardPlace(("w1",), activity), "t2": ShardPlace(("w2",), "HOT"), "t3": ShardPlace(("w1",), "HOT")}
    shard = Shard("t3", "w1", (), {}, ())
    sharding = ShardingState(places, is_multi_tenant=True, replication_factor=1)
    assert tenants_left_out("w1", StoredCollection("P", (shard,), {}, sharding, None, {})) == left_out


def test_inactive_tenants_of_1_34_are_left_out() -> None:
    assert tenants_left_out("w1", collection_of(PAIR.node("full"), "Product")) == ("west",)
    assert tenants_left_out("w1", collection_of(tree("pair-1.37.0").node("full"), "Product")) == ()


def test_order_of_a_deletion_that_nothing_will_tell_of() -> None:
    """Where no mark can be left, descriptors go last: without them, nobody could tell what is left."""
    data, own, node = "x1/w1/Article/chunk-1", "x1/_vectorbackup/manifest.json", "x1/w1/backup.json"
    assert deletion_ranks([own, node, data], ()) == ([node], [data], [own])
    assert deletion_ranks([own, node, data], (), data_first=True) == ([data], [own], [node])
