"""Damaged chunks, at random places in backups that real servers wrote: all are found, and the chunk is named.

More examples: run with a profile of Hypothesis whose `max_examples` is higher.
"""

from __future__ import annotations

import pytest
from hypothesis import assume
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.codecs import Codec, is_plausible
from airflow_provider_vectorbackup.backups.verification import Level
from tests.actions.damage import (
    GROUPS,
    Trees,
    anywhere,
    damaged,
    draw_chunk,
    draw_tree,
    in_each_group,
    keys_of,
    many,
    shows_change,
    shows_swap,
)
from tests.trees import NAMES


def test_every_tree_takes_part() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(NAMES)


@in_each_group
@many
@anywhere
def test_missing_chunk(trees: Trees, group: str, data: st.DataObject) -> None:
    tree, chunk = draw_chunk(data, trees, group)
    with tree.undone():
        tree.delete(chunk.key)
        for level in Level:
            assert chunk.key in damaged(tree, chunk.backup_id, level)


@in_each_group
@many
@anywhere
def test_truncated_chunk(trees: Trees, group: str, data: st.DataObject) -> None:
    tree, chunk = draw_chunk(data, trees, group)
    content = tree.read(chunk.key)
    assume(content)
    length = data.draw(st.integers(0, len(content) - 1) | st.just(0), label="length")
    with tree.undone():
        tree.write(chunk.key, content[:length])
        report = tree.verify(chunk.backup_id)
        if not chunk.codec:  # layout 1.0 tells no sizes
            assert "have no checksum" in report.unchecked
            return
        assert chunk.key in keys_of(report.damage)
        if not is_plausible(Codec(chunk.codec), length):
            assert chunk.key in damaged(tree, chunk.backup_id, Level.QUICK)


@pytest.mark.parametrize(("codec", "least"), [("gzip", 20), ("zstd", 9), ("none", 1024)])
def test_chunk_too_short_for_an_archive_is_seen_in_the_listing(trees: Trees, codec: str, least: int) -> None:
    tree = trees[{"gzip": "pair-1.37.0", "zstd": "zstd-1.39.2", "none": "none-1.39.2"}[codec]]
    for length in (0, least - 1):
        chunk = tree.chunks[-1]
        with tree.undone():
            tree.write(chunk.key, tree.read(chunk.key)[:length])
            (found,) = tree.verify(chunk.backup_id, Level.QUICK).damage
            assert str(found) == f"{chunk.key} can't be whole: it has {length} bytes"


@in_each_group
@many
@anywhere
def test_bytes_behind_a_chunk(trees: Trees, group: str, data: st.DataObject) -> None:
    tree, chunk = draw_chunk(data, trees, group)
    assume(chunk.codec)
    more = data.draw(st.binary(min_size=1, max_size=600) | st.sampled_from([b"\0", b"\0" * 512]), label="more")
    with tree.undone():
        tree.write(chunk.key, tree.read(chunk.key) + more)
        assert chunk.key in damaged(tree, chunk.backup_id)


@in_each_group
@many
@anywhere
def test_chunk_twice_in_one_object(trees: Trees, group: str, data: st.DataObject) -> None:
    """Decoders go on with a second stream as if it were part of the first, or leave it out."""
    tree, chunk = draw_chunk(data, trees, group)
    assume(chunk.codec)
    with tree.undone():
        tree.write(chunk.key, tree.read(chunk.key) * 2)
        assert chunk.key in damaged(tree, chunk.backup_id)


@in_each_group
@many
@anywhere
def test_flipped_bit(trees: Trees, group: str, data: st.DataObject) -> None:
    tree, chunk = draw_chunk(data, trees, group)
    content = tree.read(chunk.key)
    assume(content)
    flipped = _flip(data, content)
    with tree.undone():
        tree.write(chunk.key, flipped)
        report = tree.verify(chunk.backup_id)
        if chunk.codec and shows_change(chunk.codec, content, flipped):
            assert chunk.key in keys_of(report.damage)
        elif chunk.codec in ("", "none"):
            assert "have no checksum" in report.unchecked


def _flip(data: st.DataObject, content: bytes) -> bytes:
    """Flip a bit, mostly anywhere; the few bytes at both ends have more to say than the rest."""
    last = len(content) - 1
    ends = st.integers(0, min(20, last)) | st.integers(max(0, last - 20), last)
    at = data.draw(st.integers(0, last) | ends, label="at")
    bit = 1 << data.draw(st.integers(0, 7), label="bit")
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


@in_each_group
@pytest.mark.parametrize("scope", ["collection", "backup", "chain"])
@many
@anywhere
def test_swapped_chunks(trees: Trees, group: str, scope: str, data: st.DataObject) -> None:
    tree, one = draw_chunk(data, trees, group)
    near = {"collection": one.folder, "backup": f"{one.backup_id}/", "chain": ""}[scope]
    others = [chunk for chunk in tree.chunks if chunk != one and chunk.key.startswith(near)]
    assume(others)
    other = data.draw(st.sampled_from(others))
    with tree.undone():
        is_shown = shows_swap(tree, one, other)
        tree.swap(one.key, other.key)
        found = {key for name in {one.backup_id, other.backup_id} for key in damaged(tree, name)}
        assert bool(found & {one.key, other.key, one.folder, other.folder}) is is_shown


@in_each_group
@many
@anywhere
def test_manifest_shows_every_change(trees: Trees, group: str, data: st.DataObject) -> None:
    """Flipped, cut off or exchanged: of chunks, plain files and descriptors alike, with checksums of their own or not.

    Descriptors are looked at by what they say, too: a changed one may be called damaged for that alone.
    """
    tree = draw_tree(data, trees, group)
    backup_id = data.draw(st.sampled_from(list(tree.backups)))
    key = data.draw(st.sampled_from([key for key in tree.keys(backup_id) if "restore_config" not in key]))
    content = tree.read(key)
    assume(content)
    other = tree.read(data.draw(st.sampled_from(tree.chunks)).key)
    assume(other != content)
    changed = data.draw(st.sampled_from([_flip(data, content), content[:-1], content + b"\n", other]))
    with tree.undone():
        tree.write_manifests()
        assert tree.verify(backup_id).unchecked == ""
        tree.write(key, changed)
        assert key in damaged(tree, backup_id)
        if len(changed) != len(content):
            assert key in damaged(tree, backup_id, Level.QUICK)
