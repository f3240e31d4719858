"""Whether the files in a collection's chunks are those that the descriptors list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from airflow_provider_vectorbackup.backups.verification import Finding
from airflow_provider_vectorbackup.transfer.tar import Member
from airflow_provider_vectorbackup.weaviate.layout import chunk_name, node_folder
from airflow_provider_vectorbackup.weaviate.node_descriptors import (
    BigFile,
    NodeDescriptor,
    Reference,
    Shard,
    StoredCollection,
)

_UNLISTED = ("indexcount", "proplengths", "version")
"""The files of a shard that are in its first chunk, but in no descriptor."""

NodeOf = Callable[[str, str], NodeDescriptor | None]
"""Backup id and node -> that node's descriptor; None where it is not there or can't be read."""

Parts = Mapping[str, Member]
"""Key of a chunk -> the part of a file that it holds."""


class CollectionContents:
    """Takes what each chunk of a collection's part on a node holds, and tells what is wrong with it.

    :param node_of: finds descriptors of ancestors.
    """

    def __init__(self, backup_id: str, node: str, collection: StoredCollection, node_of: NodeOf) -> None:
        self._collection = collection
        self._node = node
        self._node_of = node_of
        self._folder = node_folder(backup_id, node)
        self._own = {self._key(chunk_name(collection, n)): names for n, names in sorted(collection.chunks.items())}
        self._keys_of: dict[str, list[str]] = {}
        for key, names in self._own.items():
            for name in names:
                self._keys_of.setdefault(name, []).append(key)
        self._references = [reference for shard in collection.shards for reference in shard.references]
        self._members: dict[str, tuple[Member, ...] | None] = dict.fromkeys(self.keys())
        self._ancestors: dict[str, Mapping[str, BigFile] | None] = {}

    def keys(self) -> Iterator[str]:
        """Yield the keys of the chunks to read: its own, and those in ancestors that its files lie in."""
        yield from self._own
        yield from dict.fromkeys(key for reference in self._references for key in self._referred(reference))

    def add(self, key: str, members: tuple[Member, ...]) -> None:
        """Take what a chunk holds. One that is missing or damaged is a finding of its own, and not added."""
        self._members[key] = members

    @property
    def unpacked_bytes(self) -> int:
        """Of the files in its own chunks."""
        return sum(member.size_bytes for key in self._own for member in self._members[key] or ())

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, once all chunks were taken."""
        places: dict[str, list[tuple[str, Member]]] = {}
        yield from self._unlisted_members(places)
        for shard in self._collection.shards:
            yield from self._shard_findings(shard, places)
        for reference in self._references:
            yield from self._reference_findings(reference)
        yield from self._sum_findings()

    def _unlisted_members(self, places: dict[str, list[tuple[str, Member]]]) -> Iterator[Finding]:
        """Yield files that are where they should not be; put down where each of the others is."""
        shard_of = {file: shard.name for shard in self._collection.shards for file in self._files(shard)}
        for key, shards in self._own.items():
            for member in self._members[key] or ():
                if shard_of.get(member.name) in shards:
                    places.setdefault(member.name, []).append((key, member))
                else:
                    yield Finding(key, f"holds {member.name}, which the descriptor does not list there")

    def _shard_findings(self, shard: Shard, places: Mapping[str, list[tuple[str, Member]]]) -> Iterator[Finding]:
        keys = self._keys_of.get(shard.name, [])
        if any(self._members[key] is None for key in keys):
            return  # what is missing is in the damaged one
        for file in self._files(shard):
            found = places.get(file, [])
            if big := shard.big_files.get(file):
                yield from self._part_findings(file, [*map(self._key, big.chunk_keys)], big.size_bytes, dict(found))
            else:
                yield from self._file_findings(file, shard, found)

    def _file_findings(self, file: str, shard: Shard, found: list[tuple[str, Member]]) -> Iterator[Finding]:
        """Yield what is wrong with a file that no chunks are named for; a large one may go on in other chunks."""
        if not found:
            key = self._keys_of.get(shard.name, [self._folder])[0]
            yield Finding(key, f"lacks {file}, as do the other chunks of shard {shard.name}")
        offset = 0
        for key, part in sorted(found, key=lambda place: place[1].offset_bytes):
            if part.offset_bytes != offset:
                yield Finding(key, f"holds {file} from byte {part.offset_bytes} on, not from {offset} on")
                return
            offset += part.size_bytes

    def _part_findings(self, file: str, keys: Sequence[str], size_bytes: int, parts: Parts) -> Iterator[Finding]:
        """Yield what is wrong with a file that chunks are named for, from its first byte to its last."""
        offset, key = 0, self._folder
        for key in keys:
            part = parts.get(key)
            if part is None or part.offset_bytes != offset:
                yield Finding(key, f"does not hold {file} from byte {offset} on")
                return
            offset += part.size_bytes
        if offset != size_bytes:
            yield Finding(key, f"ends {file} after {offset} of {size_bytes} bytes")
        for other in parts.keys() - set(keys):
            yield Finding(other, f"holds {file}, which the descriptor puts elsewhere")

    def _reference_findings(self, reference: Reference) -> Iterator[Finding]:
        """Yield what is wrong with a file that lies in an ancestor."""
        keys = self._referred(reference)
        if (files := self._files_of(reference.backup_id)) is not None:
            known = files.get(reference.file)
            if known is None or known.chunk_keys != reference.chunk_keys:
                told = f"does not hold {reference.file}, as the descriptor there says"
                yield Finding(keys[0] if keys else self._folder, told)
                return
        held = {key: self._members[key] for key in keys}
        if None not in held.values():
            size = files[reference.file].size_bytes if files is not None else self._size_of(reference)
            parts = {key: m for key, members in held.items() for m in members or () if m.name == reference.file}
            yield from self._part_findings(reference.file, keys, size, parts)

    def _sum_findings(self) -> Iterator[Finding]:
        """Yield whether the sizes of all files are not what the server counted: the check that misses no byte.

        Servers that make no incremental backups, known by the missing ``backup_id``, counted otherwise.
        """
        told = self._collection.pre_compression_bytes
        if told is None or not self._collection.backup_id or None in self._members.values():
            return
        total = self.unpacked_bytes + sum(self._size_of(reference) for reference in self._references)
        if total != told:
            yield Finding(f"{self._folder}/{self._collection.name}/", f"holds {total} bytes of files, not {told}")

    def _files_of(self, ancestor: str) -> Mapping[str, BigFile] | None:
        """Return the files that chunks are named for in an ancestor, None where its descriptor can't be read."""
        if ancestor not in self._ancestors:
            told = self._node_of(ancestor, self._node)
            same = [c for c in told.collections if c.name == self._collection.name] if told else []
            files = {file: big for c in same for shard in c.shards for file, big in shard.big_files.items()}
            self._ancestors[ancestor] = files if told else None
        return self._ancestors[ancestor]

    def _size_of(self, reference: Reference) -> int:
        """Return the size of a file that lies in an ancestor, as its chunks have it."""
        members = (m for key in self._referred(reference) for m in self._members[key] or ())
        return sum(member.size_bytes for member in members if member.name == reference.file)

    def _referred(self, reference: Reference) -> list[str]:
        folder = node_folder(reference.backup_id, self._node)
        return [f"{folder}/{name}" for name in reference.chunk_keys]

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _files(self, shard: Shard) -> Iterator[str]:
        """Yield the files of a shard that are in chunks of this backup."""
        yield from shard.files
        if self._keys_of.get(shard.name):
            yield from (f"{self._collection.name.lower()}/{shard.name}/{name}" for name in _UNLISTED)
