"""Collections and aliases that stand where a restore would put its own, and what to do about them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import StrEnum

from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.exceptions import NothingToRestore, PreflightFailed
from airflow_provider_vectorbackup.weaviate import calls, features
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)


class IfCollectionExists(StrEnum):
    """What to do about collections that are in the way of a restore."""

    FAIL = "fail"
    SKIP = "skip"
    REPLACE = "replace"


def aliases_of(client: WeaviateClient, server: Server) -> tuple[str, ...]:
    """Return the names of the server's aliases; an old one has none."""
    return client.send(calls.read_aliases()) if features.ALIASES.is_in(server.version) else ()


def find_obstacles(server: Server, aliases: tuple[str, ...], chosen: tuple[str, ...]) -> dict[str, str]:
    """Return what stands where a chosen collection would go: chosen name -> "collection X" or "alias X".

    Names that differ in case only, and aliases, are in the way too; the server finds that out only at the end.
    """
    taken = {name.casefold(): f"collection {name}" for name in server.collection_names}
    taken |= {name.casefold(): f"alias {name}" for name in aliases}
    return {name: taken[name.casefold()] for name in chosen if name.casefold() in taken}


def clear_way(
    chosen: tuple[str, ...], obstacles: Mapping[str, str], policy: IfCollectionExists, backup_id: str
) -> tuple[str, ...]:
    """Return the collections that are left to restore.

    :raises PreflightFailed: the policy is to fail, or to replace what can't be replaced (an alias, another spelling).
    :raises NothingToRestore: the policy is to skip, and nothing is left.
    """
    if policy is IfCollectionExists.SKIP:
        return _without_obstacles(chosen, obstacles)
    replacing = policy is IfCollectionExists.REPLACE
    if blocking := [what for name, what in obstacles.items() if not (replacing and what == f"collection {name}")]:
        raise PreflightFailed(
            f"In the way of the restore: {names_shown(blocking)}.",
            hint="Delete them, restore others (include, exclude), or set if_collection_exists to 'skip', or to "
            "'replace' with allow_replace=True.",
            backup_id=backup_id,
        )
    return chosen


def _without_obstacles(chosen: tuple[str, ...], obstacles: Mapping[str, str]) -> tuple[str, ...]:
    left = tuple(name for name in chosen if name not in obstacles)
    if obstacles:
        log.info("There already, skipped: %s", names_shown(obstacles))
    if chosen and not left:
        raise NothingToRestore(f"All collections of the restore are there already: {names_shown(chosen)}.")
    return left
