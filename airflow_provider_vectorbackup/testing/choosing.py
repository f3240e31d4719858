"""Which collections the server takes a request to mean, traps included."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_vectorbackup.backups.selection import is_pattern
from airflow_provider_vectorbackup.testing.model import NARROWING, WILDCARDS, Refused, ServerState, shown


def for_backup(state: ServerState, body: Mapping[str, Any]) -> list[str]:
    """Return the collections that a backup takes."""
    include, exclude = _lists(body)
    available = list(state.collections)
    for name in _names(state, include):
        if name not in available:
            raise Refused(422, f"class {name} doesn't exist")
    if not available:
        raise Refused(422, "no available classes to backup, there's nothing to do here")
    return _permitted(state, _chosen(state, available, include, exclude, "empty class list"), include)


def for_restore(state: ServerState, body: Mapping[str, Any], available: Sequence[str]) -> list[str]:
    """Return the collections that a restore takes of those in a backup."""
    include, exclude = _lists(body)
    for name in _names(state, include):
        if name not in available:
            raise Refused(422, f"class {name} doesn't exist in the backup, but does have {shown([*available])}: ")
    return _permitted(state, _chosen(state, available, include, exclude, "nothing left to restore"), include)


def _lists(body: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    include, exclude = list(body.get("include") or ()), list(body.get("exclude") or ())
    if include and exclude:
        raise Refused(422, "malformed request: 'include' and 'exclude' cannot both contain values")
    for argument, names in (("include", include), ("exclude", exclude)):
        for name in names:
            if names.count(name) > 1:
                raise Refused(422, f"class list '{argument}' contains duplicate: {name}")
    return include, exclude


def _names(state: ServerState, given: Sequence[str]) -> list[str]:
    """Return what is not a wildcard; to an old server nothing is one."""
    return [name for name in given if not (is_pattern(name) and state.knows(WILDCARDS))]


def _chosen(
    state: ServerState, available: Sequence[str], include: Sequence[str], exclude: Sequence[str], problem: str
) -> list[str]:
    found = [name for name in available if _fits(state, name, include)]
    if include and found:
        return found
    # Here is the trap: wildcards of include that match nothing count as no include at all.
    left = [name for name in available if not _fits(state, name, exclude)]
    if not left:
        raise Refused(422, f"{problem}: please choose from : {shown([*available])}")
    return left


def _fits(state: ServerState, name: str, given: Sequence[str]) -> bool:
    exact = _names(state, given)
    return name in exact or any(fnmatch.fnmatchcase(name, pattern) for pattern in given if pattern not in exact)


def _permitted(state: ServerState, chosen: list[str], include: Sequence[str]) -> list[str]:
    """Narrow without a word, as newer servers do, or refuse."""
    if state.permitted is None:
        return chosen
    allowed = [name for name in chosen if name in state.permitted]
    if allowed == chosen or (allowed and not include and state.knows(NARROWING)):
        return allowed
    denied = next(name for name in chosen if name not in state.permitted)
    raise Refused(
        403,
        f"rbac: authorization, forbidden action: user 'u' has insufficient permissions to create_backups "
        f"[[Domain: backups,Collection: {denied}]]",
    )
