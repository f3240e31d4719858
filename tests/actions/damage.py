"""Trees of backups to damage, fault by fault, and what Python's own decoders and JSON reader see in them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorbackup.actions.verify import verify_backup
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.verification import Finding, Level, Report
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.transfer.manifest import Manifest, ManifestEntry, manifest_key
from tests.trees import NAMES, unpack

GLOBAL, NODE = "backup_config.json", "backup.json"

GROUPS = {
    "chains": ("chain-1.39.2", "workers-1.39.2", "users-roles-1.39.2", "ended-otherwise-1.39.2"),
    "codecs": ("zstd-1.39.2", "none-1.39.2"),
    "three-nodes": ("three-nodes-1.39.2",),
    "pairs": ("pair-1.37.0", "pair-1.34.18"),
    "old": ("old-1.34.10", "old-1.30.22", "old-1.24.26", "old-1.20.6"),
}
INCREMENTAL = ("chains", "codecs", "three-nodes", "pairs")

in_each_group = pytest.mark.parametrize("group", GROUPS)
in_each_chain = pytest.mark.parametrize("group", INCREMENTAL)
anywhere = given(data=st.data())
_EXAMPLES = settings().max_examples
many = settings(max_examples=_EXAMPLES // 4)
some = settings(max_examples=_EXAMPLES // 8)


@dataclass(frozen=True)
class Part:
    """A file in a chunk, or a part of one; ``start`` is where in the archive its bytes begin."""

    name: str
    offset: int
    size: int
    start: int


@dataclass(frozen=True)
class Chunk:
    """An object that holds files, as the descriptors tell.

    :param codec: empty for a plain file of layout 1.0, of which nothing is known but its name.
    :param shards: whose files are in it.
    :param is_named: whether the descriptor says which file it is for.
    :param has_sums: whether the descriptor tells how many bytes the files of the collection have together.
    """

    key: str
    codec: str
    shards: tuple[str, ...] = ()
    is_named: bool = False
    has_sums: bool = False

    @property
    def backup_id(self) -> str:
        return self.key.split("/", 1)[0]

    @property
    def folder(self) -> str:
        """Of its collection's part on its node."""
        return self.key.rpartition("/")[0] + "/"


class Tree:
    """An unpacked tree. What is changed in it is put back by `undone`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.root = unpack(name, folder)
        self.location = Location.parse(f"file://{self.root}")
        self.store = FilesystemStore(self.location)
        self._before: dict[str, bytes | None] = {}
        self._manifests = dict(self._whole_manifests())

    def verify(self, backup_id: str, level: Level = Level.DEEP) -> Report:
        return verify_backup(self.store, self.location, backup_id, level, threads=2)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put back at the end whatever was changed."""
        try:
            yield
        finally:
            for key, content in self._before.items():
                if content is None:
                    self._path(key).unlink(missing_ok=True)
                else:
                    self._path(key).write_bytes(content)
            self._before.clear()

    def keys(self, backup_id: str) -> list[str]:
        folder = self.root / backup_id
        return sorted(str(path.relative_to(self.root)) for path in folder.rglob("*") if path.is_file())

    def read(self, key: str) -> bytes:
        return self._path(key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        self._remember(key)
        self._path(key).parent.mkdir(parents=True, exist_ok=True)
        self._path(key).write_bytes(content)

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._remember(key)
            self._path(key).unlink()

    def swap(self, one: str, other: str) -> None:
        first, second = self.read(one), self.read(other)
        self.write(one, second)
        self.write(other, first)

    @contextmanager
    def edited(self, key: str) -> Iterator[Any]:
        """Let a descriptor be changed."""
        descriptor = json.loads(self.read(key))
        yield descriptor
        self.write(key, json.dumps(descriptor).encode())

    def write_manifests(self) -> None:
        """Put a manifest beside each backup, with the sums of what was there before any damage."""
        for key, content in self._manifests.items():
            self.write(key, content)

    @cached_property
    def backups(self) -> dict[str, Any]:
        """Those that say SUCCESS, oldest first, and the coordinator's descriptors."""
        found = [json.loads(path.read_bytes()) for path in self.root.glob(f"*/{GLOBAL}")]
        ended_well = [told for told in found if told["status"] == "SUCCESS"]
        return {told["id"]: told for told in sorted(ended_well, key=lambda told: str(told["startedAt"]))}

    @cached_property
    def tip(self) -> str:
        """The newest backup."""
        return list(self.backups)[-1]

    def chain(self, backup_id: str) -> list[str]:
        """Return a backup after its bases."""
        base = self.backups[backup_id].get("baseBackupId")
        return [*(self.chain(base) if base else ()), backup_id]

    @cached_property
    def nodes(self) -> dict[str, Any]:
        """The keys of the nodes' descriptors, and the descriptors."""
        keys = [f"{backup_id}/{node}/{NODE}" for backup_id, told in self.backups.items() for node in told["nodes"]]
        return {key: json.loads(self.read(key)) for key in keys}

    @cached_property
    def chunks(self) -> list[Chunk]:
        """All that hold files, chunk by chunk."""
        return [chunk for key, node in self.nodes.items() for chunk in _chunks(key.removesuffix(NODE), node)]

    @cached_property
    def references(self) -> list[tuple[str, str]]:
        """Backups, and the keys of the chunks in their ancestors that they refer to."""
        found: dict[tuple[str, str], None] = {}
        for key, node in self.nodes.items():
            backup_id, name, _ = key.split("/")
            for shard in (shard for collection in node["classes"] for shard in collection["shards"] or ()):
                info = (shard.get("incrementalBackupInfo") or {}).get("filesPerBackup") or {}
                for base, files in info.items():
                    found |= {(backup_id, f"{base}/{name}/{key}"): None for file in files for key in file["chunkKeys"]}
        return list(found)

    def _whole_manifests(self) -> Iterator[tuple[str, bytes]]:
        for backup_id in self.backups:
            objects = {key.removeprefix(f"{backup_id}/"): self.read(key) for key in self.keys(backup_id)}
            sums = {key: ManifestEntry(len(c), (hashlib.sha256(c).hexdigest(),)) for key, c in objects.items()}
            yield manifest_key(backup_id), Manifest(sums).to_json()

    def _path(self, key: str) -> Path:
        return self.root / key

    def _remember(self, key: str) -> None:
        path = self._path(key)
        self._before.setdefault(key, path.read_bytes() if path.exists() else None)


def _chunks(folder: str, node: Mapping[str, Any]) -> Iterator[Chunk]:
    if node["version"].startswith("1."):
        files = (file for collection in node["classes"] for shard in collection["shards"] for file in shard["files"])
        yield from (Chunk(folder + file, "") for file in files)
        return
    for collection in node["classes"]:
        big = [entry for shard in collection["shards"] or () for entry in (shard.get("bigFilesChunk") or {}).values()]
        named = {key for entry in big for key in entry["chunkKeys"]}
        for number, shards in (collection.get("chunks") or {}).items():
            key = f"{collection['name']}/chunk-{number}"
            codec = node.get("compressionType") or "gzip"
            yield Chunk(folder + key, codec, tuple(shards), key in named, bool(collection.get("backupId")))


def decoded(codec: str, content: bytes) -> bytes | None:
    """Return what a chunk decodes to, None where it does not: wrong, cut off, or with something after its end."""
    if codec == "none":
        return content
    try:
        decoder: Any = zlib.decompressobj(wbits=31) if codec == "gzip" else zstd.ZstdDecompressor()
        output: bytes = decoder.decompress(content)
    except (zlib.error, zstd.ZstdError):
        return None
    return output if decoder.eof and not decoder.unused_data else None


@cache
def parts(codec: str, content: bytes) -> tuple[Part, ...]:
    """Return the files in a chunk that is whole."""
    archive = decoded(codec, content)
    with tarfile.open(fileobj=io.BytesIO(archive or b"")) as tar:
        return tuple(
            Part(member.name, int(member.pax_headers.get("WEAVIATE.fileOffset", 0)), member.size, member.offset_data)
            for member in tar
        )


def shows_change(codec: str, before: bytes, after: bytes) -> bool:
    """Whether something other than a checksum of one's own can tell that a chunk was changed.

    Compressed ones have a checksum: what decodes as before is as good as before. Without compression there is none,
    and the bytes of files can be anything; all other bytes of the archive are determined by their neighbours.
    """
    if codec != "none":
        return decoded(codec, after) != decoded(codec, before)
    of_files = [range(part.start, part.start + part.size) for part in parts(codec, before)]
    changed = (at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new)
    return any(not any(at in place for place in of_files) for at in changed)


def shows_swap(tree: Tree, one: Chunk, other: Chunk) -> bool:
    """Whether names and sizes of files can tell that two chunks were swapped.

    They can't where a restore would see no difference: a shard's small files are where they belong whichever of its
    chunks they come from. Nor where both hold files of the same names and sizes, with other contents; nor, below
    1.34.18, of other sizes: those servers wrote no sizes that could be compared.
    """
    contents = tree.read(one.key), tree.read(other.key)
    if not one.codec or contents[0] == contents[1]:
        return False
    is_named = one.is_named or other.is_named
    if (one.folder, one.shards) == (other.folder, other.shards) and not is_named:
        return False
    first, second = (parts(chunk.codec, content) for chunk, content in zip((one, other), contents, strict=True))
    if {(part.name, part.offset) for part in first} != {(part.name, part.offset) for part in second}:
        return True
    sizes = [sorted((part.name, part.size) for part in found) for found in (first, second)]
    sums = [sum(part.size for part in found) for found in (first, second)]
    return sizes[0] != sizes[1] and (is_named or (one.has_sums and sums[0] != sums[1]))


Trees = dict[str, Tree]


def open_trees(folder: Path) -> Trees:
    return {name: Tree(name, folder) for name in NAMES}


def draw_tree(data: st.DataObject, trees: Trees, group: str) -> Tree:
    return trees[data.draw(st.sampled_from(GROUPS[group]))]


def draw_chunk(data: st.DataObject, trees: Trees, group: str) -> tuple[Tree, Chunk]:
    tree = draw_tree(data, trees, group)
    return tree, data.draw(st.sampled_from(tree.chunks))


def keys_of(findings: Collection[Finding]) -> set[str]:
    return {finding.key for finding in findings}


def damaged(tree: Tree, backup_id: str, level: Level = Level.DEEP) -> set[str]:
    """Return the keys of what a verification calls damaged."""
    return keys_of(tree.verify(backup_id, level).damage)
