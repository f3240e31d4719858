"""How the stand-in answers GraphQL: how many objects there are, and which are nearest to a vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_vectorbackup.testing import graphql
from airflow_provider_vectorbackup.testing.graphql import Field
from airflow_provider_vectorbackup.testing.model import Collection, Refused, ServerState
from airflow_provider_vectorbackup.testing.object_calls import objects_in
from airflow_provider_vectorbackup.weaviate.content_answers import Vector

_CLASS = "explorer: get class: "
_SEARCH = f"{_CLASS}concurrentTargetVectorSearch): {_CLASS}vector search: "


@dataclass(frozen=True)
class _Kind:
    """A kind of query: what it selects, the arguments that it may have, and what finds the answer to one field."""

    selection: dict[str, Any]
    arguments: frozenset[str]
    find: Callable[[Collection, Field], list[dict[str, Any]]]


def answer(state: ServerState, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``POST /graphql``: counts (``Aggregate``) or nearest objects (``Get``), several in one query.

    :raises Refused: the query is another one, which a real server might well answer.
    """
    if not state.collections:
        raise Refused(422, "no graphql provider present, this is most likely because no schema is present.")
    roots = graphql.read(str(body.get("query") or ""))
    kind = _KINDS.get(roots[0].name) if len(roots) == 1 else None
    if kind is None or not all(_is_of(kind, asked) for asked in roots[0].fields):
        raise Refused(422, "The stand-in knows two kinds of query only: counts by Aggregate, nearVector by Get.")
    return _answered(state, kind, roots[0])


def _is_of(kind: _Kind, asked: Field) -> bool:
    return asked.selected() == kind.selection and kind.arguments.issuperset(asked.arguments)


def _answered(state: ServerState, kind: _Kind, root: Field) -> dict[str, Any]:
    data: dict[str, Any] = {}
    errors: list[dict[str, Any]] = []
    for asked in root.fields:
        collection = state.collection(asked.name)
        if collection is None or (collection.tenants is None and "tenant" in asked.arguments):
            return {"errors": [{"message": _not_in_schema(root.name, collection, asked), "path": None}]}
        try:
            data[asked.alias] = kind.find(collection, asked)
        except Refused as refusal:
            data[asked.alias] = None
            errors.append({"message": str(refusal), "path": [root.name, asked.alias]})
    return {"data": {root.name: data}} | ({"errors": errors} if errors else {})


def _not_in_schema(root: str, collection: Collection | None, asked: Field) -> str:
    if collection is None:
        return f'Cannot query field "{asked.name}" on type "{root}ObjectsObj".'
    return f'Unknown argument "tenant" on field "{asked.name}" of type "{root}ObjectsObj".'


def _count(collection: Collection, asked: Field) -> list[dict[str, Any]]:
    return [{"meta": {"count": len(objects_in(collection, asked.arguments.get("tenant", "")))}}]


def _nearest(collection: Collection, asked: Field) -> list[dict[str, Any]]:
    """Find the nearest by looking at all, so unlike a real server's index it misses none. Distances are cosine."""
    near, tenant = asked.arguments.get("nearVector") or {}, asked.arguments.get("tenant", "")
    name = _target(collection, near.get("targetVectors") or [])
    where = f"{_SEARCH}object vector search at index {collection.name.lower()}: "
    found = objects_in(collection, tenant, where)
    if name not in collection.vector_names:
        raise Refused(422, f'{where}index for target vector "{name}" not found')
    vectors = {object_id: kept.vectors[name] for object_id, kept in found.items() if name in kept.vectors}
    try:
        distances = [(_distance(near.get("vector") or [], vector), object_id) for object_id, vector in vectors.items()]
    except ValueError:
        raise Refused(422, f"{where}vector search: knn search: vector lengths don't match") from None
    told = sorted(distances)[: asked.arguments.get("limit")]
    return [{"_additional": {"id": object_id, "distance": distance}} for distance, object_id in told]


def _target(collection: Collection, targets: list[str]) -> str:
    """Return the name of the vector that is searched in; a collection's only one need not be named."""
    if targets:
        return targets[0]
    if len(collection.vector_names) > 1:
        raise Refused(
            422,
            f"{_CLASS}validate target vector: multiple vectorizers configuration found, "
            "please specify target vector name",
        )
    return collection.vector_names[0]


def _distance(query: Vector, vector: Vector) -> float:
    """Return how far a vector is from the query; of multi-vectors, each of the query's rows counts with its best match.

    The length of rows makes no difference; to a real server that of multi-vectors does, until a restart or restore.

    :raises ValueError: they have not the same number of dimensions.
    """
    rows, others = _rows(query), _rows(vector)
    best = [max(_cosine(row, other) for other in others) for row in rows]
    return -sum(best) if _has_rows(query) else max(0.0, 1.0 - best[0])


def _rows(vector: Vector) -> list[Any]:
    return list(vector) if _has_rows(vector) else [vector]


def _has_rows(vector: Vector) -> bool:
    return any(isinstance(row, list) for row in vector)


def _cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    norms = math.hypot(*one) * math.hypot(*other)
    return product / norms if norms else 0.0


_KINDS = {
    "Aggregate": _Kind({"meta": {"count": {}}}, frozenset({"tenant"}), _count),
    "Get": _Kind({"_additional": {"id": {}, "distance": {}}}, frozenset({"nearVector", "limit", "tenant"}), _nearest),
}
