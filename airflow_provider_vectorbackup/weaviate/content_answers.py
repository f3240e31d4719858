"""Parsers of answers about what a server holds. A shape that is not of this API is an ``UnexpectedAnswer``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from airflow_provider_vectorbackup.exceptions import Forbidden, Rejected, UnexpectedAnswer, WeaviateError
from airflow_provider_vectorbackup.weaviate.answers import array_of, object_of, parse_nothing, text_of

__all__ = ["FoundObject", "Near", "Permissions", "Vector", "parse_nothing"]

Vector = list[float] | list[list[float]]
"""One row of numbers, or several (multi-vectors)."""

_NOT_ACTIVE = "tenant not active"


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object.

    :param vectors: by name; the unnamed one is under "".
    """

    object_id: str
    properties: Mapping[str, Any]
    vectors: Mapping[str, Vector]


@dataclass(frozen=True, slots=True)
class Near:
    """An object that a search has found, and its distance from the query."""

    object_id: str
    distance: float


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a caller may do.

    :param granted: (action, pattern of collections); None where roles do not decide.
    """

    granted: frozenset[tuple[str, str]] | None

    def lacks(self, action: str, collections: Iterable[str]) -> tuple[str, ...]:
        """Return those of the collections for which no role holds an action."""
        if self.granted is None:
            return ()
        patterns = [pattern for name, pattern in self.granted if name == action]
        return tuple(name for name in collections if not any(fnmatchcase(name, pattern) for pattern in patterns))


def parse_class(data: Any) -> Mapping[str, Any]:
    """Read a collection's configuration."""
    return object_of(data)


def parse_alias_targets(data: Any) -> Mapping[str, str]:
    """Read the aliases with their collections."""
    entries = [object_of(entry) for entry in array_of(object_of(data).get("aliases") or [])]
    return {text_of(entry, "alias"): text_of(entry, "class") for entry in entries}


def parse_objects(data: Any) -> tuple[FoundObject, ...]:
    """Read a list of objects."""
    return tuple(parse_object(entry) for entry in array_of(object_of(data).get("objects") or []))


def parse_object(data: Any) -> FoundObject:
    """Read an object."""
    fields = object_of(data)
    vectors: dict[str, Vector] = dict(object_of(fields.get("vectors") or {}))
    if unnamed := fields.get("vector"):
        vectors[""] = array_of(unnamed)
    if not all(_is_vector(vector) for vector in vectors.values()):
        raise UnexpectedAnswer("The server answered something else where a vector belongs.")
    return FoundObject(
        text_of(fields, "id"),
        object_of(fields.get("properties") or {}),
        {name: vector for name, vector in vectors.items() if vector},
    )


def parse_counts(data: Any, *, count: int) -> tuple[int | None, ...]:
    """Read the answer to :func:`~.content_calls.count_objects`."""
    found = _fields(data, "Aggregate")
    return tuple(_count(found.get(f"t{number}")) for number in range(count))


def parse_nearest(data: Any, *, count: int) -> tuple[tuple[Near, ...], ...]:
    """Read the answer to :func:`~.content_calls.find_nearest`."""
    found = _fields(data, "Get")
    return tuple(tuple(map(_near, array_of(found.get(f"q{number}") or []))) for number in range(count))


def parse_permissions(data: Any) -> Permissions:
    """Read what the caller may do."""
    roles = object_of(data).get("roles")
    if not roles:
        return Permissions(None)
    entries = [
        object_of(entry) for role in array_of(roles) for entry in array_of(object_of(role).get("permissions") or [])
    ]
    return Permissions(frozenset((text_of(entry, "action"), _pattern(entry)) for entry in entries))


def parse_role_names(data: Any) -> tuple[str, ...]:
    """Read the names of roles."""
    return tuple(text_of(object_of(entry), "name") for entry in array_of(data))


def parse_shard_nodes(data: Any) -> Mapping[str, frozenset[str]]:
    """Read on which nodes each collection's shards lie."""
    found: dict[str, set[str]] = {}
    for node in map(object_of, array_of(object_of(data).get("nodes"))):
        for shard in map(object_of, array_of(node.get("shards") or [])):
            found.setdefault(text_of(shard, "class"), set()).add(text_of(node, "name"))
    return {name: frozenset(nodes) for name, nodes in found.items()}


def parse_members(data: Any) -> frozenset[tuple[str, str]]:
    """Read the members of a cluster."""
    statistics = [object_of(entry) for entry in array_of(object_of(data).get("statistics") or [])]
    raft = [object_of(entry.get("raft") or {}) for entry in statistics]
    members = [object_of(member) for told in raft for member in array_of(told.get("latestConfiguration") or [])]
    return frozenset((text_of(member, "id"), text_of(member, "address")) for member in members)


def _fields(data: Any, kind: str) -> dict[str, Any]:
    """Return what was asked for of a GraphQL answer; tenants that are not active are null there, with an error each."""
    fields = object_of(data)
    errors = [text_of(object_of(error), "message") for error in array_of(fields.get("errors") or [])]
    if real := [message for message in errors if _NOT_ACTIVE not in message]:
        raise _refusal(real[0])
    return object_of(object_of(fields.get("data") or {}).get(kind) or {})


def _refusal(message: str) -> WeaviateError:
    if "forbidden action" in message:
        return Forbidden(
            f"Weaviate refuses a query: {message}.",
            hint="The user needs a role with the permission read_data.",
            status_code=403,
        )
    return Rejected(f"Weaviate refuses a query: {message}.")


def _count(value: Any) -> int | None:
    if value is None:
        return None
    first = object_of(array_of(value)[0]) if array_of(value) else {}
    number = object_of(first.get("meta") or {}).get("count")
    if not isinstance(number, int | float) or not math.isfinite(number):
        raise UnexpectedAnswer("The server answered no number where a count belongs.")
    return int(number)


def _near(value: Any) -> Near:
    told = object_of(object_of(value).get("_additional") or {})
    distance = told.get("distance")
    if not isinstance(distance, int | float) or not math.isfinite(distance):
        raise UnexpectedAnswer("The server answered a search without distances.")
    return Near(text_of(told, "id"), float(distance))


def _is_vector(value: Any) -> bool:
    rows = value if isinstance(value, list) else None
    if rows and isinstance(rows[0], list):
        return all(isinstance(row, list) and all(isinstance(n, int | float) for n in row) for row in rows)
    return rows is not None and all(isinstance(number, int | float) for number in rows)


def _pattern(entry: Mapping[str, Any]) -> str:
    """Return which collections a permission is for; ``*`` for one that is for none in particular."""
    scopes = [value for name, value in entry.items() if name != "action" and isinstance(value, dict)]
    collections = [scope["collection"] for scope in scopes if isinstance(scope.get("collection"), str)]
    return collections[0] if collections else "*"
