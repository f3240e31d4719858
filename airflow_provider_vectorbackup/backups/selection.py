"""Which collections a request means, and whether the server took them.

The server takes a list of wildcards that matches nothing as "everything", for create and for restore. So patterns are
expanded here, and only names are sent.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Iterable, Sequence

from airflow_provider_vectorbackup.exceptions import InvalidRequest

_SHOWN = 20


def names_shown(names: Iterable[str]) -> str:
    """Return names for a message: sorted, at most 20 of them."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more if ordered else "none"


def is_pattern(name: str) -> bool:
    """Whether ``name`` is a wildcard (``*``, ``?``) and not a name."""
    return "*" in name or "?" in name


def select_collections(
    available: Collection[str], *, include: Sequence[str] = (), exclude: Sequence[str] = (), where: str
) -> tuple[str, ...]:
    """Return the collections of ``available`` that are meant, sorted.

    :param where: what holds ``available``, for messages: "the server", "backup x".
    :raises InvalidRequest: both lists are given, a name of ``include`` is not there, a pattern of it matches nothing,
        or nothing is left.
    """
    if include and exclude:
        raise InvalidRequest("include and exclude are both given.", hint="Give one of them.")
    if include:
        chosen = {match for name in include for match in _matches(name, available, where)}
    else:
        chosen = {name for name in available if not any(_fits(name, pattern) for pattern in exclude)}
    if not chosen:
        raise InvalidRequest(
            f"There is no collection left to work on: {where} has {names_shown(available)}"
            + (f", and exclude is {names_shown(exclude)}." if exclude else ".")
        )
    return tuple(sorted(chosen))


def unmatched(names: Iterable[str], available: Collection[str]) -> tuple[str, ...]:
    """Return those names and patterns that fit nothing in ``available``."""
    return tuple(name for name in names if not any(_fits(candidate, name) for candidate in available))


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) if is_pattern(pattern) else name == pattern


def _matches(name: str, available: Collection[str], where: str) -> list[str]:
    if found := [candidate for candidate in available if _fits(candidate, name)]:
        return found
    if is_pattern(name):
        raise InvalidRequest(f"The pattern {name!r} of include matches no collection.", hint=_has(where, available))
    close = difflib.get_close_matches(name.lower(), {a.lower(): a for a in available}, n=1)
    meant = next((a for a in available if close and a.lower() == close[0]), None)
    suggestion = f"Did you mean {meant!r}? " if meant else ""
    raise InvalidRequest(f"There is no collection {name!r}.", hint=suggestion + _has(where, available))


def _has(where: str, available: Collection[str]) -> str:
    return f"{where[0].upper()}{where[1:]} has: {names_shown(available)}."
