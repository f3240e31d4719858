"""Find out what a migration from one cluster to another would do, and whether it can be done, before anything is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice

from airflow_provider_vectorbackup.actions.compatibility import Problem, require_none
from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.migration_checks import (
    Cluster,
    Wish,
    full_mapping,
    is_same,
    migration_problems,
    notes,
)
from airflow_provider_vectorbackup.actions.server import address_in, identify_server, ready_server, require_same_place
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.migration import ClusterFacts, MigrationPlan
from airflow_provider_vectorbackup.backups.selection import names_shown, select_collections
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind
from airflow_provider_vectorbackup.exceptions import (
    Forbidden,
    InvalidRequest,
    NotFound,
    Rejected,
    VectorBackupError,
)
from airflow_provider_vectorbackup.weaviate import calls, content_calls, features
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.content_answers import Permissions
from airflow_provider_vectorbackup.weaviate.descriptor_fields import DescriptorFields
from airflow_provider_vectorbackup.weaviate.stored_schema import StoredSchema, parse_schema

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a migration.

    :param location: where its backups lie, as a worker reaches them.
    """

    client: WeaviateClient
    backend: str
    location: Location | None


@dataclass(frozen=True, slots=True)
class MigrationOrder:
    """A migration as a user asks for it; ``include`` and ``exclude`` may hold wildcards.

    :param probe_id: an id under which there is no backup, to ask for.
    :param incremental_base: a backup id, ``latest``, or None for a full backup.
    :param forbids_inactive: whether tenants that are not active are in the way.
    """

    probe_id: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    node_mapping: Mapping[str, str] = field(default_factory=dict)
    incremental_base: str | None = None
    compression: str | None = None
    overwrite_alias: bool = False
    roles_options: str | None = None
    users_options: str | None = None
    ignore_mismatch: bool = False
    forbids_inactive: bool = False


def plan_migration(source: End, target: End, order: MigrationOrder, open_store: OpenStore) -> MigrationPlan:
    """Return what a migration would do. Nothing is written anywhere.

    :raises PreflightFailed: it can't be done; all reasons are named.
    :raises InvalidRequest: there is no such collection, or a location is not known.
    :raises VectorBackupError: a server or a storage can't be reached, or refuses to be read.
    """
    with _named("Source"):
        one, of_source = _cluster(source), _location(source)
        chosen = select_collections(
            one.server.collection_names, include=order.include, exclude=order.exclude, where="the source"
        )
        wish = _wish(source.client, one, chosen, order)
        require_same_place(one.server, BackupAddress(source.backend, order.probe_id), str(of_source))
    with _named("Target"):
        other, of_target = _cluster(target), _location(target)
        address = address_in(other.server, target.backend, of_target, order.probe_id)
    _require_sendable(source.backend, one, other, order)
    problems = list(migration_problems(one, other, wish))
    if order.forbids_inactive:
        problems += _inactive(source.client, one, chosen)
    problems += _namesakes(one, of_source, other, of_target)
    if not is_same(one, other):
        problems += _storage_problems(source, target, address, open_store)
    require_none(problems, f"{one.url} can't be migrated to {other.url}", "")
    plan = MigrationPlan(
        _facts(one, source.backend, of_source),
        _facts(other, target.backend, of_target),
        chosen,
        {alias: name for alias, name in sorted(one.aliases.items()) if name in chosen},
        {old: new for old, new in full_mapping(one, other, wish).items() if old != new},
        is_copied=not of_source.has_name_of(of_target),
        bucket=address.bucket,
        path=address.path,
        base=order.incremental_base,
        access=_access(order),
    )
    return replace(plan, warnings=(*notes(one, other, wish), *_shared_root(one, other, plan)))


def _require_sendable(backend: str, source: Cluster, target: Cluster, order: MigrationOrder) -> None:
    """Raise for options that one of the servers would not know, or that are none.

    :raises InvalidRequest: there is one.
    """
    address = BackupAddress(backend, order.probe_id)
    with _named("Source"):
        made = calls.BackupRequest(address, compression=order.compression)
        calls.create_backup(made, source.server.version)
    with _named("Target"):
        wanted = calls.RestoreRequest(
            address,
            overwrite_alias=order.overwrite_alias,
            roles_options=order.roles_options,
            users_options=order.users_options,
        )
        calls.restore_backup(wanted, target.server.version)


def _cluster(end: End) -> Cluster:
    client = end.client
    server = ready_server(client, identify_server(client, end.backend))
    permissions = Permissions(None)
    with suppress(Rejected):
        permissions = client.send(content_calls.read_own_permissions())
    members: frozenset[tuple[str, str]] = frozenset()
    with suppress(Rejected):
        members = client.send(content_calls.read_members())
    has_roles = permissions.granted is not None
    if not has_roles:
        with suppress(Rejected):
            has_roles = bool(client.send(content_calls.read_roles()))
    aliases = client.send(content_calls.read_alias_targets()) if features.ALIASES.is_in(server.version) else {}
    return Cluster(client.endpoint.base_url, server, aliases, members, permissions, has_roles)


def _wish(client: WeaviateClient, source: Cluster, chosen: tuple[str, ...], order: MigrationOrder) -> Wish:
    return Wish(
        chosen,
        {name: _schema(client, name) for name in chosen},
        _holders(client, source, chosen),
        order.node_mapping,
        codec=calls.codec_of_level(order.compression),
        is_incremental=order.incremental_base is not None,
        roles_options=order.roles_options,
        users_options=order.users_options,
        ignore_mismatch=order.ignore_mismatch,
    )


def _schema(client: WeaviateClient, name: str) -> StoredSchema:
    told = client.send(content_calls.read_class(name))
    schema = parse_schema(DescriptorFields(f"the schema of {name}", "", told))
    if schema is None:
        raise AssertionError("there is a schema")
    return schema


def _holders(client: WeaviateClient, source: Cluster, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """Return the nodes that hold shards of these collections; all of them where that is not told.

    It is told of active tenants only, and not to a user who may not see it.
    """
    try:
        placed = client.send(content_calls.read_shard_nodes())
    except Forbidden as error:
        log.warning("Which nodes hold the collections is not known, so all of them count. %s", error.message)
        return source.server.nodes
    everywhere = frozenset(source.server.nodes)
    multi_tenant = {collection.name for collection in source.server.collections if collection.is_multi_tenant}
    told = {
        name: placed[name]
        for name in chosen
        if name in placed and not (name in multi_tenant and len(everywhere) > 1 and _inactive_tenants(client, name))
    }
    holders = frozenset[str]().union(*(told.get(name, everywhere) for name in chosen))
    return tuple(node for node in source.server.nodes if node in holders)


def _inactive(client: WeaviateClient, source: Cluster, chosen: tuple[str, ...]) -> Iterator[Problem]:
    """Yield tenants whose content can't be recorded, and so not be compared after all is restored."""
    multi_tenant = [collection.name for collection in source.server.collections if collection.is_multi_tenant]
    for name in multi_tenant:
        if name in chosen and (inactive := _inactive_tenants(client, name)):
            yield Problem(
                f"Tenants of {name} are not active, so what they hold can't be compared: {names_shown(inactive)}.",
                "Activate them, or set inactive_tenants to 'activate' (and put back afterwards) or 'warn'.",
            )


def _inactive_tenants(client: WeaviateClient, collection: str) -> list[str]:
    return [tenant.name for tenant in client.send(calls.read_tenants(collection)) if not tenant.is_active]


def _location(end: End) -> Location:
    if end.location is None:
        raise InvalidRequest(
            f"Where the backups of backend {end.backend!r} lie is not known.",
            hint="Give a location, or put one for the backend into the connection.",
        )
    return end.location


def _storage_problems(source: End, target: End, address: BackupAddress, open_store: OpenStore) -> Iterator[Problem]:
    """Yield why the worker can't list one of the locations, or the target's server can't read its own."""
    for side, end in (("source", source), ("target", target)):
        try:
            with closing(open_store(_location(end))) as store:
                for _ in islice(store.list_objects(f"{address.backup_id}/"), 1):
                    pass
        except VectorBackupError as error:
            if error.retryable:
                raise
            yield Problem(f"The worker can't list the {side}'s location: {error.message}", error.hint)
    try:
        target.client.send(calls.status_of(OperationKind.BACKUP, address))
    except NotFound:
        return
    except VectorBackupError as error:
        yield Problem(
            f"The target's server can't read {target.location}: {error.message}",
            "Look at its bucket, its credentials and its network.",
        )


def _facts(cluster: Cluster, backend: str, location: Location) -> ClusterFacts:
    return ClusterFacts(cluster.url, str(cluster.server.version), cluster.server.nodes, backend, str(location))


def _namesakes(source: Cluster, of_source: Location, target: Cluster, of_target: Location) -> Iterator[Problem]:
    """Yield two places of one name, in two accounts or in two S3 servers: a copy can't tell them apart."""
    if not of_source.has_name_of(of_target):
        return
    # Servers may reach one place by two names; by one connection, the worker sees one place.
    is_one = of_source.conn_id == of_target.conn_id
    if not is_one and (of_source.scheme == "azure" or source.server.endpoint != target.server.endpoint):
        yield Problem(
            f"{of_source} and {of_target} have one name, and seem to be two places.",
            "Give the target another path or bucket; if they are one place, name it by one connection.",
        )


def _access(order: MigrationOrder) -> str:
    wanted = [n for n, option in (("users", order.users_options), ("roles", order.roles_options)) if option == "all"]
    return f"{' and '.join(wanted)}, in place of the target's" if wanted else ""


def _shared_root(source: Cluster, target: Cluster, plan: MigrationPlan) -> Iterator[str]:
    """Yield what is to be known where both clusters write to one place."""
    one, other = source.server, target.server
    places = [(server.backend, server.bucket, server.path) for server in (one, other)]
    is_known = not plan.is_copied or (one.backend != "azure" and one.endpoint == other.endpoint)
    if places[0] == places[1] and is_known and one.backend != "filesystem":
        yield (
            "Both clusters write their backups to one place. With ENABLE_CLEANUP_UNFINISHED_BACKUPS, a start of one "
            "marks running backups of the other as CANCELED: give each a path of its own (BACKUP_…_PATH)."
        )


@contextmanager
def _named(side: str) -> Iterator[None]:
    """Say in errors which of the two clusters they are about."""
    try:
        yield
    except VectorBackupError as error:
        raise type(error)(f"{side}: {error.message}", hint=error.hint, backup_id=error.backup_id) from error
