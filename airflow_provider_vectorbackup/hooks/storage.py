"""From a location, and the Airflow connection that it names, to its store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from airflow.sdk import BaseHook

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.compat import AirflowNotFoundException
from airflow_provider_vectorbackup.exceptions import InvalidConnection, InvalidRequest
from airflow_provider_vectorbackup.hooks import access
from airflow_provider_vectorbackup.hooks.fields import Fields
from airflow_provider_vectorbackup.storage.store import Store


def open_store(location: Location) -> Store:
    """Return the store of a location; close it after use.

    The connection is the one that the location names; without one, the provider's library looks for credentials in
    its own places.

    :raises InvalidConnection: there is no such connection, it is of another type, or a field of it can't be used.
    :raises StorageError: a library is not installed, or finds no credentials.
    """
    provider = _PROVIDERS[location.scheme]
    try:
        return provider.open(location, _fields(location.conn_id, provider.conn_type))
    except InvalidRequest as error:
        who = f"Connection {location.conn_id!r}" if location.conn_id else f"{location} names no connection"
        raise InvalidConnection(f"{who}: {error.message}", hint=error.hint) from error


def _fields(conn_id: str | None, conn_type: str | None) -> Fields:
    if conn_id is None or conn_type is None:
        return Fields()
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise InvalidConnection(
            "Airflow has none of this id, or can't decode it.",
            hint="Before the @ of a location stands the id of an Airflow connection.",
        ) from error
    if connection.conn_type != conn_type:
        raise InvalidConnection(
            f"its type is {connection.conn_type!r}.",
            hint=f"A location of this kind needs one of the type {conn_type!r}.",
        )
    return Fields.of(connection)


def _open_s3(location: Location, fields: Fields) -> Store:
    from airflow_provider_vectorbackup.storage.s3 import S3Store

    return S3Store(location, access.s3_access(fields))


def _open_gcs(location: Location, fields: Fields) -> Store:
    from airflow_provider_vectorbackup.storage.gcs import GCSStore

    return GCSStore(location, access.gcs_access(fields))


def _open_azure(location: Location, fields: Fields) -> Store:
    from airflow_provider_vectorbackup.storage.azure import AzureStore

    return AzureStore(location, access.azure_access(fields))


def _open_filesystem(location: Location, _fields: Fields) -> Store:
    from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore

    return FilesystemStore(location)


@dataclass(frozen=True, slots=True)
class _Provider:
    """How a store is opened, and the type of its connections: None where it needs none."""

    open: Callable[[Location, Fields], Store]
    conn_type: str | None


_PROVIDERS: Mapping[str, _Provider] = {
    "s3": _Provider(_open_s3, "aws"),
    "gs": _Provider(_open_gcs, "google_cloud_platform"),
    "azure": _Provider(_open_azure, "wasb"),
    "file": _Provider(_open_filesystem, None),
}
"""By the scheme of a location."""
