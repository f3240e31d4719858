"""The content records that a backup gets: one just before it, and one of the same objects just after it."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_provider_vectorbackup.actions.content_recording import RecordOrder, read_result, record_content
from airflow_provider_vectorbackup.actions.content_records import RecordPlace
from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.memory import Memory
from airflow_provider_vectorbackup.actions.server import Server, whole_server
from airflow_provider_vectorbackup.actions.tenants import InactiveTenants
from airflow_provider_vectorbackup.backups.content import Moment
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.exceptions import InvalidRequest, ObjectNotFound
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recording:
    """With what the records of a backup are made.

    :param inactive: the backup's policy about tenants that are not active.
    """

    inactive: InactiveTenants
    memory: Memory
    open_store: OpenStore


def require_place(root: Location | None) -> Location:
    """Return where a backup's records are to lie.

    :raises InvalidRequest: that is not known.
    """
    if root is None:
        raise InvalidRequest(
            "content_record is set, but where the backup will lie is not known.",
            hint="Give location, or a location for the backend in the connection.",
        )
    return root


def record_before(client: WeaviateClient, server: Server, operation: Operation, recording: Recording) -> None:
    """Record what a backup that is about to be started is to hold."""
    place = RecordPlace.beside(require_place(operation.root), operation.address.backup_id, Moment.BEFORE)
    order = RecordOrder(operation.collections, place, inactive=_policy(recording.inactive))
    record_content(client, server, order, recording.memory, recording.open_store)


def record_after(client: WeaviateClient, operation: Operation, recording: Recording) -> dict[str, Any] | None:
    """Record what the server holds now that a backup has ended, and return the result.

    A record that is there stays as it is: it was taken sooner. Of a backup that somebody else made without any, none is
    taken either, since nobody knows what it held: None.
    """
    root, backup_id = require_place(operation.root), operation.address.backup_id
    before, after = (RecordPlace.beside(root, backup_id, moment) for moment in (Moment.BEFORE, Moment.AFTER))
    with suppress(ObjectNotFound):
        return read_result(after, recording.open_store).summary()
    order = RecordOrder((), after, before, inactive=_policy(recording.inactive))
    try:
        return record_content(client, whole_server(client), order, recording.memory, recording.open_store).summary()
    except ObjectNotFound:
        log.warning("Backup %r was made without a content record before it, so none is taken after it.", backup_id)
        return None


def _policy(of_backup: InactiveTenants) -> InactiveTenants:
    """Return what to do about tenants whose content can't be read; what the backup leaves out was decided before."""
    return InactiveTenants.ACTIVATE if of_backup is InactiveTenants.ACTIVATE else InactiveTenants.WARN
