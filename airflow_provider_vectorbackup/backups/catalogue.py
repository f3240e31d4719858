"""What a location holds: its backups, whole or not, and what else lies there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import Status


class LeftoverKind(StrEnum):
    """Why something in a location is part of no backup that can be read."""

    NO_DESCRIPTOR = "no descriptor"
    """Objects of a backup whose descriptor was never written, or was deleted first."""

    UNFINISHED_UPLOAD = "unfinished upload"
    ACCESS_CHECK = "access check"
    """What the server writes and deletes to see whether it may; a crash in between leaves it."""

    OWN_FILES = "own files"
    """Of this package, and nothing else: a content record without a backup, a lease of a process that was killed."""

    FOREIGN = "foreign"
    """Not written by Weaviate, as far as the name tells."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something in a location that is part of no backup that can be read.

    :param key: of an object, of an upload, or of a folder (then with a slash at the end).
    :param size_bytes: 0 for uploads: stores do not tell.
    :param modified_at: UTC, of the newest object; None where the store does not tell.
    :param objects: how many it is, 0 for uploads.
    :param has_own_files: of a folder, whether this package's own files lie in it.
    """

    kind: LeftoverKind
    key: str
    size_bytes: int
    modified_at: datetime | None
    objects: int = 0
    has_own_files: bool = False


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A backup as storage alone shows it. Times are UTC, None where the descriptor does not tell or can't be read.

    :param status: as its descriptor says; None where that can't be read.
    :param problems: what keeps it from being restored, in words; its chain aside.
    :param chain: itself after all of its bases, those that are missing included.
    :param chain_problems: what keeps its chain from being restored, in words.
    :param stored_bytes: of all objects in its folder, in this backup alone.
    :param pre_compression_bytes: of all its files, those in its bases included; None below 1.32.
    :param bases: direct ones: those that its descriptors name, and those that its files lie in.
    :param modified_at: of its newest object, this package's own files aside.
    :param unreadable: why descriptors of it can't be read, so that what it builds on is not known.
    :param has_own_files: whether this package's own files lie in its folder.
    """

    backup_id: str
    problems: tuple[str, ...]
    objects: int
    stored_bytes: int
    modified_at: datetime
    has_own_files: bool
    status: Status | None = None
    chain: tuple[str, ...] = ()
    chain_problems: tuple[str, ...] = ()
    started_at: datetime | None = None
    completed_at: datetime | None = None
    pre_compression_bytes: int | None = None
    collections: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    server_version: str = ""
    layout: str = ""
    codec: Codec | None = None
    base_backup_id: str | None = None
    bases: frozenset[str] = frozenset()
    unreadable: tuple[str, ...] = ()

    @property
    def is_chain_whole(self) -> bool:
        """Whether all its bases are there and fit."""
        return not self.chain_problems

    @property
    def is_usable(self) -> bool:
        """Whether a restore can be expected to work, as far as one listing and the descriptors tell."""
        return self.status is Status.SUCCESS and not self.problems and self.is_chain_whole

    def age_seconds(self, now: datetime) -> float | None:
        """Return how old its data is, since the backup began; None where that is not known."""
        return (now - self.started_at).total_seconds() if self.started_at else None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The backups of a location, the newest start first, and its leftovers."""

    entries: tuple[CatalogueEntry, ...]
    leftovers: tuple[Leftover, ...] = ()
    _by_id: dict[str, CatalogueEntry] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_id.update((entry.backup_id, entry) for entry in self.entries)

    def get(self, backup_id: str) -> CatalogueEntry | None:
        """Return a backup, None where there is none of that id."""
        return self._by_id.get(backup_id)

    @property
    def stored_bytes(self) -> int:
        """Of all backups and leftovers."""
        return sum(entry.stored_bytes for entry in self.entries) + sum(left.size_bytes for left in self.leftovers)

    def newest_usable(self) -> CatalogueEntry | None:
        """Return the newest backup that can be restored, None where there is none."""
        return next((entry for entry in self.entries if entry.is_usable), None)


def newest_first(entries: Iterable[CatalogueEntry]) -> tuple[CatalogueEntry, ...]:
    """Sort by start; those whose start is not known by their newest object."""
    return tuple(sorted(entries, key=lambda e: (e.started_at or e.modified_at, e.backup_id), reverse=True))
