"""Whether a server can restore what it is asked to, by the backup's descriptors in storage."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airflow_provider_vectorbackup.actions import compatibility
from airflow_provider_vectorbackup.actions.compatibility import Problem, StoredContents, require_none
from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.actions.stored_facts import Place, read_contents, read_links
from airflow_provider_vectorbackup.backups.chain import Link
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.weaviate import features
from airflow_provider_vectorbackup.weaviate.descriptors import GlobalDescriptor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestoreWish:
    """What of a backup is to be restored, and how.

    :param chosen: the collections.
    :param mapping: node of the backup -> node of the target, as the user gave it.
    :param maps_nodes: whether nodes that the target lacks, and the user did not name, go to others of it.
    """

    backup_id: str
    chosen: tuple[str, ...]
    mapping: Mapping[str, str]
    overwrite_alias: bool = False
    ignore_mismatch: bool = False
    maps_nodes: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """What the nodes' descriptors tell, and those of the backups that their files lie in."""

    contents: StoredContents
    links: Mapping[str, Link]


def require_restorable(
    target: Server, aliases: tuple[str, ...], wish: RestoreWish, place: Place, told: GlobalDescriptor
) -> dict[str, str]:
    """Return the node mapping to send, if backup and server fit; tell in the log what is odd about it.

    Nodes of the backup that take no part are left out of it: to the server, they are not the backup's.

    :param aliases: those that the server has.
    :raises PreflightFailed: they do not fit.
    """
    consequence = f"{place.root.uri_of(wish.backup_id)} can't be restored into this server"
    nodes = compatibility.nodes_taking_part(told, wish.chosen)
    coarse = list(compatibility.restore_problems(told, wish.backup_id, target))
    mapping = dict(wish.mapping)
    if wish.maps_nodes and len(nodes) <= len(target.nodes):
        proposed = compatibility.proposed_mapping(nodes, mapping, target.nodes)
        mapping |= {old: new for old, new in proposed.items() if old not in mapping and old != new}
    if not told.is_single:
        coarse += compatibility.node_problems(nodes, told.nodes, mapping, target.nodes)
    require_none(coarse, consequence, wish.backup_id)
    if compatibility.is_newer(told, target):
        log.warning(
            "The backup was made by Weaviate %s, and is restored by %s: that works, but is not promised.",
            told.server_version,
            target.version,
        )

    def read(store: Store) -> _Found:
        contents = read_contents(store, told, wish.chosen, nodes)
        return _Found(contents, read_links(store, told, contents.bases))

    if found := place.look(read):
        require_none(_problems(target, wish, found), consequence, wish.backup_id)
        _warn(target, aliases, wish, found.contents)
    return {old: new for old, new in mapping.items() if old in nodes or told.is_single}


def _problems(target: Server, wish: RestoreWish, found: _Found) -> Iterator[Problem]:
    for broken in found.contents.broken:
        yield Problem(broken, "Without it no server restores the backup: verify it, or restore another one.")
    yield from compatibility.chain_problem(found.links, wish.backup_id)
    yield from compatibility.alias_problems(found.contents.aliases, target)
    yield from compatibility.schema_problems(found.contents.schemas, target)
    if not wish.ignore_mismatch:
        yield from compatibility.mismatches(found.contents.schemas, target)


def _warn(target: Server, aliases: tuple[str, ...], wish: RestoreWish, contents: StoredContents) -> None:
    for mismatch in compatibility.mismatches(contents.schemas, target):
        log.warning("Restored all the same, as ignore_mismatch is set: %s", mismatch.what)
    there = compatibility.aliases_there(contents.aliases, aliases)
    if there and features.ALIASES.is_in(target.version):
        done = "will be pointed to what is restored" if wish.overwrite_alias else "stay as they are (overwrite_alias)"
        log.warning("Aliases of the backup that the server has already %s: %s", done, names_shown(there))
    for name, tenants in sorted(contents.left_out.items()):
        log.warning("The backup has no data of these tenants of %s: %s", name, names_shown(tenants))
