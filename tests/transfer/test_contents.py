"""Files that chunks hold, against those that descriptors list: by small descriptors made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.transfer.contents import CollectionContents
from airflow_provider_vectorbackup.transfer.tar import Member
from airflow_provider_vectorbackup.weaviate.node_descriptors import (
    BigFile,
    NodeDescriptor,
    Reference,
    Shard,
    StoredCollection,
)

FOLDER = "tip/w1"
S1, S2 = "article/s1", "article/s2"
SMALL = ("indexcount", "proplengths", "version")

Chunks = Mapping[int, Sequence[Member]]


def _member(name: str, size: int = 10, offset: int = 0) -> Member:
    return Member(name, size, offset)


def _shard(
    name: str, files: Sequence[str], big: Mapping[str, BigFile] | None = None, references: Sequence[Reference] = ()
) -> Shard:
    return Shard(name, "w1", tuple(files), big or {}, tuple(references))


def _big(size: int, *numbers: int) -> BigFile:
    return BigFile(tuple(f"Article/chunk-{number}" for number in numbers), size, "2026-01-01T00:00:00Z")


SMALL_OF_S1 = [_member(f"{S1}/{name}", 1) for name in SMALL]
SMALL_OF_S2 = [_member(f"{S2}/{name}", 1) for name in SMALL]
COLLECTION = StoredCollection(
    "Article",
    (
        _shard("s1", [f"{S1}/a", f"{S1}/b", f"{S1}/log"], {f"{S1}/a": _big(30, 2, 3)}),
        _shard("s2", [f"{S2}/c"]),
    ),
    {1: ("s1",), 2: ("s1",), 3: ("s1",), 4: ("s1",), 5: ("s1",), 6: ("s2",)},
    None,
    None,
    {},
    backup_id="tip",
    pre_compression_bytes=76,
)
"""The file ``log`` is split, and no chunk is named for it: it changes in place."""

CHUNKS: Chunks = {
    1: [*SMALL_OF_S1, _member(f"{S1}/b", 3)],
    2: [_member(f"{S1}/a", 20)],
    3: [_member(f"{S1}/a", 10, 20)],
    4: [_member(f"{S1}/log", 20)],
    5: [_member(f"{S1}/log", 10, 20)],
    6: [*SMALL_OF_S2, _member(f"{S2}/c", 7)],
}


def _found(chunks: Mapping[int, Sequence[Member] | None], collection: StoredCollection = COLLECTION) -> list[str]:
    """Return what is wrong with chunks; None stands for one that could not be read."""
    contents = CollectionContents("tip", "w1", collection, lambda _backup_id, _node: None)
    for number, members in chunks.items():
        if members is not None:
            contents.add(f"{FOLDER}/Article/chunk-{number}", tuple(members))
    return [str(finding) for finding in contents.findings()]


def _chunk(number: int) -> str:
    return f"{FOLDER}/Article/chunk-{number}"


def test_all_as_listed() -> None:
    assert _found(CHUNKS) == []


def test_order_of_the_chunks_does_not_matter() -> None:
    assert _found(dict(sorted(CHUNKS.items(), reverse=True))) == []


def test_small_files_may_be_in_any_chunk_of_their_shard() -> None:
    assert _found({**CHUNKS, 1: [], 4: [*CHUNKS[4], *CHUNKS[1]]}) == []


@pytest.mark.parametrize("number", CHUNKS)
def test_what_a_damaged_chunk_held_is_not_told_twice(number: int) -> None:
    """That the chunk can't be read is a finding of its own."""
    assert _found({**CHUNKS, number: None}) == []


@pytest.mark.parametrize(
    ("chunks", "told"),
    [
        ({1: [*SMALL_OF_S1]}, f"{_chunk(1)} lacks {S1}/b, as do the other chunks of shard s1"),
        ({1: [*SMALL_OF_S1[1:], CHUNKS[1][-1]]}, f"{_chunk(1)} lacks {S1}/indexcount"),
        ({1: [*CHUNKS[1], _member(f"{S1}/x", 0)]}, f"{_chunk(1)} holds {S1}/x, which the descriptor does not list"),
        ({1: [*CHUNKS[1], _member(f"{S1}/b", 3)]}, f"{_chunk(1)} holds {S1}/b from byte 0 on, not from 3 on"),
        ({1: [*CHUNKS[1], CHUNKS[6][-1]], 6: SMALL_OF_S2}, f"{_chunk(1)} holds {S2}/c, which the descriptor does not"),
        ({2: CHUNKS[3], 3: CHUNKS[2]}, f"{_chunk(2)} does not hold {S1}/a from byte 0 on"),
        ({3: []}, f"{_chunk(3)} does not hold {S1}/a from byte 20 on"),
        ({3: [_member(f"{S1}/a", 10, 19)]}, f"{_chunk(3)} does not hold {S1}/a from byte 20 on"),
        ({3: [_member(f"{S1}/a", 9, 20)]}, f"{_chunk(3)} ends {S1}/a after 29 of 30 bytes"),
        ({4: [*CHUNKS[4], CHUNKS[3][0]]}, f"{_chunk(4)} holds {S1}/a, which the descriptor puts elsewhere"),
        ({4: []}, f"{_chunk(5)} holds {S1}/log from byte 20 on, not from 0 on"),
        ({5: [_member(f"{S1}/log", 10, 21)]}, f"{_chunk(5)} holds {S1}/log from byte 21 on, not from 20 on"),
        ({5: []}, f"{FOLDER}/Article/ holds 66 bytes of files, not 76"),
        ({6: [*SMALL_OF_S2, _member(f"{S2}/c", 8)]}, f"{FOLDER}/Article/ holds 77 bytes of files, not 76"),
    ],
)
def test_what_is_found(chunks: Chunks, told: str) -> None:
    found = _found({**CHUNKS, **chunks})
    assert [line for line in found if line.startswith(told)], found


def test_servers_without_incremental_backups_counted_otherwise() -> None:
    assert _found(CHUNKS, replace(COLLECTION, backup_id="", pre_compression_bytes=5)) == []


def test_shard_without_chunks() -> None:
    """It may have all its files in ancestors; one that it lists itself must be somewhere."""
    empty = StoredCollection("Article", (_shard("s1", []),), {}, None, None, {})
    assert _found({}, empty) == []
    listed = replace(empty, shards=(_shard("s1", [f"{S1}/a"]),))
    assert _found({}, listed) == [f"{FOLDER} lacks {S1}/a, as do the other chunks of shard s1"]


def test_keys_of_own_chunks_and_of_ancestors_once_each() -> None:
    references = [Reference("base", f"{S1}/d", ("Article/chunk-9", "Article/chunk-10"))] * 2
    collection = replace(COLLECTION, shards=(*COLLECTION.shards, _shard("s3", [], references=references)))
    contents = CollectionContents("tip", "w1", collection, lambda _backup_id, _node: None)
    own = [_chunk(number) for number in range(1, 7)]
    assert list(contents.keys()) == [*own, "base/w1/Article/chunk-9", "base/w1/Article/chunk-10"]


class TestReferences:
    """A file of the tip, 25 bytes in two chunks, lies in its base."""

    FILE = f"{S1}/d"
    KEYS = ("base/w1/Article/chunk-1", "base/w1/Article/chunk-2")
    TIP = StoredCollection(
        "Article",
        (_shard("s1", [], references=[Reference("base", FILE, ("Article/chunk-1", "Article/chunk-2"))]),),
        {},
        None,
        None,
        {},
        backup_id="tip",
        pre_compression_bytes=25,
    )

    def _found(
        self, *held: tuple[Member, ...] | None, told: BigFile | None, tip: StoredCollection = TIP, readable: bool = True
    ) -> list[str]:
        """Return what is wrong, where the base's descriptor tells this of the file."""
        shard = _shard("s1", [self.FILE], {self.FILE: told} if told else {})
        there = (StoredCollection("Article", (shard,), {1: ("s1",), 2: ("s1",)}, None, None, {}, backup_id="base"),)
        base = NodeDescriptor("base", Status.SUCCESS, "2.1", "1.39.2", Codec.GZIP, there)
        contents = CollectionContents("tip", "w1", tip, lambda *of: base if readable and of == ("base", "w1") else None)
        for key, members in zip(self.KEYS, held, strict=True):
            if members is not None:
                contents.add(key, members)
        return [str(finding) for finding in contents.findings()]

    def test_all_as_listed(self) -> None:
        others = _member(f"{S1}/version", 1)
        assert self._found((others, _member(self.FILE, 20)), (_member(self.FILE, 5, 20),), told=_big(25, 1, 2)) == []

    def test_descriptor_of_the_base_that_can_not_be_read_is_told_elsewhere(self) -> None:
        held = (_member(self.FILE, 20),), (_member(self.FILE, 5, 20),)
        assert self._found(*held, told=None, readable=False) == []

    @pytest.mark.parametrize("told", [None, _big(25, 1), _big(25, 2, 1), _big(25, 1, 3)])
    def test_base_that_says_otherwise(self, told: BigFile | None) -> None:
        held = (_member(self.FILE, 20),), (_member(self.FILE, 5, 20),)
        assert self._found(*held, told=told) == [
            f"{self.KEYS[0]} does not hold {self.FILE}, as the descriptor there says"
        ]

    @pytest.mark.parametrize("held", [(None, ()), ((), None), (None, None)])
    def test_what_a_damaged_chunk_held_is_not_told_twice(self, held: tuple[tuple[Member, ...] | None, ...]) -> None:
        assert self._found(*held, told=_big(25, 1, 2)) == []

    @pytest.mark.parametrize(
        ("held", "told"),
        [
            (((), (_member(FILE, 5, 20),)), f"{KEYS[0]} does not hold {FILE} from byte 0 on"),
            (((_member(FILE, 20),), ()), f"{KEYS[1]} does not hold {FILE} from byte 20 on"),
            (((_member(FILE, 20),), (_member(FILE, 6, 20),)), f"{KEYS[1]} ends {FILE} after 26 of 25 bytes"),
        ],
    )
    def test_what_is_found(self, held: tuple[tuple[Member, ...], ...], told: str) -> None:
        assert told in self._found(*held, told=_big(25, 1, 2))

    def test_sum(self) -> None:
        """The file's size counts although it lies elsewhere."""
        held = (_member(self.FILE, 20),), (_member(self.FILE, 5, 20),)
        tip = replace(self.TIP, pre_compression_bytes=24)
        assert self._found(*held, told=_big(25, 1, 2), tip=tip) == ["tip/w1/Article/ holds 25 bytes of files, not 24"]
