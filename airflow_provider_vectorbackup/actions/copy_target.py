"""What the target of a copy holds already under a backup's id, and what of that counts."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_vectorbackup.actions.catalogue import read_catalogue
from airflow_provider_vectorbackup.actions.copy_source import SourceBackup
from airflow_provider_vectorbackup.actions.evidence import running_restore
from airflow_provider_vectorbackup.actions.folders import listed_in
from airflow_provider_vectorbackup.actions.leases import is_lease
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor, TargetOccupied
from airflow_provider_vectorbackup.storage.store import CONNECTIONS, Store, StoredObject
from airflow_provider_vectorbackup.transfer.digests import digest_parts
from airflow_provider_vectorbackup.transfer.journal import plan_key
from airflow_provider_vectorbackup.transfer.manifest import Manifest, ManifestEntry, manifest_key, parse_manifest
from airflow_provider_vectorbackup.transfer.reading import read_through
from airflow_provider_vectorbackup.transfer.threads import in_threads
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER, is_access_check

log = logging.getLogger(__name__)


class Standing(StrEnum):
    """What a target holds of a backup."""

    ABSENT = "absent"
    BEGUN = "begun"
    """A copy of this very backup that has not ended."""

    WHOLE = "whole"
    """This very backup, each object proven equal."""

    OTHER = "other"
    """Something else under its id."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a target holds of a backup.

    :param reason: of OTHER, in words.
    :param listed: what lies in its folder, by key.
    """

    standing: Standing
    listed: Mapping[str, StoredObject]
    reason: str = ""

    @property
    def is_tidy(self) -> bool:
        """Whether nothing of a copy that has ended is left."""
        return not any(f"/{OWN_FOLDER}/copy/" in key for key in self.listed)


def identity(content: bytes) -> str:
    """Return what tells a backup from others of its id: its descriptor has its start, to the nanosecond."""
    return hashlib.sha256(content).hexdigest()


class TargetLook:
    """Looks at the target of a copy.

    :param source: where the backups are copied from, to compare bytes where nothing else proves that they are equal.
    :param may_write: whether what was proven so is put into a manifest, for the next time.
    """

    def __init__(self, source: Store, target: Store, *, may_write: bool) -> None:
        self._source = source
        self._target = target
        self._may_write = may_write

    def at(self, backup: SourceBackup) -> Held:
        """Find out what the target holds of a backup.

        :raises StorageError: it can't be read.
        """
        listed = listed_in(self._target, backup.backup_id)
        if backup.final.key in listed:
            reason = self._difference(backup, listed)
            return Held(Standing.OTHER if reason else Standing.WHOLE, listed, reason)
        if plan_key(backup.backup_id) in listed and self._is_of(backup):
            return Held(Standing.BEGUN, listed)
        others = [key for key in listed if not self._is_ours(key)]
        if others:
            told = f"holds {len(others)} objects of an unfinished backup or copy, such as {others[0]}"
            return Held(Standing.OTHER, listed, told)
        return Held(Standing.ABSENT, listed)

    def _is_of(self, backup: SourceBackup) -> bool:
        try:
            plan = json.loads(self._target.read(plan_key(backup.backup_id)) or b"{}")
            return bool(plan["descriptor_sha256"] == identity(backup.content))
        except (ValueError, KeyError, TypeError, RecursionError):
            return False

    @staticmethod
    def _is_ours(key: str) -> bool:
        _, _, rest = key.partition("/")
        return rest.startswith(f"{OWN_FOLDER}/") or is_access_check(rest)

    def _difference(self, backup: SourceBackup, listed: Mapping[str, StoredObject]) -> str:
        """Return in what the target's backup differs, in words; empty where each object is proven equal."""
        if self._target.read(backup.final.key) != backup.content:
            return "holds another backup of this id"
        for stored in backup.objects:
            there = listed.get(stored.key)
            if there is None:
                return f"holds it without {stored.key}"
            if there.size_bytes != stored.size_bytes:
                return f"holds {stored.key} with {there.size_bytes} bytes, not {stored.size_bytes}"
        manifest = self._manifest(backup.backup_id, listed)
        others = (*backup.chunks, *backup.nodes)
        unproven = [stored for stored in others if not _is_proven(backup, stored, listed[stored.key], manifest)]
        return self._read_difference(backup, unproven, listed, manifest) if unproven else ""

    def _read_difference(
        self,
        backup: SourceBackup,
        unproven: list[StoredObject],
        listed: Mapping[str, StoredObject],
        manifest: Manifest,
    ) -> str:
        """Compare by reading, on both sides, what no manifest proves equal; write down what is."""
        log.info("%s: %d objects are there without proof; comparing their bytes.", backup.backup_id, len(unproven))
        entries = dict(manifest.objects)

        def read_both(stored: StoredObject) -> tuple[tuple[str, ...], tuple[str, ...]]:
            there = read_through(self._target, listed[stored.key])
            return digest_parts(read_through(self._source, stored)), digest_parts(there)

        for stored, (here, there) in zip(unproven, in_threads(read_both, unproven, CONNECTIONS), strict=True):
            if here != there:
                return f"holds other bytes as {stored.key}"
            etag = listed[stored.key].etag
            entries[below(stored.key)] = ManifestEntry(stored.size_bytes, here, 0, stored.etag, etag)
        if self._may_write:
            content = Manifest(entries, manifest.source, manifest.method).to_json()
            self._target.write(manifest_key(backup.backup_id), [content], len(content))
        return ""

    def _manifest(self, backup_id: str, listed: Mapping[str, StoredObject]) -> Manifest:
        key = manifest_key(backup_id)
        try:
            content = self._target.read(key) if key in listed else None
            return parse_manifest(key, content) if content else Manifest({})
        except BrokenDescriptor as error:
            log.warning("%s It is written anew.", error.message)
            return Manifest({})


def require_replaceable(target: Store, backup_ids: Sequence[str]) -> None:
    """Raise if what the target holds under ids that are replaced together must not be deleted.

    :raises TargetOccupied: another backup builds on one, or one is being restored.
    :raises StorageError: that can't be told.
    """
    for backup_id in backup_ids:
        if restore := running_restore(target, backup_id):
            raise TargetOccupied(
                f"{backup_id} in the target {restore}.",
                hint="Wait for its end; if that restore is dead, delete this object.",
                backup_id=backup_id,
            )
    others = [entry for entry in read_catalogue(target).entries if entry.backup_id not in backup_ids]
    for backup_id in backup_ids:
        if users := [entry.backup_id for entry in others if backup_id in entry.chain]:
            raise TargetOccupied(
                f"{backup_id} in the target can't be replaced: {', '.join(users[:5])} build on it.",
                hint="Copy to another prefix.",
                backup_id=backup_id,
            )


def clear(target: Store, backup: SourceBackup, listed: Mapping[str, StoredObject]) -> None:
    """Delete what a target holds under an id: the descriptor first, from when on Weaviate does not see it.

    Leases stay.
    """
    target.delete([backup.final.key])
    target.delete(key for key in listed if key != backup.final.key and not is_lease(key))
    for upload in list(target.list_unfinished_uploads(f"{backup.backup_id}/")):
        target.abort(upload)


def remaining(
    objects: Iterable[StoredObject], done: Mapping[str, ManifestEntry], listed: Mapping[str, StoredObject]
) -> Iterator[StoredObject]:
    """Yield the objects that the journal does not prove to be in the target."""
    for stored in objects:
        entry, there = done.get(stored.key), listed.get(stored.key)
        fits = entry and there and entry.source_etag == stored.etag and entry.etag == there.etag
        if not fits or there is None or there.size_bytes != stored.size_bytes:
            yield stored


def _is_proven(backup: SourceBackup, stored: StoredObject, there: StoredObject, manifest: Manifest) -> bool:
    """Whether neither side has changed since the manifest was written, or both have the same checksum."""
    name = below(stored.key)
    entry = manifest.objects.get(name)
    if entry is None or entry.etag != there.etag or entry.size_bytes != stored.size_bytes:
        return False
    if entry.source_etag == stored.etag:
        return True
    other = backup.manifest.objects.get(name) if backup.manifest else None
    is_known = other is not None and other.etag == stored.etag and other.is_comparable(entry)
    return bool(is_known and other and other.parts == entry.parts)


def below(key: str) -> str:
    """Return a key as a manifest has it: without the backup's id."""
    return key.partition("/")[2]
