"""Whether a location can be used as a copy needs it: found out before the first byte moves."""

from __future__ import annotations

import logging
import secrets

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import PreflightFailed, StorageError
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.transfer.journal import copy_folder

log = logging.getLogger(__name__)


def probe(store: Store, location: Location, backup_id: str) -> None:
    """List, write, read and delete an object of our own in a backup's folder.

    :raises PreflightFailed: something of it is not permitted; where only deleting is not, and a lock policy says why,
        it is told in the log instead.
    :raises StorageUnreachable: the storage fails just now.
    """
    # Where it is deleted with the rest once the copy has ended, should this process be killed.
    key, content = f"{copy_folder(backup_id)}probe-{secrets.token_hex(6)}", b"A probe; delete it."
    policy = store.lock_policy()
    if policy:
        log.warning("%s is locked: %s. What is copied there can't be deleted or replaced as long.", location, policy)
    elif policy is None:
        log.info("Whether a lock policy holds for %s can't be told: the identity may not look.", location)
    try:
        next(store.list_objects(f"{backup_id}/"), None)
        store.write(key, [content], len(content))
        if store.read(key) != content:
            raise PreflightFailed(f"{location} gives back something else than was written.", hint="Look at its server.")
    except StorageError as error:
        raise _refused(location, error, "read and write") from error
    try:
        store.delete([key])
    except StorageError as error:
        if not policy:
            raise _refused(location, error, "delete") from error
        log.warning("The probe %s stays: %s", key, error.message)


def _refused(location: Location, error: StorageError, what: str) -> Exception:
    if error.retryable:
        return error
    return PreflightFailed(f"{location} can't be used, for lack of a way to {what}. {error.message}", hint=error.hint)
