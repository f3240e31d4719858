"""Request builders for what a server holds (objects, counts, nearest vectors), who may use it, what it is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from airflow_provider_vectorbackup.weaviate import content_answers
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.content_answers import FoundObject, Near, Vector

FIRST_ID = "00000000-0000-0000-0000-000000000000"
"""Before all others: an object can't have it."""

_READ, _WRITE, _DELETE = "read_data", "create_data", "delete_data"


def read_class(collection: str) -> Call[Mapping[str, Any]]:
    """Ask for a collection's whole configuration, as the server tells it."""
    path = f"/schema/{quote(collection, safe='')}"
    return Call("GET", path, content_answers.parse_class, permission="read_collections")


def read_alias_targets() -> Call[Mapping[str, str]]:
    """Ask for the aliases: alias -> collection."""
    return Call("GET", "/aliases", content_answers.parse_alias_targets, permission="read_aliases")


def delete_alias(alias: str) -> Call[None]:
    """Delete an alias; its collection stays."""
    path = f"/aliases/{quote(alias, safe='')}"
    return Call("DELETE", path, content_answers.parse_nothing, has_answer=False, permission="delete_aliases")


def list_objects(collection: str, tenant: str, after: str, limit: int) -> Call[tuple[FoundObject, ...]]:
    """Ask for the objects whose ids follow ``after``, which need not be an object's, with their vectors.

    :param tenant: empty for a collection without tenants, as for all calls here.
    """
    params = {"class": collection, "after": after, "limit": str(limit), "include": "vector"} | _tenant(tenant)
    return Call("GET", "/objects", content_answers.parse_objects, params=params, permission=_READ)


def read_object(collection: str, tenant: str, object_id: str) -> Call[FoundObject]:
    """Ask for an object with its vectors; one that is not there is a NotFound."""
    params = {"include": "vector"} | _tenant(tenant)
    return Call("GET", _path(collection, object_id), content_answers.parse_object, params=params, permission=_READ)


def write_object(collection: str, tenant: str, object_id: str, vectors: Mapping[str, Vector]) -> Call[FoundObject]:
    """Write an object without properties; one of that id that is there is refused.

    :param vectors: by name, the unnamed one under "". With all of them, no vectorizer is asked.
    """
    body: dict[str, Any] = {"class": collection, "id": object_id, "properties": {}} | _tenant(tenant)
    named = {name: vector for name, vector in vectors.items() if name}
    body |= ({"vector": vectors[""]} if "" in vectors else {}) | ({"vectors": named} if named else {})
    return Call("POST", "/objects", content_answers.parse_object, body=body, permission=_WRITE)


def delete_object(collection: str, tenant: str, object_id: str) -> Call[None]:
    """Delete an object; one that is not there is no error."""
    path, parse = _path(collection, object_id), content_answers.parse_nothing
    return Call("DELETE", path, parse, params=_tenant(tenant), has_answer=False, permission=_DELETE)


def count_objects(collection: str, tenants: Sequence[str]) -> Call[tuple[int | None, ...]]:
    """Ask how many objects tenants have; None for one that is not active.

    :param tenants: ``[""]`` for a collection without tenants.
    """
    asked = (
        f"t{number}: {collection}{_selected(tenant)} {{ meta {{ count }} }}" for number, tenant in enumerate(tenants)
    )
    return _query("Aggregate", asked, partial(content_answers.parse_counts, count=len(tenants)))


def find_nearest(
    collection: str, tenant: str, queries: Sequence[tuple[str, Vector]], limit: int
) -> Call[tuple[tuple[Near, ...], ...]]:
    """Ask for the objects nearest to each of some vectors.

    :param queries: the name of the vector to search in (empty for the unnamed one), and the vector to be near to.
    """
    asked = []
    for number, (name, vector) in enumerate(queries):
        target = f" targetVectors: {json.dumps([name])}" if name else ""
        near = f"nearVector: {{ vector: {json.dumps(vector)}{target} }} limit: {limit}"
        where = f"({near} {_argument(tenant)})" if tenant else f"({near})"
        asked.append(f"q{number}: {collection}{where} {{ _additional {{ id distance }} }}")
    return _query("Get", asked, partial(content_answers.parse_nearest, count=len(queries)))


def read_own_permissions() -> Call[content_answers.Permissions]:
    """Ask what the caller may do; an anonymous one is a 401."""
    return Call("GET", "/users/own-info", content_answers.parse_permissions)


def read_roles() -> Call[tuple[str, ...]]:
    """Ask for the roles that the caller may see; a server without roles has none, not even built-in ones."""
    return Call("GET", "/authz/roles", content_answers.parse_role_names, permission="read_roles")


def read_shard_nodes() -> Call[Mapping[str, frozenset[str]]]:
    """Ask on which nodes the shards of each collection lie: collection -> nodes."""
    params = {"output": "verbose"}
    return Call("GET", "/nodes", content_answers.parse_shard_nodes, params=params, permission="read_nodes (verbose)")


def read_members() -> Call[frozenset[tuple[str, str]]]:
    """Ask for the cluster's members: their names, and the addresses by which they know one another."""
    return Call("GET", "/cluster/statistics", content_answers.parse_members, permission="read_cluster")


def _query(kind: str, asked: Any, parse: Any) -> Call[Any]:
    body = {"query": f"{{ {kind} {{ {' '.join(asked)} }} }}"}
    return Call("POST", "/graphql", parse, body=body, is_query=True, permission=_READ)


def _tenant(tenant: str) -> dict[str, str]:
    return {"tenant": tenant} if tenant else {}


def _argument(tenant: str) -> str:
    return f"tenant: {json.dumps(tenant)}"


def _selected(tenant: str) -> str:
    return f"({_argument(tenant)})" if tenant else ""


def _path(collection: str, object_id: str) -> str:
    return f"/objects/{quote(collection, safe='')}/{quote(object_id, safe='')}"
