"""The checks of a server that come before anything is started on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_vectorbackup.backups.bases import ListedBackup
from airflow_provider_vectorbackup.backups.locations import Location, require_location_of
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    NotFound,
    OperationInProgress,
    PreflightFailed,
    ServerNotReady,
)
from airflow_provider_vectorbackup.weaviate import calls, features
from airflow_provider_vectorbackup.weaviate.answers import CollectionSchema, Meta
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.features import Version, parse_version

_MODULE_PREFIX = "backup-"
_BUCKETS = ("bucketName", "containerName")
_PATHS = ("rootName", "backupsPath")


@dataclass(frozen=True, slots=True)
class Server:
    """A server, as far as backups to one backend are concerned.

    :param bucket: the bucket (container) it writes to if a request names no other; None for ``filesystem``.
    :param path: the path in that bucket, or the directory on the server.
    :param modules: the enabled modules.
    :param nodes: their names; like ``collections``, known once it is made sure that the server is ready.
    :param endpoint: where the bucket is, as far as the server tells: of ``s3`` only.
    """

    version: Version
    backend: str
    bucket: str | None
    path: str | None
    modules: frozenset[str] = frozenset()
    nodes: tuple[str, ...] = ()
    collections: tuple[CollectionSchema, ...] = ()
    endpoint: str | None = None

    @property
    def collection_names(self) -> tuple[str, ...]:
        """The names of all collections."""
        return tuple(collection.name for collection in self.collections)


def identify_server(client: WeaviateClient, backend: str) -> Server:
    """Ask a server what it is; its collections are not asked for yet.

    :raises PreflightFailed: the backend's module is not enabled.
    """
    meta = client.send(calls.read_meta())
    require_enabled(meta, backend)
    return server_of(meta, backend)


def ready_server(client: WeaviateClient, server: Server) -> Server:
    """Make sure that an operation can be started now, and return the server with its nodes and collections.

    :raises ServerNotReady: a node is not healthy.
    """
    return replace(server, nodes=healthy_nodes(client), collections=client.send(calls.read_schema()))


def whole_server(client: WeaviateClient) -> Server:
    """Ask a server what it is and what it has, no backend in view.

    :raises ServerNotReady: a node is not healthy.
    """
    return ready_server(client, server_of(client.send(calls.read_meta()), ""))


def server_of(meta: Meta, backend: str) -> Server:
    """Return what a server says of itself and of one backend."""
    settings = meta.modules.get(_MODULE_PREFIX + backend, {})
    bucket, path = _first(settings, _BUCKETS), _first(settings, _PATHS)
    endpoint, modules = _first(settings, ("endpoint",)), frozenset(meta.modules)
    return Server(parse_version(meta.version), backend, bucket, path, endpoint=endpoint, modules=modules)


def _first(settings: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((str(settings[name]) for name in names if settings.get(name)), None)


def without_needless_overrides(server: Server, address: BackupAddress) -> BackupAddress:
    """Return the address without a bucket and path that the server uses anyway.

    Only backups in its default place are in its list.
    """
    bucket = None if address.bucket == server.bucket else address.bucket
    same_path = (address.path or "").strip("/") == (server.path or "").strip("/")
    return replace(address, bucket=bucket, path=None if same_path and bucket is None else address.path)


def address_in(server: Server, backend: str, location: Location, backup_id: str) -> BackupAddress:
    """Return what a server must be told to find a backup in a location.

    :raises PreflightFailed: it can't be told.
    """
    address = BackupAddress(backend, backup_id)
    own = (server.bucket, (server.path or "").strip("/"))
    if location.scheme == "file" or (location.bucket, location.prefix) == own:
        return address
    if not features.BUCKET_AND_PATH.is_in(server.version) or (own[1] and not location.prefix):
        # An empty path counts as none, so that the server would look below its own.
        raise PreflightFailed(
            f"The server reads backups from bucket {server.bucket!r}, path {server.path or ''!r}, and can't be told to "
            f"read {location}.",
            hint="Copy the backup to the server's own place, or update the server.",
        )
    return replace(address, bucket=location.bucket, path=location.prefix)


def place_of(server: Server, address: BackupAddress) -> tuple[str | None, str | None]:
    """Return the bucket and path in which a backup really lies."""
    return address.bucket or server.bucket, server.path if address.path is None else address.path


def enabled_backends(meta: Meta) -> tuple[str, ...]:
    """Return the backends whose modules are enabled."""
    return tuple(sorted(m.removeprefix(_MODULE_PREFIX) for m in meta.modules if m.startswith(_MODULE_PREFIX)))


def operation_on(server: Server, kind: OperationKind, address: BackupAddress, **known: Any) -> Operation:
    """Return an operation on this server, with the place it works in; ``known``: other fields of :class:`Operation`."""
    bucket, path = place_of(server, address)
    return Operation(kind, address, bucket=bucket, path=path, server_version=str(server.version), **known)


def require_enabled(meta: Meta, backend: str) -> None:
    """Raise unless the backend's module is enabled.

    :raises PreflightFailed: it is not.
    """
    if (enabled := enabled_backends(meta)) and backend in enabled:
        return
    raise PreflightFailed(
        f"Backend {backend!r} is not enabled on this server (enabled: {names_shown(enabled)}).",
        hint=f"Add backup-{backend} to ENABLE_MODULES on every node, or choose another backend.",
    )


def healthy_nodes(client: WeaviateClient) -> tuple[str, ...]:
    """Return the names of all nodes; every one that holds a shard takes part, replication does not help.

    :raises ServerNotReady: a node is not healthy.
    """
    nodes = client.send(calls.read_nodes())
    if ill := [f"{node.name} is {node.status or 'unknown'}" for node in nodes if node.status != "HEALTHY"]:
        raise ServerNotReady(
            f"Not all nodes of the server are healthy: {', '.join(ill)}.", hint="A backup or restore needs them all."
        )
    return tuple(node.name for node in nodes)


def require_same_place(server: Server, address: BackupAddress, location: str | None) -> None:
    """Raise if a location can't be where this server puts the backup.

    A directory of the server's may be mounted anywhere on the worker, so ``file`` locations can't be compared.

    :raises InvalidRequest: it is of another kind of storage, or names another bucket or path.
    """
    if location is None:
        return
    given = require_location_of(server.backend, Location.parse(location))
    bucket, path = place_of(server, address)
    wanted = given.with_overrides(address.bucket, address.path)
    if given.scheme != "file" and bucket and (wanted.bucket, wanted.prefix) != (bucket, (path or "").strip("/")):
        raise InvalidRequest(
            f"The location {location} is not where the server writes: bucket {bucket!r}, path {path or ''!r}.",
            hint="Correct the location, or give bucket and path so that the server writes there.",
        )


def require_same_operation(server: Server, address: BackupAddress, found: OperationStatus) -> None:
    """Raise if the server answers for another operation than was asked for: while one runs, it looks at the id only.

    :raises OperationInProgress: an operation on a backup of the same id is running in another place.
    """
    asked = operation_on(server, found.kind, address)
    if asked.is_told_elsewhere(found.server_path):
        error = OperationInProgress(
            f"A {found.kind.value} with the same id {address.backup_id!r} is running at {found.server_path}, which is "
            f"not where this one lies: {address.backend}, bucket {asked.bucket!r}, path {asked.path!r}.",
            hint="Use ids that are unique over all backends and paths of a server.",
            backup_id=address.backup_id,
        )
        error.blocking_id = address.backup_id
        raise error


def status_or_none(client: WeaviateClient, kind: OperationKind, address: BackupAddress) -> OperationStatus | None:
    """Return the status of an operation, None where the server knows none under that id."""
    try:
        return client.send(calls.status_of(kind, address))
    except NotFound:
        return None


def listed_backup(client: WeaviateClient, version: Version, address: BackupAddress) -> ListedBackup | None:
    """Return the list's entry of a backup; None where the list can't hold it or the caller may not see it."""
    if address.bucket or address.path or not features.LIST_AND_CANCEL.is_in(version):
        return None
    listed = client.send(calls.list_backups(address.backend))
    return next((entry for entry in listed if entry.backup_id == address.backup_id), None)


def describe_server(client: WeaviateClient) -> tuple[bool, str]:
    """Return whether a server can do backups, and one line that says what it is."""
    meta = client.send(calls.read_meta())
    nodes = client.send(calls.read_nodes())
    enabled = enabled_backends(meta)
    states = ", ".join(f"{node.name} {node.status}" for node in nodes)
    text = f"Weaviate {meta.version}; backends enabled: {names_shown(enabled)}; nodes: {states}."
    if not enabled:
        return False, f"{text} Add a backup module, such as backup-s3, to ENABLE_MODULES."
    return all(node.status == "HEALTHY" for node in nodes), text
