"""Request builders: what is sent for each call of the backup API, as data, with the parser of its answer.

Fields that the server's version would ignore without a word are refused here, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from airflow_provider_vectorbackup.backups.bases import ListedBackup
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.weaviate import answers, features
from airflow_provider_vectorbackup.weaviate.features import Feature, Version

T_co = TypeVar("T_co", covariant=True)

GZIP_LEVELS = ("DefaultCompression", "BestSpeed", "BestCompression")
ZSTD_LEVELS = ("ZstdDefaultCompression", "ZstdBestSpeed", "ZstdBestCompression")
OTHER_LEVELS = (*ZSTD_LEVELS, "NoCompression")
RESTORE_ACCESS_OPTIONS = ("noRestore", "all")
CPU_PERCENTAGES = range(1, 81)


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request. ``path`` is below ``/v1``; ``parse`` reads the decoded JSON answer (None where there is no body)."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    parse: Callable[[Any], T_co]
    params: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    backup_id: str | None = None
    has_answer: bool = True
    is_query: bool = False
    """Of a POST: whether it only asks, so that it may be sent again."""
    permission: str = "manage_backups"
    """What a role must hold for it, told where the server refuses it."""

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does what sending it once does."""
        return self.method != "POST" or self.is_query


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What a backup is to hold and how it is made. Collections are names; patterns are expanded before."""

    address: BackupAddress
    include: tuple[str, ...] = ()
    include_users: tuple[str, ...] = ()
    include_roles: tuple[str, ...] = ()
    incremental_base_backup_id: str | None = None
    compression: str | None = None
    cpu_percentage: int | None = None


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What is restored of a backup, and where to. Collections are names; patterns are expanded before."""

    address: BackupAddress
    include: tuple[str, ...] = ()
    node_mapping: Mapping[str, str] = field(default_factory=dict)
    cpu_percentage: int | None = None
    overwrite_alias: bool = False
    roles_options: str | None = None
    users_options: str | None = None


def create_backup(request: BackupRequest, server: Version) -> Call[answers.Accepted]:
    """Start a backup.

    :raises InvalidRequest: a value is out of range, or this server would ignore it.
    """
    require_legal_id(request.address.backup_id)
    _require_fields(server, _backup_fields(request))
    _require_compression(request.compression, server)
    body = {
        "id": request.address.backup_id,
        "include": list(request.include),
        "includeUsers": list(request.include_users),
        "includeRoles": list(request.include_roles),
        "incremental_base_backup_id": request.incremental_base_backup_id,
        "config": _config(request.address, request.cpu_percentage) | _given({"CompressionLevel": request.compression}),
    }
    path = f"/backups/{request.address.backend}"
    return Call("POST", path, answers.parse_accepted, body=_given(body), backup_id=request.address.backup_id)


def restore_backup(request: RestoreRequest, server: Version) -> Call[answers.Accepted]:
    """Start a restore.

    :raises InvalidRequest: a value is out of range, or this server would ignore it.
    """
    features.SAFE_RESTORE.require(server)
    _require_fields(server, _restore_fields(request))
    for name, option in (("roles_options", request.roles_options), ("users_options", request.users_options)):
        if option and option not in RESTORE_ACCESS_OPTIONS:
            raise InvalidRequest(f"{name} is {option!r}.", hint=f"Use one of {', '.join(RESTORE_ACCESS_OPTIONS)}.")
    access = _given({"rolesOptions": request.roles_options, "usersOptions": request.users_options})
    body = {
        "include": list(request.include),
        "node_mapping": dict(request.node_mapping),
        "overwriteAlias": request.overwrite_alias,
        "config": _config(request.address, request.cpu_percentage) | access,
    }
    path = f"{_path_of(request.address)}/restore"
    return Call("POST", path, answers.parse_accepted, body=_given(body), backup_id=request.address.backup_id)


def codec_of_level(level: str | None) -> Codec:
    """Return by what a backup of this compression level is compressed; without one, the server takes gzip."""
    if level in ZSTD_LEVELS:
        return Codec.ZSTD
    return Codec.NONE if level in OTHER_LEVELS else Codec.GZIP


def status_of(kind: OperationKind, address: BackupAddress) -> Call[OperationStatus]:
    """Ask for the status of a backup or of the last restore of it."""
    path, parse = _path_of(address), answers.parse_backup_status
    if kind is OperationKind.RESTORE:
        path, parse = f"{path}/restore", answers.parse_restore_status
    return Call("GET", path, parse, params=_overrides(address), backup_id=address.backup_id)


def cancel(kind: OperationKind, address: BackupAddress, server: Version) -> Call[None]:
    """Ask for cancellation. The answer promises nothing: ask for the status afterwards.

    :raises InvalidRequest: this server can't cancel such an operation.
    """
    (features.CANCEL_RESTORE if kind is OperationKind.RESTORE else features.LIST_AND_CANCEL).require(server)
    path = _path_of(address) + ("/restore" if kind is OperationKind.RESTORE else "")
    params = _overrides(address)
    return Call("DELETE", path, answers.parse_nothing, params=params, backup_id=address.backup_id, has_answer=False)


def list_backups(backend: str) -> Call[tuple[ListedBackup, ...]]:
    """List the backups of a backend's default place; those made with another bucket or path are not in it."""
    return Call("GET", f"/backups/{backend}", answers.parse_list)


def read_meta() -> Call[answers.Meta]:
    """Ask for the server's version and modules."""
    return Call("GET", "/meta", answers.parse_meta)


def read_nodes() -> Call[tuple[answers.Node, ...]]:
    """Ask for the state of the cluster's nodes."""
    return Call("GET", "/nodes", answers.parse_nodes, params={"output": "minimal"}, permission="read_nodes")


def read_schema() -> Call[tuple[answers.CollectionSchema, ...]]:
    """Ask for the collections."""
    return Call("GET", "/schema", answers.parse_schema, permission="read_collections")


def read_aliases() -> Call[tuple[str, ...]]:
    """Ask for the names of the aliases."""
    return Call("GET", "/aliases", answers.parse_aliases, permission="read_aliases")


def delete_collection(name: str) -> Call[None]:
    """Delete a collection with all its objects."""
    path = f"/schema/{quote(name, safe='')}"
    return Call("DELETE", path, answers.parse_nothing, has_answer=False, permission="delete_collections")


def read_tenants(collection: str) -> Call[tuple[answers.Tenant, ...]]:
    """Ask for the tenants of a multi-tenant collection."""
    path = f"/schema/{quote(collection, safe='')}/tenants"
    return Call("GET", path, answers.parse_tenants, permission="read_tenants")


def set_tenants(collection: str, activities: Mapping[str, str]) -> Call[None]:
    """Set the activity (HOT, COLD, FROZEN) of tenants: tenant -> activity."""
    body = [{"name": name, "activityStatus": activity} for name, activity in activities.items()]
    path = f"/schema/{quote(collection, safe='')}/tenants"
    return Call("PUT", path, answers.parse_nothing, body=body, has_answer=False, permission="update_tenants")


def _path_of(address: BackupAddress) -> str:
    return f"/backups/{address.backend}/{require_legal_id(address.backup_id)}"


def _overrides(address: BackupAddress) -> dict[str, str]:
    return _given({"bucket": address.bucket, "path": address.path})


def _config(address: BackupAddress, cpu_percentage: int | None) -> dict[str, Any]:
    return _given({"CPUPercentage": cpu_percentage, "Bucket": address.bucket, "Path": address.path})


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not given: what is not sent can't be ignored."""
    return {name: value for name, value in fields.items() if value not in (None, [], {}, False, "")}


def _backup_fields(request: BackupRequest) -> list[tuple[object, Feature]]:
    return [
        (request.incremental_base_backup_id, features.INCREMENTAL),
        (request.include_users, features.INCLUDE_USERS),
        (request.include_roles, features.INCLUDE_ROLES),
        (request.compression or request.cpu_percentage, features.CONFIG),
        (request.address.bucket or request.address.path, features.BUCKET_AND_PATH),
        (request.cpu_percentage, _cpu(request.cpu_percentage)),
    ]


def _restore_fields(request: RestoreRequest) -> list[tuple[object, Feature]]:
    return [
        (request.node_mapping, features.NODE_MAPPING),
        (request.overwrite_alias, features.OVERWRITE_ALIAS),
        (request.roles_options or request.users_options, features.RESTORE_ACCESS),
        (request.address.bucket or request.address.path, features.BUCKET_AND_PATH),
        (request.cpu_percentage, _cpu(request.cpu_percentage)),
    ]


def _require_fields(server: Version, fields: list[tuple[object, Feature]]) -> None:
    for value, feature in fields:
        if value:
            feature.require(server)


def _cpu(percentage: int | None) -> Feature:
    if percentage is not None and percentage not in CPU_PERCENTAGES:
        raise InvalidRequest(
            f"cpu_percentage is {percentage}.",
            hint=f"Use a whole number from {CPU_PERCENTAGES[0]} to {CPU_PERCENTAGES[-1]}.",
        )
    return features.CONFIG


def _require_compression(level: str | None, server: Version) -> None:
    if level and level not in GZIP_LEVELS + OTHER_LEVELS:
        raise InvalidRequest(f"compression is {level!r}.", hint=f"Use one of {', '.join(GZIP_LEVELS + OTHER_LEVELS)}.")
    if level in OTHER_LEVELS:
        features.ZSTD_AND_NONE.require(server)
