"""The end of a copy: what Weaviate sees comes last, and only when all the rest is proven to be there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice

from airflow_provider_vectorbackup.actions.content_records import copy_records
from airflow_provider_vectorbackup.actions.copy_plan import StoredPlan
from airflow_provider_vectorbackup.actions.copy_target import below
from airflow_provider_vectorbackup.exceptions import (
    BackupDamaged,
    BrokenDescriptor,
    CopyIncomplete,
    StorageError,
    TargetOccupied,
)
from airflow_provider_vectorbackup.storage.store import Store, StoredObject
from airflow_provider_vectorbackup.transfer.digests import digest_parts
from airflow_provider_vectorbackup.transfer.journal import Journal, copy_folder
from airflow_provider_vectorbackup.transfer.manifest import Manifest, ManifestEntry, manifest_key, parse_manifest
from airflow_provider_vectorbackup.transfer.reading import read_through

log = logging.getLogger(__name__)

_SHOWN = 10


def commit(source: Store, target: Store, plan: StoredPlan, listed: Mapping[str, StoredObject], journal: Journal) -> str:
    """Make a copy whose chunks are all in the target a backup; return the key of its manifest.

    :param listed: by key, what lies there in the backup's folder.
    :param journal: all that any worker put down.
    :raises CopyIncomplete: a chunk is not there as it was written.
    :raises TargetOccupied: somebody else wrote descriptors there meanwhile.
    """
    _require_all(plan, journal.objects, listed)
    if plan.is_of_copy:
        _require_as_before(source, plan, journal.objects)
    contents = {stored.key: _content(source, stored) for stored in plan.descriptors}
    for stored in plan.nodes:
        _create(target, plan, stored.key, contents[stored.key])
    entries = {stored.key: journal.objects[stored.key] for stored in plan.chunks}
    etags = {key: there.etag for key, there in _listed_now(target, plan)} if plan.nodes else {}
    for stored in plan.descriptors:
        parts, etag = digest_parts([contents[stored.key]]), etags.get(stored.key, "")
        entries[stored.key] = ManifestEntry(stored.size_bytes, parts, 0, stored.etag, etag)
    objects = {below(key): entry for key, entry in entries.items()}
    manifest = Manifest(objects, plan.source, plan.method.value).to_json()
    target.write(manifest_key(plan.backup_id), [manifest], len(manifest))
    copy_records(source, target, plan.backup_id)
    target.settle()
    _create(target, plan, plan.final.key, contents[plan.final.key])
    return manifest_key(plan.backup_id)


def tidy_up(target: Store, backup_id: str, journal: Journal) -> None:
    """Delete what a copy that has ended leaves: plan, journal, uploads that came to nothing.

    What can't be deleted is told in the log: the copy is whole without it.
    """
    try:
        uploads = {(upload.key, upload.upload_id): upload for upload in journal.left_uploads()}
        listed = target.list_unfinished_uploads(f"{backup_id}/")
        uploads |= {(upload.key, upload.upload_id): upload for upload in listed}
        for upload in uploads.values():
            with suppress(StorageError):
                target.abort(upload)
        target.delete(stored.key for stored in list(target.list_objects(copy_folder(backup_id))))
    except StorageError as error:
        log.warning("%s is copied, but not all of the journal can be deleted: %s", backup_id, error.message)


def _require_all(plan: StoredPlan, done: Mapping[str, ManifestEntry], listed: Mapping[str, StoredObject]) -> None:
    missing = list(islice(_missing(plan, done, listed), _SHOWN + 1))
    if missing:
        more = ", and more" if len(missing) > _SHOWN else ""
        raise CopyIncomplete(
            f"{plan.backup_id} is not whole in the target: {'; '.join(missing[:_SHOWN])}{more}.",
            hint="Run the copy again: it moves what is missing. If others write to the target, have them stop.",
            backup_id=plan.backup_id,
        )


def _require_as_before(source: Store, plan: StoredPlan, done: Mapping[str, ManifestEntry]) -> None:
    """Compare with what the source's objects held when they were copied there.

    :raises BackupDamaged: one holds something else now.
    """
    key = manifest_key(plan.backup_id)
    if (content := source.read(key)) is None:
        return
    try:
        before = parse_manifest(key, content).objects
    except BrokenDescriptor as error:
        log.warning("What was copied can't be compared with the source's manifest. %s", error.message)
        return
    for stored in plan.chunks:
        entry, earlier = done[stored.key], before.get(below(stored.key))
        if earlier and _has_changed(source, stored, entry, earlier):
            raise BackupDamaged(
                f"{stored.key} has another SHA-256 than the manifest beside it in the source says.",
                hint="It changed since it was copied there. Verify it with level 'deep', or copy another backup.",
                backup_id=plan.backup_id,
            )


def _has_changed(source: Store, stored: StoredObject, entry: ManifestEntry, earlier: ManifestEntry) -> bool:
    """Whether an object that was copied, as ``entry``, is another than the one that its own manifest tells of."""
    if earlier.is_comparable(entry):
        return earlier.parts != entry.parts
    if not earlier.parts or earlier.etag == stored.etag:
        return False
    log.info("%s was written anew since it was copied there; comparing its bytes with the manifest.", stored.key)
    return digest_parts(read_through(source, stored), earlier.part_bytes) != earlier.parts


def _missing(plan: StoredPlan, done: Mapping[str, ManifestEntry], listed: Mapping[str, StoredObject]) -> Iterator[str]:
    for stored in plan.chunks:
        entry, there = done.get(stored.key), listed.get(stored.key)
        if entry is None or entry.source_etag != stored.etag:
            yield f"{stored.key} was not copied"
        elif there is None:
            yield f"{stored.key} is not there any more"
        elif (there.size_bytes, there.etag) != (stored.size_bytes, entry.etag):
            yield f"{stored.key} was written anew by somebody else"


def _listed_now(target: Store, plan: StoredPlan) -> Iterator[tuple[str, StoredObject]]:
    wanted = {stored.key for stored in plan.nodes}
    for key in wanted:
        yield from ((there.key, there) for there in target.list_objects(key) if there.key == key)


def _content(source: Store, stored: StoredObject) -> bytes:
    return b"".join(read_through(source, stored))


def _create(target: Store, plan: StoredPlan, key: str, content: bytes) -> None:
    if not target.create(key, content):
        raise TargetOccupied(
            f"{key} is in the target already, with other content, and was not when the copy began.",
            hint="Look who else writes there.",
            backup_id=plan.backup_id,
        )
