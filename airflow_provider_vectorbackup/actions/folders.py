"""Listings of a location by folder, each of which may be a backup: of all of them, summed up, or of one."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from airflow_provider_vectorbackup.backups.catalogue import Leftover, LeftoverKind
from airflow_provider_vectorbackup.backups.ids import is_legal_id
from airflow_provider_vectorbackup.storage.store import Store, StoredObject
from airflow_provider_vectorbackup.transfer.journal import plan_key
from airflow_provider_vectorbackup.weaviate.descriptors import GLOBAL_NAME, NODE_NAME
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER, is_access_check, is_written_by_weaviate

_DIGEST_BYTES = 8


def listed_in(store: Store, backup_id: str) -> dict[str, StoredObject]:
    """Return by key what lies in a backup's folder, in the order of the keys.

    :raises StorageError: it can't be listed.
    """
    return {stored.key: stored for stored in store.list_objects(f"{backup_id}/")}


@dataclass(slots=True)
class Folder:
    """What a listing shows of a folder at the top of a location; of its keys, only digests are kept.

    :param written_at: when the newest object was written, this package's own files aside; ``own_written_at``: of those.
    :param descriptors: by key below the folder.
    """

    name: str
    objects: int = 0
    stored_bytes: int = 0
    written_at: datetime | None = None
    own_written_at: datetime | None = None
    descriptors: dict[str, StoredObject] = field(default_factory=dict)
    access_checks: list[StoredObject] = field(default_factory=list)
    _digests: array[int] = field(default_factory=lambda: array("Q"))
    _is_sorted: bool = True
    _is_backup: bool = False

    def add(self, stored: StoredObject) -> None:
        """Add an object that was listed."""
        rest = stored.key.partition("/")[2]
        self.objects += 1
        self.stored_bytes += stored.size_bytes
        if rest.startswith(f"{OWN_FOLDER}/"):
            self.own_written_at = max(self.own_written_at or stored.modified_at, stored.modified_at)
        else:
            self.written_at = max(self.written_at or stored.modified_at, stored.modified_at)
        # A copy says what it is going to be before its first chunk is there.
        self._is_backup |= is_written_by_weaviate(rest) or stored.key == plan_key(self.name)
        if is_access_check(rest):
            self.access_checks.append(stored)
        elif rest == GLOBAL_NAME or rest.rpartition("/")[2] == NODE_NAME:
            self.descriptors[rest] = stored
        self._digests.append(digest_of(stored.key))
        self._is_sorted = False

    @property
    def modified_at(self) -> datetime | None:
        """When its newest object was written: one of the backup, where there is any."""
        return self.written_at or self.own_written_at

    @property
    def has_own_files(self) -> bool:
        """Whether this package's own files lie here."""
        return self.own_written_at is not None

    @property
    def descriptor(self) -> StoredObject | None:
        """The coordinator's descriptor, or the only one of a backup of 1.15."""
        return self.descriptors.get(GLOBAL_NAME) or self.descriptors.get(NODE_NAME)

    def count_missing(self, digests: Iterable[int]) -> int:
        """Return how many of these objects, given by digests of their keys, are not in this folder."""
        if not self._is_sorted:
            self._digests = array("Q", sorted(self._digests))
            self._is_sorted = True
        return sum(not self._holds(digest) for digest in set(digests))

    def _holds(self, digest: int) -> bool:
        found = bisect_left(self._digests, digest)
        return found < len(self._digests) and self._digests[found] == digest

    def leftovers(self) -> list[Leftover]:
        """Return what in this folder is part of no backup that has a descriptor."""
        if self.descriptor or self.objects == len(self.access_checks):
            return [
                Leftover(LeftoverKind.ACCESS_CHECK, left.key, left.size_bytes, left.modified_at, objects=1)
                for left in self.access_checks
            ]
        found = Leftover(self._kind(), f"{self.name}/", self.stored_bytes, self.modified_at)
        return [replace(found, objects=self.objects, has_own_files=self.has_own_files)]

    def _kind(self) -> LeftoverKind:
        """Return what a folder without a descriptor is."""
        if self._is_backup and is_legal_id(self.name):
            return LeftoverKind.NO_DESCRIPTOR
        return LeftoverKind.OWN_FILES if self.has_own_files and not self.written_at else LeftoverKind.FOREIGN


def list_folders(store: Store) -> tuple[dict[str, Folder], list[Leftover]]:
    """List a location: its folders by name, and the objects that lie in none.

    :raises StorageError: it can't be listed.
    """
    folders: dict[str, Folder] = {}
    loose: list[Leftover] = []
    for stored in store.list_objects():
        name, slash, _ = stored.key.partition("/")
        if slash:
            (folders.get(name) or folders.setdefault(name, Folder(name))).add(stored)
        else:
            loose.append(Leftover(LeftoverKind.FOREIGN, stored.key, stored.size_bytes, stored.modified_at, objects=1))
    return folders, loose


def digest_of(key: str) -> int:
    """Return a digest of a key in 64 bits: whole keys, by the million, would not fit into memory."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=_DIGEST_BYTES).digest(), "big")
