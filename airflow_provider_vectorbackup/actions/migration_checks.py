"""Whether an environment can be migrated to another: facts of both clusters in, problems out. Nothing is read here.

What descriptors tell of a backup is asked once more before it is restored; here, there is none yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from airflow_provider_vectorbackup.actions import compatibility
from airflow_provider_vectorbackup.actions.compatibility import Problem
from airflow_provider_vectorbackup.actions.obstacles import find_obstacles
from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.weaviate import features
from airflow_provider_vectorbackup.weaviate.content_answers import Permissions
from airflow_provider_vectorbackup.weaviate.stored_schema import StoredSchema

SOURCE_ACTIONS = ("manage_backups", "read_collections", "read_data")
TARGET_ACTIONS = ("manage_backups", "read_collections", "read_data", "create_data", "delete_data")
"""What a migration does there: the comparison writes an object to each collection, and deletes it."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is known of a cluster that takes part.

    :param url: of its REST API.
    :param members: names and addresses of its nodes among one another; empty where that is not told.
    :param permissions: what the caller may do there.
    :param has_roles: whether roles decide there at all.
    """

    url: str
    server: Server
    aliases: Mapping[str, str] = field(default_factory=dict)
    members: frozenset[tuple[str, str]] = frozenset()
    permissions: Permissions = field(default_factory=lambda: Permissions(None))
    has_roles: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be migrated, and how.

    :param schemas: of the chosen collections.
    :param holders: the nodes of the source that hold shards of them.
    :param mapping: node of the source -> node of the target, as the user gave it.
    :param roles_options: ``all`` where roles are to be restored, too; as ``users_options``.
    """

    chosen: tuple[str, ...]
    schemas: Mapping[str, StoredSchema]
    holders: tuple[str, ...]
    mapping: Mapping[str, str]
    codec: Codec = Codec.GZIP
    is_incremental: bool = False
    roles_options: str | None = None
    users_options: str | None = None
    ignore_mismatch: bool = False


def migration_problems(source: Cluster, target: Cluster, wish: Wish) -> Iterator[Problem]:
    """Yield what keeps the target from taking over what the source has."""
    if is_same(source, target):
        yield Problem(
            f"Source and target are the same cluster ({target.url}).",
            "Give the connection of another one as the target.",
        )
        return
    yield from _in_the_way(source, target, wish)
    yield from _node_problems(source, target, wish)
    yield from _version_problems(source, target, wish)
    yield from compatibility.schema_problems(wish.schemas, target.server)
    if not wish.ignore_mismatch:
        yield from compatibility.mismatches(wish.schemas, target.server)
    yield from _access_problems(source, target, wish)
    yield from _permission_problems("source", source.permissions, SOURCE_ACTIONS, wish.chosen)
    yield from _permission_problems("target", target.permissions, TARGET_ACTIONS, wish.chosen)


def is_same(one: Cluster, other: Cluster) -> bool:
    """Whether both are one cluster, under one address or two.

    Nodes of two clusters may have the same names and addresses, in networks of their own; then they don't have the same
    collections as well, where one of them is to be filled.
    """
    if one.url == other.url:
        return True
    same_members = bool(one.members) and one.members == other.members
    return same_members and set(one.server.collection_names) == set(other.server.collection_names)


def full_mapping(source: Cluster, target: Cluster, wish: Wish) -> dict[str, str]:
    """Return a node of the target for each node of the source that may take part, the user's own choice first.

    The node that is asked for the backup takes part, too, and which one that is, nobody knows before.
    """
    nodes = source.server.nodes if len(source.server.nodes) <= len(target.server.nodes) else wish.holders
    return compatibility.proposed_mapping(nodes, wish.mapping, target.server.nodes) | dict(wish.mapping)


def notes(source: Cluster, target: Cluster, wish: Wish) -> Iterator[str]:
    """Yield what keeps nothing from being done, and is to be known."""
    if there := sorted(compatibility.aliases_there(_aliases(source, wish), tuple(target.aliases))):
        yield f"Aliases that the target has already: {names_shown(there)}."
    if len(source.server.nodes) > len(target.server.nodes) >= len(wish.holders):
        yield (
            f"The source has more nodes than the target ({len(source.server.nodes)}, {len(target.server.nodes)}). It "
            f"works if the backup is asked for at a node that holds data ({names_shown(wish.holders)})."
        )
    if source.has_roles and not (wish.roles_options or wish.users_options):
        yield "The source has roles; they and its users are not restored (roles_options, users_options)."
    if "all" in (wish.roles_options, wish.users_options):
        yield "Users or roles of the target are replaced by those of the backup; that can't be rolled back."
    if wish.ignore_mismatch:
        yield from (f"Ignored: {problem.what}" for problem in compatibility.mismatches(wish.schemas, target.server))


def _in_the_way(source: Cluster, target: Cluster, wish: Wish) -> Iterator[Problem]:
    obstacles = find_obstacles(target.server, tuple(target.aliases), wish.chosen)
    if obstacles:
        yield Problem(
            f"The target has already: {names_shown(obstacles.values())}.",
            "Delete them there, or migrate others (include, exclude). What an earlier migration has brought is "
            "removed by its rollback.",
        )
    yield from compatibility.alias_problems(_aliases(source, wish), target.server)


def _aliases(source: Cluster, wish: Wish) -> dict[str, str]:
    return {alias: name for alias, name in source.aliases.items() if name in wish.chosen}


def _node_problems(source: Cluster, target: Cluster, wish: Wish) -> Iterator[Problem]:
    known, nodes = source.server.nodes, target.server.nodes
    if len(wish.holders) > len(nodes):
        yield Problem(
            f"The collections lie on {len(wish.holders)} nodes ({names_shown(wish.holders)}) and the target has "
            f"{len(nodes)} ({names_shown(nodes)}); Weaviate can't restore two nodes to one.",
            "Take a target that has as many, or choose collections that lie on fewer (include).",
        )
        return
    yield from compatibility.node_problems(wish.holders, known, full_mapping(source, target, wish), nodes)


def _version_problems(source: Cluster, target: Cluster, wish: Wish) -> Iterator[Problem]:
    made, reads = source.server.version, target.server.version
    if made[:2] > reads[:2] and not wish.ignore_mismatch:
        yield Problem(
            f"The target is older than the source (Weaviate {reads}, {made}): no version promises to read what a newer "
            "one has written.",
            "Update the target, or set ignore_mismatch to try all the same.",
        )
    for is_needed, feature in (
        (wish.codec is not Codec.GZIP, features.ZSTD_AND_NONE),
        (wish.is_incremental, features.INCREMENTAL),
    ):
        if is_needed and not feature.is_in(reads):
            yield Problem(
                f"The target, Weaviate {reads}, does not know {feature.name}, which the backup would be made with.",
                f"Leave it out, or update the target to {' or '.join(feature.since)}.",
            )


def _access_problems(source: Cluster, target: Cluster, wish: Wish) -> Iterator[Problem]:
    wanted = [name for name in ("roles", "users") if getattr(wish, f"{name}_options") == "all"]
    if not wanted:
        return
    if not features.RESTORE_ACCESS.is_in(target.server.version):
        yield Problem(
            f"The target, Weaviate {target.server.version}, does not restore {' and '.join(wanted)}.",
            f"Leave roles_options and users_options out, or update it to {' or '.join(features.RESTORE_ACCESS.since)}.",
        )
    if "roles" in wanted and not target.has_roles:
        yield Problem(
            "Roles are to be restored, and the target has none switched on: it would leave them out without a word.",
            "Switch them on there (AUTHORIZATION_RBAC_ENABLED), let the connection's user read roles, or leave "
            "roles_options out.",
        )
    if "roles" in wanted and not source.has_roles:
        yield Problem("Roles are to be restored, and the source has none.", "Leave roles_options out.")


def _permission_problems(
    side: str, permissions: Permissions, actions: Collection[str], chosen: tuple[str, ...]
) -> Iterator[Problem]:
    for action in actions:
        if lacking := permissions.lacks(action, chosen):
            yield Problem(
                f"The {side}'s user lacks the permission {action} on {names_shown(lacking)}.",
                f"Give the user of the {side}'s connection a role with it.",
            )
