"""How the stand-in keeps objects: list, read, write, delete."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from airflow_provider_vectorbackup.testing.model import Collection, NotThere, Refused, ServerState, StoredObject

_DEFAULT_LIMIT = 10
_HIGHEST_LIMIT = 10_000
_NO_UNNAMED = "configuration does not have single vector index"
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def list_all(state: ServerState, params: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``GET /objects`` of one collection: in the order of ids, those after a given one."""
    collection = state.collection(params.get("class", ""))
    if collection is None:
        raise NotThere
    limit, after = _limit(params), _after(params)
    problem = f"msg:search index {collection.name.lower()} code:422 err:"
    found = objects_in(collection, params.get("tenant", ""), problem)
    told = [_told(collection, name, found[name], params) for name in sorted(found) if name > after][:limit]
    return {"deprecations": [], "objects": told, "totalResults": len(told)}


def read(state: ServerState, name: str, object_id: str, params: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``GET /objects/{collection}/{id}``."""
    object_id, collection = _id(object_id, "path"), state.collection(name)
    if collection is None:
        raise NotThere
    problem = f"repo: object by id: search index {collection.name.lower()}: determine shard: "
    found = objects_in(collection, params.get("tenant", ""), problem).get(object_id)
    if found is None:
        raise NotThere
    return _told(collection, object_id, found, params)


def delete(state: ServerState, name: str, object_id: str, params: Mapping[str, str]) -> None:
    """Answer ``DELETE /objects/{collection}/{id}``; one that is not there is no error."""
    object_id, collection = _id(object_id, "path"), state.collection(name)
    problem = "delete object from vector repo: delete from "
    if collection is None:
        raise Refused(500, f"could not {problem}non-existing index for {name}")
    problem += f'index "{collection.name.lower()}": determine shard: '
    objects_in(collection, params.get("tenant", ""), problem).pop(object_id, None)


def create(state: ServerState, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``POST /objects``; one that is there stays as it is. A collection is not made on the way."""
    object_id = _id(str(body.get("id") or uuid.uuid4()), "body")
    collection = _collection_of(state, body, f'invalid object: class "{body.get("class")}" not found in schema')
    found = objects_in(collection, str(body.get("tenant") or ""), "determine shard: ")
    if object_id in found:
        raise Refused(422, f"id '{object_id}' already exists")
    return _write(collection, found, object_id, body)


def write_all(state: ServerState, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Answer ``POST /batch/objects``: new objects, and others in the place of those that are there."""
    given = list(body.get("objects") or [])
    if not given:
        raise Refused(422, "invalid param 'objects': cannot be empty, need at least one object for batching")
    ids = [
        _id(str(fields.get("id") or uuid.uuid4()), "body", f"body.objects.{number}.")
        for number, fields in enumerate(given)
    ]
    return [_written(state, object_id, fields) for object_id, fields in zip(ids, given, strict=True)]


def stored(fields: Mapping[str, Any]) -> StoredObject:
    """Return an object as it is kept, of the fields that the API takes."""
    vectors = dict(fields.get("vectors") or {}) | ({"": fields["vector"]} if fields.get("vector") else {})
    return StoredObject(dict(fields.get("properties") or {}), vectors)


def objects_in(collection: Collection, tenant: str, problem: str = "") -> dict[str, StoredObject]:
    """Return the objects of a tenant, to look at or to change.

    :param problem: what an error's message begins with.
    :raises Refused: there are none to be had: no such tenant, or it is not active, or it must be named.
    """
    known = collection.tenants
    if known is None:
        if tenant:
            raise Refused(
                422, f"{problem}class {collection.name} has multi-tenancy disabled, but request was with tenant"
            )
    elif not tenant:
        raise Refused(
            422, f"{problem}class {collection.name} has multi-tenancy enabled, but request was without tenant"
        )
    elif tenant not in known:
        raise Refused(422, f'{problem}tenant not found: "{tenant}"')
    elif known[tenant] != "HOT":
        raise Refused(422, f"{problem}tenant not active: '{tenant}'")
    return collection.objects_of(tenant)


def _written(state: ServerState, object_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    told = {"class": fields.get("class"), "id": object_id}
    try:
        collection = _collection_of(state, fields, f"class '{fields.get('class')}' not present in schema")
        found = objects_in(collection, str(fields.get("tenant") or ""))
        told = _write(collection, found, object_id, fields)
    except Refused as refusal:
        return told | {"result": {"status": "FAILED", "errors": refusal.body}}
    return told | {"result": {"status": "SUCCESS"}}


def _write(
    collection: Collection, found: dict[str, StoredObject], object_id: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    made = stored(fields)
    for name in made.vectors:
        if name not in collection.vector_names:
            problem = f"does not have configuration for vector {name}" if name else _NO_UNNAMED
            raise Refused(422, f"invalid object: collection {collection.name} {problem}")
    found[object_id] = made
    return _told(collection, object_id, made, {"include": "vector"})


def _collection_of(state: ServerState, fields: Mapping[str, Any], problem: str) -> Collection:
    collection = state.collection(str(fields.get("class") or ""))
    if collection is None:
        raise Refused(422, problem)
    return collection


def _told(collection: Collection, object_id: str, found: StoredObject, params: Mapping[str, str]) -> dict[str, Any]:
    told = {"class": collection.name, "id": object_id, "properties": found.properties, "vectorWeights": None}
    if "vector" not in params.get("include", "").split(","):
        return told
    named = {name: vector for name, vector in found.vectors.items() if name}
    return told | ({"vectors": named} if named else {}) | ({"vector": found.vectors[""]} if "" in found.vectors else {})


def _limit(params: Mapping[str, str]) -> int:
    given = params.get("limit", "-1" if "after" in params else str(_DEFAULT_LIMIT))
    if not re.fullmatch(r"-?\d+", given):
        raise Refused(422, f'limit in query must be of type int64: "{given}"', framework=601)
    if int(given) < 0:
        raise Refused(422, "msg:cursor api: invalid 'after' parameter code:400 err:limit parameter must be set")
    if int(given) > _HIGHEST_LIMIT:
        raise Refused(
            422,
            f"msg:offset or limit code:400 err:query maximum results exceeded: '{given}' exceeds '{_HIGHEST_LIMIT}'",
        )
    return int(given)


def _after(params: Mapping[str, str]) -> str:
    """Return the id that is passed; no object comes before the first page, whatever its id."""
    given = params.get("after", "")
    if given and not _UUID.fullmatch(given):
        raise Refused(422, f"msg:cursor api: invalid 'after' parameter code:400 err:after parameter '{given}'")
    return given.lower()


def _id(given: str, place: str, path: str = "") -> str:
    if not _UUID.fullmatch(given):
        raise Refused(422, f'{path}id in {place} must be of type uuid: "{given}"', framework=601)
    return given.lower()
