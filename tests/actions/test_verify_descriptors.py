"""Damaged descriptors, of backups that real servers wrote: each fault is found, and what is damaged is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.verification import Level
from tests.actions.damage import (
    GLOBAL,
    NODE,
    Chunk,
    Tree,
    Trees,
    anywhere,
    damaged,
    draw_chunk,
    draw_tree,
    in_each_chain,
    in_each_group,
    keys_of,
    some,
)


@in_each_group
@some
@anywhere
def test_missing_descriptor(trees: Trees, group: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    key = data.draw(st.sampled_from(_descriptors(tree, *tree.chain(tree.tip))))
    with tree.undone():
        tree.delete(key)
        for level in Level:
            assert key in damaged(tree, tree.tip, level)


def _descriptors(tree: Tree, *backups: str) -> list[str]:
    return [key for name in backups for key in tree.keys(name) if key.endswith((f"/{GLOBAL}", f"/{NODE}"))]


@in_each_group
@some
@anywhere
def test_descriptor_that_is_no_json(trees: Trees, group: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    key = data.draw(st.sampled_from(_descriptors(tree, *tree.chain(tree.tip))))
    content = tree.read(key)
    length = data.draw(st.integers(0, len(content.rstrip()) - 1), label="length")
    broken = data.draw(st.sampled_from([content[:length], content[:length] + b"\xff" + content[length:], b"[]", b"{}"]))
    with tree.undone():
        tree.write(key, broken)
        for level in Level:
            assert key in damaged(tree, tree.tip, level)


@in_each_group
@pytest.mark.parametrize("name", [GLOBAL, NODE])
@some
@anywhere
def test_descriptor_of_another_backup(trees: Trees, group: str, name: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    assume(len(tree.backups) > 1)
    victim, other = data.draw(st.permutations(list(tree.backups)))[:2]
    key = data.draw(st.sampled_from([key for key in _descriptors(tree, victim) if key.endswith(f"/{name}")]))
    source = key.replace(victim, other, 1)
    with tree.undone():
        tree.write(key, tree.read(source))
        for level in Level:
            assert key in damaged(tree, victim, level)


@some
@anywhere
def test_descriptor_of_another_node(trees: Trees, data: st.DataObject) -> None:
    tree = trees["three-nodes-1.39.2"]
    backup_id = data.draw(st.sampled_from(list(tree.backups)))
    victim, other = data.draw(st.permutations(["w1", "w2", "w3"]))[:2]
    key = f"{backup_id}/{victim}/{NODE}"
    with tree.undone():
        tree.write(key, tree.read(f"{backup_id}/{other}/{NODE}"))
        for level in Level:
            assert key in damaged(tree, backup_id, level)


@in_each_group
@pytest.mark.parametrize(
    "change", [{"status": "FAILED"}, {"status": "NEW"}, {"error": "disk full"}, {"version": "3.0"}]
)
@some
@anywhere
def test_descriptor_that_does_not_say_success(
    trees: Trees, group: str, change: dict[str, str], data: st.DataObject
) -> None:
    tree = draw_tree(data, trees, group)
    key = data.draw(st.sampled_from(_descriptors(tree, *tree.chain(tree.tip))))
    with tree.undone():
        with tree.edited(key) as descriptor:
            descriptor.update(change)
        for level in Level:
            assert key in damaged(tree, tree.tip, level)


@in_each_group
@some
@anywhere
def test_chunk_that_the_descriptor_forgot(trees: Trees, group: str, data: st.DataObject) -> None:
    tree, chunk = draw_chunk(data, trees, group)
    assume(chunk.codec)
    key, name, number = _place(chunk)
    with tree.undone():
        with tree.edited(key) as descriptor:
            del _collection(descriptor, name)["chunks"][number]
        assert {found for found in damaged(tree, chunk.backup_id) if found == key or found.startswith(chunk.folder)}
        assert chunk.key in keys_of(tree.verify(chunk.backup_id, Level.QUICK).warnings)


def _place(chunk: Chunk) -> tuple[str, str, str]:
    """Return the key of the node's descriptor that names a chunk, and there the collection and the number."""
    backup_id, node, name, number = chunk.key.split("/")
    return f"{backup_id}/{node}/{NODE}", name, number.removeprefix("chunk-")


def _collection(descriptor: Any, name: str) -> Any:
    (found,) = (collection for collection in descriptor["classes"] if collection["name"] == name)
    return found


def _draw_collection(data: st.DataObject, tree: Tree) -> tuple[str, Any]:
    """Draw a collection with shards; return the key of its node's descriptor too."""
    entries = [(key, entry) for key, node in tree.nodes.items() for entry in node["classes"] if entry["shards"]]
    drawn: tuple[str, Any] = data.draw(st.sampled_from(entries))
    return drawn


def _draw_shard(data: st.DataObject, tree: Tree) -> tuple[str, str, Any]:
    """Draw a shard with files of its own; return the key of its node's descriptor and the collection's name too."""
    entries = [
        (key, entry["name"], shard)
        for key, node in tree.nodes.items()
        for entry in node["classes"]
        for shard in entry["shards"] or ()
        if shard["files"]
    ]
    drawn: tuple[str, str, Any] = data.draw(st.sampled_from(entries))
    return drawn


@in_each_group
@some
@anywhere
def test_collection_without_its_shards(trees: Trees, group: str, data: st.DataObject) -> None:
    """A restore would make it, empty, and say SUCCESS."""
    tree = draw_tree(data, trees, group)
    key, entry = _draw_collection(data, tree)
    with tree.undone():
        with tree.edited(key) as descriptor:
            _collection(descriptor, entry["name"])["shards"] = data.draw(st.sampled_from([[], None]))
        for level in Level:
            assert key in damaged(tree, key.split("/")[0], level)


@in_each_chain
@some
@anywhere
def test_collection_without_its_shards_and_chunks(trees: Trees, group: str, data: st.DataObject) -> None:
    """Of tenants it can't be known how many a backup should have: the sum of bytes tells."""
    tree = draw_tree(data, trees, group)
    key, entry = _draw_collection(data, tree)
    with tree.undone():
        with tree.edited(key) as descriptor:
            _collection(descriptor, entry["name"]).update(shards=[], chunks={})
        assert damaged(tree, key.split("/")[0]) & {key, f"{key.removesuffix(NODE)}{entry['name']}/"}


@in_each_group
@some
@anywhere
def test_file_that_the_descriptor_forgot(trees: Trees, group: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    key, name, shard = _draw_shard(data, tree)
    file = data.draw(st.sampled_from(shard["files"]))
    with tree.undone():
        with tree.edited(key) as descriptor:
            (entry,) = (one for one in _collection(descriptor, name)["shards"] if one["name"] == shard["name"])
            entry["files"].remove(file)
        folder, report = key.removesuffix(NODE), tree.verify(key.split("/")[0])
        if tree.nodes[key]["version"].startswith("1."):  # as any other object that no descriptor names
            assert f"{folder}{file}" in keys_of(report.warnings)
        else:
            assert [found for found in report.damage if found.key.startswith(f"{folder}{name}/") and file in str(found)]


@in_each_group
@some
@anywhere
def test_file_that_is_nowhere(trees: Trees, group: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    key, name, shard = _draw_shard(data, tree)
    file = f"{name.lower()}/{shard['name']}/lsm/objects/segment-1.db"
    with tree.undone():
        with tree.edited(key) as descriptor:
            (entry,) = (one for one in _collection(descriptor, name)["shards"] if one["name"] == shard["name"])
            entry["files"].append(file)
        folder, report = key.removesuffix(NODE), tree.verify(key.split("/")[0])
        assert [found for found in report.damage if found.key.startswith(folder) and file in str(found)]


@in_each_chain
@some
@anywhere
def test_size_of_a_file_that_is_another(trees: Trees, group: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    named = [chunk for chunk in tree.chunks if chunk.is_named]
    chunk = data.draw(st.sampled_from(named))
    key, name, number = _place(chunk)
    with tree.undone():
        with tree.edited(key) as descriptor:
            shards = _collection(descriptor, name)["shards"]
            files = [item for shard in shards for item in shard.get("bigFilesChunk", {}).items()]
            ((file, entry),) = (item for item in files if f"{name}/chunk-{number}" in item[1]["chunkKeys"])
            entry["size"] = data.draw(st.integers(0, 2 * entry["size"]).filter(lambda size: size != entry["size"]))
            last = entry["chunkKeys"][-1]
        report = tree.verify(chunk.backup_id)
        assert f"{key.removesuffix(NODE)}{last} ends {file} after" in "\n".join(map(str, report.damage))


@in_each_chain
@some
@anywhere
def test_sum_of_bytes_that_is_another(trees: Trees, group: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    backup_id = data.draw(st.sampled_from(list(tree.backups)))
    key = data.draw(st.sampled_from(_descriptors(tree, backup_id)))
    with tree.undone():
        with tree.edited(key) as descriptor:
            inner = [*descriptor.get("classes", ()), *descriptor.get("nodes", {}).values()]
            data.draw(st.sampled_from([descriptor, *inner]))["preCompressionSizeBytes"] += 1
        for level in Level:
            assert damaged(tree, backup_id, level) & set(_descriptors(tree, backup_id))
