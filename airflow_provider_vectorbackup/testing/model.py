"""What the stand-in knows: the server's state, and the knobs that tests turn."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.weaviate.content_answers import Vector
from airflow_provider_vectorbackup.weaviate.features import Feature, Version, parse_version

BUCKET_KEYS = ("bucketName", "containerName")
PATH_KEYS = ("rootName", "backupsPath")
End = tuple[str, str]
"""How an operation ends: status and error."""

SCHEMES = {"s3": "s3://", "gcs": "gs://", "azure": "https://storage.example.com/", "filesystem": ""}

TIMES = Feature("times of backups", ("1.31.15", "1.32.8", "1.33.0"))
SIZE = Feature("the size of backups", ("1.33.12", "1.34.8", "1.35.3", "1.36.0"))
ORDER = Feature("order of the list", ("1.32.14", "1.33.2", "1.34.0"))
WILDCARDS = Feature("wildcards", ("1.36.0",))
RESTORE_STATES = Feature("TRANSFERRING and FINALIZING", ("1.36.0",))
NARROWING = Feature("narrowing to what the user may back up", ("1.36.19", "1.37.10", "1.38.2"))
OTHER_CODES = Feature("status codes by kind of error", ("1.37.10", "1.38.2"))
"""From here on many errors have other codes: unknown backends, bad ids, nodes that are not there."""


class Refused(Exception):
    """An error answer of the server; ``framework`` ones have the other of its two shapes."""

    def __init__(self, status: int, message: str, *, framework: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] | None = (
            {"code": framework, "message": message} if framework else {"error": [{"message": message}]}
        )


class NotThere(Refused):
    """404 without a word."""

    def __init__(self) -> None:
        super().__init__(404, "not found")
        self.body = None


class EmptyAnswer(Exception):
    """200 with nothing in it: what the server answers when its handler panics."""


class Key(NamedTuple):
    """Where a backup lies in storage."""

    backend: str
    bucket: str
    path: str
    backup_id: str

    @property
    def uri(self) -> str:
        """The place as the server names it."""
        parts = [part.strip("/") for part in (self.bucket, self.path, self.backup_id)]
        start = "/" if self.backend == "filesystem" else ""
        return SCHEMES.get(self.backend, "") + start + "/".join(filter(None, parts))


@dataclass
class StoredObject:
    """An object; its vectors by name, the unnamed one under ""."""

    properties: dict[str, Any] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)


@dataclass
class Collection:
    """A collection.

    :param tenants: tenant -> HOT, COLD, FROZEN; None if it has no multi-tenancy.
    :param config: what else the schema says of it, as it was given.
    :param objects: tenant ("" without tenants) -> id -> object.
    """

    name: str
    tenants: dict[str, str] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, dict[str, StoredObject]] = field(default_factory=dict)

    @property
    def vector_names(self) -> tuple[str, ...]:
        """Which vectors its objects can have; "" is the unnamed one."""
        return tuple(self.config.get("vectorConfig") or ("",))

    def objects_of(self, tenant: str) -> dict[str, StoredObject]:
        """Return the objects of a tenant, to look at or to change."""
        return self.objects.setdefault(tenant, {})

    def copy(self, left_out: frozenset[str] = frozenset()) -> Collection:
        """Return one that later changes do not reach, without tenants of the given activities."""
        kept = None if self.tenants is None else {n: a for n, a in self.tenants.items() if a not in left_out}
        objects = {t: found for t, found in self.objects.items() if kept is None or t in kept}
        return Collection(self.name, kept, copy.deepcopy(self.config), copy.deepcopy(objects))


@dataclass
class StoredBackup:
    """A backup as its descriptors in storage tell it."""

    status: str
    started_at: datetime
    collections: dict[str, Collection]
    error: str = ""
    completed_at: datetime | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    nodes: tuple[str, ...] = ("node1",)
    base_id: str = ""
    compression: str = "gzip"


@dataclass
class StoredRestore:
    """The last restore of a backup, as storage tells it."""

    status: str
    error: str = ""


@dataclass
class Running:
    """What holds one of the server's two slots.

    :param polls_left: how many looks at the status still find it running; None: until it is told to finish.
    :param early_polls_left: how many looks then find SUCCESS that is not in storage yet.
    :param looks: how many looks at a restore's status there were.
    """

    kind: OperationKind
    key: Key
    collections: tuple[str, ...]
    polls_left: int | None
    early_polls_left: int = 0
    looks: int = 0
    overwrite_alias: bool = False
    canceled: bool = False
    finalizing: bool = False
    ended: bool = False


@dataclass
class ServerState:
    """Everything that the stand-in knows; tests may change any of it while it runs.

    :param version: what the server says it is; decides which calls it knows and how it answers.
    :param nodes: node -> HEALTHY, UNHEALTHY, UNAVAILABLE, TIMEOUT.
    :param modules: the enabled modules with their settings, as ``/v1/meta`` shows them.
    :param collections: the schema.
    :param aliases: alias -> collection.
    :param api_keys: if there are any, requests without one of them get 401.
    :param permitted: the collections that the caller may back up and restore; None: all.
    :param roles: role -> its permissions, as ``/v1/authz/roles`` shows them. They forbid nothing.
    :param own_roles: those of them that the caller has, as ``/v1/users/own-info`` shows them; None: no word of roles.
    :param holders: collection -> the nodes on which its shards lie; one that is not named lies on all.
    :param cluster_id: two servers with the same one, and nodes of the same names, say they are one cluster.
    :param running_polls: how many looks at the status find an operation running before it ends; None: it runs until
        ``finish()``. Holds for operations started afterwards.
    :param early_success_polls: how many looks then find a backup's SUCCESS without a completion time.
    :param loses_final_write: whether a backup then falls back to STARTED, for ever.
    :param cancels_too_late: whether a cancellation comes too late: a backup ends in SUCCESS all the same, and a restore
        shows CANCELED once, then SUCCESS.
    :param after_restore: is given the collections that a restore brings, by name, and may change or remove them;
        it must not ask the server.
    """

    version: str = "1.39.2"
    nodes: dict[str, str] = field(default_factory=lambda: {"node1": "HEALTHY"})
    modules: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "backup-s3": {"bucketName": "backups", "endpoint": "storage.example.com", "useSSL": True},
            "backup-filesystem": {"backupsPath": "/var/weaviate/backups"},
        }
    )
    collections: dict[str, Collection] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    api_keys: set[str] = field(default_factory=set, repr=False)
    permitted: set[str] | None = None
    roles: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    own_roles: list[str] | None = None
    holders: dict[str, set[str]] = field(default_factory=dict)
    cluster_id: str = field(default_factory=lambda: secrets.token_hex(4))
    running_polls: int | None = 1
    early_success_polls: int = 0
    loses_final_write: bool = False
    cancels_too_late: bool = False
    after_restore: Callable[[dict[str, Collection]], None] | None = None
    backups: dict[Key, StoredBackup] = field(default_factory=dict)
    restores: dict[Key, StoredRestore] = field(default_factory=dict)
    running: dict[OperationKind, Running] = field(default_factory=dict)
    ends: list[End] = field(default_factory=list)
    _last_time: datetime = field(default=datetime(1, 1, 2, tzinfo=UTC), init=False)

    def knows(self, feature: Feature) -> bool:
        """Whether a server of this version has something."""
        return feature.is_in(self.parsed_version)

    @property
    def parsed_version(self) -> Version:
        """The version, to compare with."""
        return parse_version(self.version)

    def now(self) -> datetime:
        """Return the time, in milliseconds as the wire has it, later than the last one."""
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self._last_time = max(now, self._last_time + timedelta(milliseconds=1))
        return self._last_time

    def collection(self, name: str) -> Collection | None:
        """Return what a collection's name or alias stands for; None if there is nothing."""
        return self.collections.get(self.aliases.get(name, name))

    def key(self, backend: str, backup_id: str, given: Mapping[str, str | None]) -> Key:
        """Return where a backup lies; ``given`` may override ``bucket`` and ``path``."""
        settings = self.modules.get(f"backup-{backend}", {})
        bucket = next((settings[name] for name in BUCKET_KEYS if name in settings), "")
        path = next((settings[name] for name in PATH_KEYS if name in settings), "")
        if backend != "filesystem":
            bucket = given.get("bucket") or bucket
        return Key(backend, bucket, (given.get("path") or path).strip("/"), backup_id)

    def backend_of(self, name: str) -> str | None:
        """Return the short name of an enabled backend; its module's name is known too."""
        short = name.removeprefix("backup-")
        return short if f"backup-{short}" in self.modules else None

    def require_backend(self, name: str, *, word: str = "provider", code: int = 422) -> str:
        """Return the short name of an enabled backend; some calls say "backend" of one that is not, some "provider".

        :raises Refused: it is not enabled.
        """
        if (short := self.backend_of(name)) is None:
            raise Refused(
                code, f'no backup {word} "{name}": backup: {name} not found, did you enable the right module?'
            )
        return short

    def next_end(self) -> End:
        """Return how an operation that ends now ends."""
        return self.ends.pop(0) if self.ends else ("SUCCESS", "")

    def free(self, slot: Running, **changes: Any) -> None:
        """Write what became of an operation to storage, and give its slot free."""
        if slot.kind is OperationKind.BACKUP:
            self.backups[slot.key] = replace(self.backups[slot.key], **changes)
        else:
            self.restores[slot.key] = replace(self.restores[slot.key], **changes)
        self.running.pop(slot.kind, None)


def shown(names: tuple[str, ...] | list[str]) -> str:
    """Return names as the server's messages show them."""
    return f"[{' '.join(names)}]"
