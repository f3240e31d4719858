"""Backups for ``benchmarks.copy``: descriptors as Weaviate 1.39.2 writes them, and chunks of random bytes.

A collection of one node has as many tenants as there are chunks, each of them in a chunk of its own.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from airflow_provider_vectorbackup.transfer.threads import in_threads

MIB = 2**20
PART_BYTES = 16 * MIB
"""Of Weaviate's uploads to S3."""

NODE, COLLECTION = "n1", "Article"

Write = Callable[[str, Iterable[bytes]], None]
"""Takes a key, and the content by parts of PART_BYTES."""

_ZSTD_HEAD = bytes.fromhex("28b52ffd0468")
_NUMBER_BYTES = 8
_HOLDS_BYTES = MIB
"""What a tenant's files had before they were packed; the server's own figure, which nothing here checks."""

_BEGUN, _ENDED, _NEVER = "2026-01-10T01:41:48.038287342Z", "2026-01-10T01:41:50.041226818Z", "0001-01-01T00:00:00Z"
_VERSIONS = {"version": "2.1", "serverVersion": "1.39.2", "error": "", "status": "SUCCESS"}


@dataclass(frozen=True, slots=True)
class Shape:
    """A backup's id, the number of its chunks, and the size of each."""

    backup_id: str
    chunks: int
    chunk_bytes: int

    @property
    def chunk_keys(self) -> list[str]:
        return [f"{self.backup_id}/{NODE}/{COLLECTION}/chunk-{number}" for number in range(1, self.chunks + 1)]

    @property
    def descriptors(self) -> dict[str, bytes]:
        """By key; the one that makes the backup visible is the last."""
        return {
            f"{self.backup_id}/{NODE}/backup.json": _packed(self._of_node()),
            f"{self.backup_id}/backup_config.json": _packed(self._of_coordinator()),
        }

    @property
    def sizes(self) -> dict[str, int]:
        """Of all objects, by key."""
        descriptors = {key: len(content) for key, content in self.descriptors.items()}
        return dict.fromkeys(self.chunk_keys, self.chunk_bytes) | descriptors

    def _of_coordinator(self) -> dict[str, Any]:
        held_bytes = self.chunks * _HOLDS_BYTES
        share = {"classes": [COLLECTION], "status": "SUCCESS", "error": "", "preCompressionSizeBytes": held_bytes}
        return {
            "startedAt": _BEGUN,
            "completedAt": _ENDED,
            "id": self.backup_id,
            "nodes": {NODE: share},
            "node_mapping": None,
            **_VERSIONS,
            "leader": NODE,
            "preCompressionSizeBytes": held_bytes,
            "compressionType": "zstd",
            "baseBackupId": "",
        }

    def _of_node(self) -> dict[str, Any]:
        return {
            "startedAt": _BEGUN,
            "completedAt": _NEVER,
            "id": self.backup_id,
            "classes": [self._of_collection()],
            "rbacBackups": None,
            "userBackups": None,
            **_VERSIONS,
            "preCompressionSizeBytes": self.chunks * _HOLDS_BYTES,
            "compressionType": "zstd",
        }

    def _of_collection(self) -> dict[str, Any]:
        tenants = {str(number): f"tenant-{number}" for number in range(1, self.chunks + 1)}
        return {
            "name": COLLECTION,
            "backupId": self.backup_id,
            "shards": [_shard(tenant) for tenant in tenants.values()],
            "shardingState": _encoded(_sharding([*tenants.values()])),
            "schema": _encoded(_schema()),
            "aliases": _encoded([]),
            "aliasesIncluded": True,
            "chunks": {number: [tenant] for number, tenant in tenants.items()},
            "preCompressionSizeBytes": self.chunks * _HOLDS_BYTES,
        }


def write_backup(shape: Shape, write_chunk: Write, write_descriptor: Write) -> None:
    """Write a backup, by functions that write one object each."""
    block = random.Random(shape.backup_id).randbytes(min(shape.chunk_bytes, PART_BYTES))

    def write(numbered: tuple[int, str]) -> None:
        number, key = numbered
        write_chunk(key, _pieces(block, number, shape.chunk_bytes))

    for _ in in_threads(write, enumerate(shape.chunk_keys), threads=4):
        pass
    for key, content in shape.descriptors.items():
        write_descriptor(key, [content])


def _pieces(block: bytes, number: int, size_bytes: int) -> Iterator[bytes]:
    """Yield a chunk by parts: no two have the same bytes, and none is made of random numbers of its own."""
    for start in range(0, size_bytes, PART_BYTES):
        head = _ZSTD_HEAD + (number * size_bytes + start).to_bytes(_NUMBER_BYTES, "big")
        yield (head + block[len(head) :])[: size_bytes - start]


def _shard(tenant: str) -> dict[str, Any]:
    files = ("objects/segment-1795398107630209342.wal", "property__id/segment-1795398107630093866.wal")
    paths = [f"{COLLECTION.lower()}/{tenant}/lsm/{file}" for file in files]
    return {"name": tenant, "node": NODE, "files": paths, "incrementalBackupInfo": {}}


def _sharding(tenants: list[str]) -> dict[str, Any]:
    physical = {
        tenant: {"name": tenant, "ownsPercentage": 0, "belongsToNodes": [NODE], "status": "HOT"} for tenant in tenants
    }
    return {
        "indexID": COLLECTION,
        "config": {},
        "physical": physical,
        "virtual": [],
        "partitioningEnabled": True,
        "replicationFactor": 1,
    }


def _schema() -> dict[str, Any]:
    return {
        "class": COLLECTION,
        "multiTenancyConfig": {"enabled": True},
        "properties": [{"dataType": ["text"], "name": "title", "tokenization": "word"}],
        "replicationConfig": {"factor": 1},
        "vectorIndexType": "flat",
        "vectorizer": "none",
    }


def _packed(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encoded(value: Any) -> str:
    return base64.b64encode(_packed(value)).decode()
