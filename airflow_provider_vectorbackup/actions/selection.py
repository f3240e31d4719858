"""Whether the server took on the collections that it was asked for."""

from __future__ import annotations

import logging
from collections.abc import Collection

from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.exceptions import SelectionMismatch, VectorBackupError
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.features import Version

log = logging.getLogger(__name__)


def require_same_collections(
    client: WeaviateClient, version: Version, operation: Operation, taken: Collection[str], *, exactly: bool
) -> None:
    """Cancel the operation and raise if the server took on others than ``operation.collections``.

    A server narrows a request for everything to what the caller may touch, and answers 200.

    :param exactly: whether more than was asked for is wrong too.
    :raises SelectionMismatch: it did.
    """
    missing = set(operation.collections).difference(taken)
    if missing and operation.kind is OperationKind.BACKUP:
        # One that was deleted between our look at the schema and the request is not missing.
        missing &= {collection.name for collection in client.send(calls.read_schema())}
    extra = set(taken).difference(operation.collections) if exactly else set()
    if not (missing or extra):
        return
    try:
        client.send(calls.cancel(operation.kind, operation.address, version))
    except VectorBackupError as error:
        log.warning("It could not be canceled: %s", error.message)
    raise SelectionMismatch(
        f"The server took on other collections for {operation.kind.value} {operation.address.backup_id!r} than it was "
        f"asked for. Missing: {names_shown(missing)}. Too many: {names_shown(extra)}. It was told to cancel.",
        hint="Missing ones mostly mean that the user lacks manage_backups on them.",
        backup_id=operation.address.backup_id,
    )
