"""What a restore that did not end well has brought all the same."""

from __future__ import annotations

import json
from collections.abc import Iterable

from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.exceptions import JobError, VectorBackupError
from airflow_provider_vectorbackup.weaviate import calls
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


def with_arrivals(client: WeaviateClient, operation: Operation, error: JobError) -> JobError:
    """Return the error of a restore, extended by which of its collections are there and which are not.

    The server restores collections one by one: one that fails does not take back the others.
    """
    if not operation.collections:
        return error
    try:
        arrived = arrived_of(client, operation.collections, error.message)
    except VectorBackupError as trouble:
        told, hint = f"Which collections did arrive can't be seen: {trouble.message}", error.hint
    else:
        missing = [n for n in operation.collections if n not in arrived]
        told = f"Arrived: {names_shown(arrived)}. Not arrived: {names_shown(missing)}."
        hint = f"{error.hint} To restore the rest only: include={json.dumps(missing)}." if arrived and missing else ""
        hint = hint.strip() or error.hint
    return type(error)(f"{error.message.rstrip('. ')}. {told}", hint=hint, backup_id=error.backup_id)


def arrived_of(client: WeaviateClient, asked: Iterable[str], error: str) -> tuple[str, ...]:
    """Return those of the collections that a restore has brought.

    :param error: the server's reason why it failed, if it did: it names those that it could not restore, such as one
        that somebody made meanwhile.
    """
    there = {collection.name for collection in client.send(calls.read_schema())}
    return tuple(name for name in asked if name in there and f"{json.dumps(name)}: " not in error)
