"""Read every byte that a restore of a backup would read, and compare it with what the descriptors say."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from airflow_provider_vectorbackup.actions.stored_descriptors import StoredDescriptors
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.verification import Finding
from airflow_provider_vectorbackup.exceptions import ChunkDamaged, StorageError
from airflow_provider_vectorbackup.storage.store import Store, StoredObject
from airflow_provider_vectorbackup.transfer.chunks import scan_chunk
from airflow_provider_vectorbackup.transfer.contents import CollectionContents
from airflow_provider_vectorbackup.transfer.digests import PartedDigest
from airflow_provider_vectorbackup.transfer.manifest import Manifest
from airflow_provider_vectorbackup.transfer.reading import read_through
from airflow_provider_vectorbackup.transfer.tar import Member
from airflow_provider_vectorbackup.transfer.threads import in_threads
from airflow_provider_vectorbackup.weaviate.layout import own_objects

log = logging.getLogger(__name__)

_NEWS_SECONDS = 10.0
_MEGA = 10**6

_UNCHECKED = (
    "{count} of the objects have no checksum, neither of their own (NoCompression and layout 1.0 have none) nor in a "
    "manifest: names and sizes of files were compared, their contents could not be."
)


@dataclass(slots=True)
class Contents:
    """What was found in a backup's objects.

    :ivar unchecked_objects: how many have no checksum to compare their contents with.
    """

    damage: list[Finding] = field(default_factory=list)
    objects: int = 0
    read_bytes: int = 0
    unpacked_bytes: int = 0
    unchecked_objects: int = 0

    @property
    def unchecked(self) -> str:
        """Why contents could not be compared with anything, in words; empty where all were."""
        return _UNCHECKED.format(count=self.unchecked_objects) if self.unchecked_objects else ""


def read_contents(
    store: Store,
    descriptors: StoredDescriptors,
    listed: Mapping[str, StoredObject],
    manifests: Mapping[str, Manifest],
    backup_id: str,
    *,
    threads: int,
) -> Contents:
    """Read all objects of a backup, and those of its bases that its files lie in.

    :param listed: what lies in the folders of the chain; that an object is not there is told elsewhere.
    :param manifests: by backup id.
    :raises StorageUnreachable: the storage fails just now.
    """
    reader = _Reader(store, listed, manifests, threads)
    found = reader.found
    for node, descriptor in descriptors.nodes(backup_id).items():
        if not descriptor.is_chunked:
            reader.read_files(needed.key for needed in own_objects(node, descriptor))
            continue
        for collection in descriptor.collections:
            contents = CollectionContents(backup_id, node, collection, descriptors.node)
            for key, members in reader.read_chunks(contents.keys(), descriptor.codec):
                contents.add(key, members)
            found.damage += contents.findings()
            found.unpacked_bytes += contents.unpacked_bytes
    if backup_id in manifests:
        reader.read_files(f"{backup_id}/{key}" for key in manifests[backup_id].objects)
    return found


@dataclass(frozen=True, slots=True)
class _Read:
    """What an object turned out to hold; ``members`` is None where it is damaged."""

    stored: StoredObject
    members: tuple[Member, ...] | None
    problem: str = ""
    is_checked: bool = False


class _Reader:
    """Reads objects side by side, each once, and keeps count."""

    def __init__(
        self, store: Store, listed: Mapping[str, StoredObject], manifests: Mapping[str, Manifest], threads: int
    ) -> None:
        self.found = Contents()
        self._store = store
        self._listed = listed
        self._threads = threads
        self._done: set[str] = set()
        self._told_at = time.monotonic()
        entries = ((f"{name}/{key}", e) for name, manifest in manifests.items() for key, e in manifest.objects.items())
        self._sums = {key: entry for key, entry in entries if entry.parts}

    def read_chunks(self, keys: Iterable[str], codec: Codec) -> Iterator[tuple[str, tuple[Member, ...]]]:
        """Yield the keys of those chunks that are whole, and what is in them."""
        for read in self._read(keys, codec):
            if read.members is not None:
                yield read.stored.key, read.members

    def read_files(self, keys: Iterable[str]) -> None:
        """Read objects that are no chunks, to compare them with the manifest; those that were read are left out."""
        for _ in self._read((key for key in keys if key not in self._done), None):
            pass

    def _read(self, keys: Iterable[str], codec: Codec | None) -> Iterator[_Read]:
        there = (stored for key in keys if (stored := self._listed.get(key)))
        for read in in_threads(lambda stored: self._read_one(stored, codec), there, self._threads):
            found = self.found
            found.objects += 1
            found.read_bytes += read.stored.size_bytes
            found.unchecked_objects += not (read.is_checked or read.problem)
            if read.problem:
                found.damage.append(Finding(read.stored.key, read.problem))
            self._done.add(read.stored.key)
            self._tell()
            yield read

    def _read_one(self, stored: StoredObject, codec: Codec | None) -> _Read:
        expected = self._sums.get(stored.key)
        digest = PartedDigest(expected.part_bytes if expected else 0)
        pieces: Iterator[bytes] = read_through(self._store, stored)
        if expected:
            pieces = _hashed(pieces, digest)
        try:
            scan = scan_chunk(pieces, codec) if codec else None
            members = tuple(scan) if scan else _exhausted(pieces)
        except ChunkDamaged as error:
            return _Read(stored, None, f"is damaged. {error.message}")
        except StorageError as error:
            if error.retryable:
                raise
            return _Read(stored, None, f"can't be read. {error.message}")
        if expected and digest.parts() != expected.parts:
            return _Read(stored, members, "has another SHA-256 than in the manifest")
        return _Read(stored, members, is_checked=bool(expected or (scan and scan.contents_checked)))

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= _NEWS_SECONDS:
            self._told_at = now
            log.info("Read so far: %d objects, %d MB", self.found.objects, self.found.read_bytes // _MEGA)


def _hashed(pieces: Iterator[bytes], digest: PartedDigest) -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def _exhausted(pieces: Iterator[bytes]) -> tuple[Member, ...]:
    """Read to the end what has no members."""
    for _ in pieces:
        pass
    return ()
