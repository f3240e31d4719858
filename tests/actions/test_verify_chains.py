"""What is wrong around a backup: with its bases, with what lies beside it, and with our own manifest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.verification import Finding, Level
from airflow_provider_vectorbackup.transfer.manifest import Manifest, ManifestEntry, manifest_key
from tests.actions.damage import (
    GLOBAL,
    NODE,
    Tree,
    Trees,
    anywhere,
    damaged,
    draw_tree,
    in_each_chain,
    in_each_group,
    keys_of,
    many,
    shows_change,
    some,
)

both_levels = pytest.mark.parametrize("level", Level)


@pytest.fixture
def chain(trees: Trees) -> Any:
    with trees["chain-1.39.2"].undone():
        yield trees["chain-1.39.2"]


def _draw_reference(data: st.DataObject, tree: Tree) -> tuple[str, str]:
    """Draw a backup, and the key of a chunk in an ancestor that it refers to."""
    assume(tree.references)
    drawn: tuple[str, str] = data.draw(st.sampled_from(tree.references))
    return drawn


@in_each_chain
@some
@anywhere
def test_base_that_is_gone(trees: Trees, group: str, data: st.DataObject) -> None:
    """Wholly, or only its descriptor, which the server wants before a restore even of what refers to nothing in it."""
    tree = draw_tree(data, trees, group)
    *bases, _ = tree.chain(tree.tip)
    assume(bases)
    base = data.draw(st.sampled_from(bases))
    keys = data.draw(st.sampled_from([tree.keys(base), [f"{base}/{GLOBAL}"]]))
    with tree.undone():
        tree.delete(*keys)
        for level in Level:
            found = tree.verify(tree.tip, level)
            assert f"{base}/{GLOBAL}" in keys_of(found.damage)
            assert base in found.chain


@in_each_chain
@many
@anywhere
def test_missing_chunk_of_an_ancestor(trees: Trees, group: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    backup_id, key = _draw_reference(data, tree)
    with tree.undone():
        tree.delete(key)
        for level in Level:
            assert key in damaged(tree, backup_id, level)


@in_each_chain
@some
@anywhere
def test_missing_chunk_that_only_a_reference_names(trees: Trees, group: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    backup_id, key = _draw_reference(data, tree)
    descriptor = f"{'/'.join(key.split('/')[:2])}/{NODE}"
    with tree.undone():
        tree.delete(key, descriptor)
        for level in Level:
            assert {key, descriptor} <= damaged(tree, backup_id, level)


@in_each_chain
@many
@anywhere
def test_damaged_chunk_of_an_ancestor(trees: Trees, group: str, data: st.DataObject) -> None:
    tree = draw_tree(data, trees, group)
    backup_id, key = _draw_reference(data, tree)
    (codec,) = (chunk.codec for chunk in tree.chunks if chunk.key == key)
    content = tree.read(key)
    at = data.draw(st.integers(0, len(content) - 1))
    changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    with tree.undone():
        tree.write(key, changed)
        assert key in damaged(tree, backup_id) or not shows_change(codec, content, changed)
        tree.write_manifests()
        assert key in damaged(tree, backup_id)


@pytest.mark.parametrize("other", ["workers-1.39.2", "pair-1.37.0", "zstd-1.39.2"])
@both_levels
def test_base_that_was_made_anew(trees: Trees, chain: Tree, other: str, level: Level) -> None:
    """Under the same id, after the first one was deleted. A server of 1.37.0 would restore from it all the same."""
    _replace(chain, "full", trees[other])
    with chain.edited(f"full/{GLOBAL}") as descriptor:
        descriptor["startedAt"] = "2031-01-01T00:00:00Z"
    assert Finding(f"full/{GLOBAL}", "did not start before fourth") in chain.verify("fourth", level).damage


@pytest.mark.parametrize("other", ["workers-1.39.2", "pair-1.37.0"])
def test_base_of_other_content(trees: Trees, chain: Tree, other: str) -> None:
    """With the time of the first one: then its chunks tell."""
    started_at = chain.backups["full"]["startedAt"]
    _replace(chain, "full", trees[other])
    with chain.edited(f"full/{GLOBAL}") as descriptor:
        descriptor["startedAt"] = started_at
    found = [str(finding) for finding in chain.verify("fourth").damage]
    assert [line for line in found if line.startswith("full/w1/Article/chunk-") and "does not hold article/" in line]


def _replace(tree: Tree, backup_id: str, other: Tree) -> None:
    """Put the backup of this id of another tree in place."""
    tree.delete(*tree.keys(backup_id))
    for key in other.keys(backup_id):
        tree.write(key, other.read(key))


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("full", {"status": "STARTED"}, "is STARTED"),
        ("second", {"compressionType": "zstd"}, "is compressed by zstd, and third by gzip"),
        ("third", {"startedAt": "2031-01-01T00:00:00Z"}, "did not start before fourth"),
        ("second", {"startedAt": "0001-01-01T00:00:00Z"}, "did not start before third"),
    ],
)
@both_levels
def test_base_that_a_server_would_refuse(
    chain: Tree, name: str, change: dict[str, str], problem: str, level: Level
) -> None:
    with chain.edited(f"{name}/{GLOBAL}") as descriptor:
        descriptor.update(change)
    assert Finding(f"{name}/{GLOBAL}", problem) in chain.verify("fourth", level).damage


@both_levels
def test_chain_that_bites_its_tail(chain: Tree, level: Level) -> None:
    with chain.edited(f"full/{GLOBAL}") as descriptor:
        descriptor["baseBackupId"] = "fourth"
    found = chain.verify("fourth", level)
    assert Finding(f"fourth/{GLOBAL}", "did not start before full") in found.damage
    assert sorted(found.chain) == ["fourth", "full", "second", "third"]


@both_levels
def test_restore_that_swallows_all_others(chain: Tree, level: Level) -> None:
    """Trap 4: with CANCELLING in the state of the last restore, a server answers 200 and does nothing."""
    key = "second/restore_config.json"
    for status in ("SUCCESS", "CANCELED", "FAILED", "TRANSFERRING"):
        chain.write(key, json.dumps({"id": "second", "status": status}).encode())
        assert chain.verify("second", level).damage == ()
    chain.write(key, json.dumps({"id": "second", "status": "CANCELLING"}).encode())
    (found,) = chain.verify("second", level).damage
    assert found.key == key
    assert "accept every restore and do nothing; delete it" in found.problem
    chain.write(key, b'{"id": ')
    (warning,) = chain.verify("second", level).warnings
    assert str(warning).startswith(f"{key} can't be read")


@in_each_group
@both_levels
@some
@anywhere
def test_objects_of_others(trees: Trees, group: str, level: Level, data: st.DataObject) -> None:
    """What no descriptor names is odd and no harm; what Weaviate's crashes and we leave there is not even odd."""
    tree = draw_tree(data, trees, group)
    node = data.draw(st.sampled_from([key for key in tree.nodes if key.startswith(f"{tree.tip}/")])).removesuffix(NODE)
    foreign = data.draw(
        st.sets(st.sampled_from(["README", f"{tree.tip}/x", f"{node}Article/chunk-99", f"{node}x/y", "other/chunk-1"]))
    )
    ours = [f"{tree.tip}/_vectorbackup/{name}" for name in ("verify-deep.json", "journal/1", "content.json.gz")]
    left = [f"{tree.tip}/access-check", f"{node}access-check-host-1", f"{node}Article/chunk-1.tmp"]
    with tree.undone():
        before = tree.verify(tree.tip, level)
        for key in (*foreign, *ours, *left):
            tree.write(key, b"whatever")
        report = tree.verify(tree.tip, level)
    assert report.damage == ()
    new = set(report.warnings) - set(before.warnings)
    assert new == {Finding(key, "is in no descriptor") for key in foreign if key.startswith(f"{tree.tip}/")}
    assert (report.objects, report.stored_bytes) == (before.objects, before.stored_bytes)


class TestManifest:
    KEY = manifest_key("second")
    CHUNK = "second/w1/Article/chunk-1"

    @both_levels
    def test_right_one(self, chain: Tree, level: Level) -> None:
        chain.write_manifests()
        report = chain.verify("fourth", level)
        assert (report.damage, report.warnings) == ((), ())

    @both_levels
    def test_wrong_size(self, chain: Tree, level: Level) -> None:
        size = len(chain.read(self.CHUNK))
        self._write(chain, ManifestEntry(size + 1))
        (found,) = chain.verify("second", level).damage
        assert str(found) == f"{self.CHUNK} has {size} bytes, not {size + 1} as in the manifest"

    @both_levels
    def test_object_that_is_not_there(self, chain: Tree, level: Level) -> None:
        """Also one that no descriptor names: it was there when the manifest was written."""
        chain.write(self.KEY, Manifest({"w1/Article/chunk-77": ManifestEntry(5)}).to_json())
        (found,) = chain.verify("second", level).damage
        assert str(found) == "second/w1/Article/chunk-77 is in the manifest, and not there"

    def test_other_sum(self, chain: Tree) -> None:
        self._write(chain, ManifestEntry(len(chain.read(self.CHUNK)), ("0" * 64,)))
        (found,) = chain.verify("second").damage
        assert str(found) == f"{self.CHUNK} has another SHA-256 than in the manifest"

    @both_levels
    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"{", "can't be read"),
            (b"[]", "can't be read"),
            (b'{"version": 2, "objects": {}}', "of version 2, not 1"),
            (b'{"version": 1}', "can't be read"),
            (b'{"version": 1, "objects": {"x": {"size": "5"}}}', "can't be read"),
        ],
    )
    def test_unreadable_one(self, chain: Tree, level: Level, content: bytes, told: str) -> None:
        chain.write(self.KEY, content)
        (found,) = chain.verify("second", level).damage
        assert found.key == self.KEY
        assert told in found.problem

    def test_without_compression_it_is_the_only_check(self, trees: Trees) -> None:
        tree = trees["none-1.39.2"]
        with tree.undone():
            assert tree.verify("second").unchecked.startswith("65 of the objects have no checksum")
            tree.write_manifests()
            assert tree.verify("second").unchecked == ""

    def _write(self, tree: Tree, entry: ManifestEntry) -> None:
        tree.write(self.KEY, Manifest({self.CHUNK.removeprefix("second/"): entry}).to_json())
