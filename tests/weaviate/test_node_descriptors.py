from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.weaviate.node_descriptors import NodeDescriptor, Shard, StoredCollection, parse_node
from tests.trees.reading import node_descriptors, tree
from tests.weaviate.mutations import extended, json_values, replaced

KEY = "x1/w1/backup.json"


def encoded(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def node(*, shard: dict[str, Any] | None = None, collection: dict[str, Any] | None = None, **fields: Any) -> bytes:
    """Return what 1.39.2 writes for one collection with one shard, with other values in some fields."""
    usual_shard = {
        "name": "s1",
        "node": "w1",
        "files": ["article/s1/big.db", "article/s1/small.db"],
        "bigFilesChunk": {
            "article/s1/big.db": {"chunkKeys": ["Article/chunk-2"], "size": 9, "modifiedAt": "2026-11-22T03:00:00.5Z"}
        },
        "incrementalBackupInfo": {
            "filesPerBackup": {"x0": [{"file": "article/s1/old.db", "chunkKeys": ["Article/chunk-7"]}]}
        },
    }
    usual_collection = {
        "name": "Article",
        "backupId": "x1",
        "shards": [usual_shard | (shard or {})],
        "shardingState": encoded({"physical": {"s1": {"belongsToNodes": ["w1"]}}}),
        "schema": encoded({"class": "Article"}),
        "chunks": {"1": ["s1"], "2": ["s1"]},
        "preCompressionSizeBytes": 20,
    }
    usual = {
        "startedAt": "2026-11-22T03:00:00Z",
        "id": "x1",
        "status": "SUCCESS",
        "version": "2.1",
        "serverVersion": "1.39.2",
        "error": "",
        "preCompressionSizeBytes": 20,
        "compressionType": "gzip",
        "baseBackupId": "x0",
        "classes": [usual_collection | (collection or {})],
    }
    return json.dumps(usual | fields).encode()


def collections_of(found: NodeDescriptor) -> dict[str, StoredCollection]:
    return {collection.name: collection for collection in found.collections}


def shards_of(collection: StoredCollection) -> dict[str, Shard]:
    return {shard.name: shard for shard in collection.shards}


def test_plain_files_of_layout_1_0() -> None:
    found = tree("old-1.20.6").node("first")
    assert (found.layout, found.codec, found.is_chunked, found.bases) == ("1.0", Codec.NONE, False, frozenset())
    product = collections_of(found)["Product"]
    assert sorted(shards_of(product)) == ["north", "south", "west"]
    assert (dict(product.chunks), product.backup_id, product.pre_compression_bytes) == ({}, "", None)
    assert all(file.startswith("product_north_lsm/") for file in shards_of(product)["north"].files)


@pytest.mark.parametrize("name", ["old-1.24.26", "old-1.30.22", "old-1.34.10"])
def test_all_shards_in_one_chunk(name: str) -> None:
    found = tree(name).node("second")
    (chunk,) = collections_of(found)["Product"].chunks.values()
    assert sorted(chunk) == ["north", "south", "west"]
    assert (found.codec, found.is_chunked, found.base_backup_id) == (Codec.GZIP, True, None)


@pytest.mark.parametrize(
    ("name", "codec"), [("zstd-1.39.2", Codec.ZSTD), ("none-1.39.2", Codec.NONE), ("chain-1.39.2", Codec.GZIP)]
)
def test_codec(name: str, codec: Codec) -> None:
    assert {tree(name).node(backup_id).codec for backup_id in ("full", "second")} == {codec}


def test_files_in_any_ancestor() -> None:
    found = tree("chain-1.39.2").node("fourth")
    assert (found.base_backup_id, found.bases) == ("third", frozenset({"full", "second", "third"}))
    by_name = collections_of(found)
    assert {name: {ref.backup_id for s in c.shards for ref in s.references} for name, c in by_name.items()} == {
        "Article": {"full", "second", "third"},
        "Author": {"full"},  # although the base is the third
        "Photo": {"full"},
        "Product": {"full", "third"},
    }
    # Each repeats what the ancestor says of the file.
    for collection in found.collections:
        for shard in collection.shards:
            for reference in shard.references:
                there = collections_of(tree("chain-1.39.2").node(reference.backup_id))[collection.name]
                assert reference.file not in shard.files
                assert shards_of(there)[shard.name].big_files[reference.file].chunk_keys == reference.chunk_keys


def test_file_in_several_chunks() -> None:
    photo = collections_of(tree("zstd-1.39.2").node("second"))["Photo"]
    (big,) = photo.shards[0].big_files.values()
    assert (len(big.chunk_keys), big.size_bytes > 4 * 2**20) == (3, True)
    assert {int(key.removeprefix("Photo/chunk-")) for key in big.chunk_keys} <= set(photo.chunks)


def test_collection_that_the_leader_has_nothing_of() -> None:
    author = collections_of(tree("three-nodes-1.39.2").node("full", "w1"))["Author"]
    assert (author.shards, dict(author.chunks), author.pre_compression_bytes) == ((), {}, 0)
    assert author.schema is not None


def test_users_and_roles() -> None:
    chosen, whole = (tree("users-roles-1.39.2").node(name) for name in ("chosen", "whole"))
    assert (chosen.users, chosen.roles) == (("alice",), ("reader",))
    assert whole.users == ("alice", "bob")
    assert {"reader", "curator", "admin", "viewer"} <= set(whole.roles)
    without = tree("chain-1.39.2").node("full")
    assert (without.users, without.roles) == ((), ())


@pytest.mark.parametrize("snapshot", [None, 5, [], "x", {"Data": 5}, {"Data": {"SecureKeyStorageById": [1]}}])
def test_users_as_no_server_writes_them_yet(snapshot: Any) -> None:
    assert parse_node(KEY, node(userBackups=encoded(snapshot))).users == ()


@pytest.mark.parametrize("policies", [None, 5, {"a": 1}, "x", [5, [], None]])
def test_roles_as_no_server_writes_them_yet(policies: Any) -> None:
    assert parse_node(KEY, node(rbacBackups=encoded({"roles_policies": policies}))).roles == ()


@pytest.mark.parametrize("backup_id", ["failed", "canceled"])
def test_parts_that_did_not_end_well(backup_id: str) -> None:
    found = tree("ended-otherwise-1.39.2").node(backup_id)
    assert (found.status, bool(found.error)) == (Status(backup_id.upper()), True)
    assert sorted(collections_of(found)) == ([] if backup_id == "failed" else ["Product"])


def test_part_that_is_full_of_a_backup_that_is_not() -> None:
    found = parse_node(KEY, node(baseBackupId=None, shard={"incrementalBackupInfo": {}}))
    assert (found.base_backup_id, found.bases) == (None, frozenset())


def test_base_of_itself_is_none() -> None:
    found = parse_node(KEY, node(baseBackupId="x1", shard={"incrementalBackupInfo": None}))
    assert found.bases == frozenset()


SHARD = "classes[0].shards[0]."
REFERENCES = f"{SHARD}incrementalBackupInfo.filesPerBackup."


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"classes": {}}, "classes is not a list"),
        ({"classes": [5]}, "classes[0] is not an object"),
        ({"collection": {"name": None}}, "classes[0].name is missing"),
        ({"collection": {"shards": "s1"}}, "classes[0].shards is not a list"),
        ({"collection": {"chunks": []}}, "classes[0].chunks is not an object"),
        ({"collection": {"chunks": {"1": "s1"}}}, "classes[0].chunks.1 is not a list"),
        ({"collection": {"chunks": {"1": [{}]}}}, "classes[0].chunks.1 is not a list of texts"),
        ({"collection": {"chunks": {"-1": []}}}, "classes[0].chunks has '-1' where a chunk's number belongs"),
        ({"collection": {"chunks": {"9" * 5000: []}}}, "classes[0].chunks has '999"),
        ({"collection": {"schema": "{}"}}, "classes[0].schema is not base64 of JSON"),
        ({"collection": {"schema": "bm8="}}, "classes[0].schema is not base64 of JSON"),
        ({"collection": {"schema": "ö"}}, "classes[0].schema is not base64 of JSON"),
        ({"collection": {"schema": encoded([])}}, "classes[0].schema is not an object"),
        ({"collection": {"schema": encoded({})}}, "classes[0].schema.class is missing"),
        (
            {"collection": {"shardingState": encoded({"physical": {"s1": 5}})}},
            "classes[0].shardingState.physical.s1 is",
        ),
        ({"collection": {"aliases": encoded([{"class": "Article"}])}}, "classes[0].aliases.list[0].alias is missing"),
        ({"shard": {"name": ""}}, f"{SHARD}name is missing"),
        ({"shard": {"files": [None]}}, f"{SHARD}files is not a list of texts"),
        ({"shard": {"bigFilesChunk": {"a": 5}}}, f"{SHARD}bigFilesChunk.a is not an object"),
        ({"shard": {"bigFilesChunk": {"a": {"size": "9"}}}}, f"{SHARD}bigFilesChunk.a.size is not a whole number"),
        ({"shard": {"incrementalBackupInfo": 0}}, f"{SHARD}incrementalBackupInfo is not an object"),
        ({"shard": {"incrementalBackupInfo": {"filesPerBackup": []}}}, f"{REFERENCES[:-1]} is not an object"),
        ({"shard": {"incrementalBackupInfo": {"filesPerBackup": {"x0": {}}}}}, f"{REFERENCES}x0 is not a list"),
        ({"shard": {"incrementalBackupInfo": {"filesPerBackup": {"x0": [{}]}}}}, f"{REFERENCES}x0[0].file is missing"),
    ],
)
def test_field_that_is_not_as_it_must_be(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(BrokenDescriptor) as caught:
        parse_node(KEY, node(**fields))
    assert str(caught.value).startswith(f"The descriptor {KEY} can't be read: {place}")


@pytest.mark.parametrize("name", ["..", "../x2/w1", "/etc/passwd", "a//b", "a\\..\\b", "new\nline", "\x7f"])
@pytest.mark.parametrize("field", ["id", "collection", "file", "chunk", "reference", "referred chunk", "base"])
def test_names_that_lead_outside(field: str, name: str) -> None:
    reference = {"file": "article/s1/old.db", "chunkKeys": ["Article/chunk-7"]}
    other: dict[str, dict[str, Any]] = {
        "id": {"id": name},
        "base": {"baseBackupId": name},
        "collection": {"collection": {"name": name}},
        "file": {"shard": {"files": ["article/s1/small.db", name]}},
        "chunk": {"shard": {"bigFilesChunk": {"article/s1/big.db": {"chunkKeys": [name], "size": 9}}}},
        "reference": {"shard": {"incrementalBackupInfo": {"filesPerBackup": {name: [reference]}}}},
        "referred chunk": {
            "shard": {"incrementalBackupInfo": {"filesPerBackup": {"x0": [reference | {"chunkKeys": [name]}]}}}
        },
    }
    with pytest.raises(BrokenDescriptor, match=r"x1/w1/backup\.json can't be read: .* leads outside the backup"):
        parse_node(KEY, node(**other[field]))


def test_later_major_version() -> None:
    with pytest.raises(BrokenDescriptor, match=r"'3\.0', which this package does not know\. Update"):
        parse_node(KEY, node(version="3.0"))


@given(extended(node_descriptors()))
def test_fields_of_later_servers_are_no_matter(contents: tuple[bytes, bytes]) -> None:
    before, after = contents
    assert parse_node(KEY, after) == parse_node(KEY, before)


@given(replaced(node_descriptors()))
def test_whatever_stands_in_it_is_read_or_refused(content: bytes) -> None:
    _read_or_refused(content)


@given(st.sampled_from(["schema", "shardingState", "aliases"]), json_values)
def test_whatever_stands_in_what_is_encoded(field: str, value: Any) -> None:
    _read_or_refused(node(collection={field: encoded(value)}))


@given(json_values, json_values)
def test_whatever_stands_in_users_and_roles(users: Any, roles: Any) -> None:
    parse_node(KEY, node(userBackups=encoded({"Data": users}), rbacBackups=encoded({"roles_policies": roles})))


def _read_or_refused(content: bytes) -> None:
    try:
        parse_node(KEY, content)
    except BrokenDescriptor as error:
        assert KEY in str(error)  # noqa: PT017 - it need not be raised
