"""Contents of clusters: what hypothesis makes of them, and small ones to change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.content import (
    CollectionContent,
    RecordHead,
    SampledObject,
    SampledVector,
    SampleSize,
    SearchAnswer,
    TenantContent,
)

texts = st.text(max_size=12)
values = st.floats(-1000, 1000, width=32)
plain_vectors = st.lists(values, min_size=1, max_size=6)
multi_vectors = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=4)
)
vectors = (plain_vectors | multi_vectors).map(SampledVector.of)
objects = st.builds(SampledObject, st.uuids().map(str), texts, st.dictionaries(texts, vectors, max_size=3))
founds = st.lists(st.tuples(texts, st.floats(-10, 10)), max_size=4).map(tuple)
searches = st.builds(SearchAnswer, texts, texts, founds)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
heads = st.builds(
    RecordHead,
    texts,
    texts,
    st.lists(texts, max_size=4).map(tuple),
    st.dictionaries(texts, texts, max_size=3),
    st.builds(SampleSize, st.integers(1, 100), st.integers(1, 100), st.integers(1, 100)),
)


@st.composite
def _tenant(draw: st.DrawFn) -> TenantContent:
    """One that is sampled, or one that is not: then it has no answers either."""
    found = tuple(draw(st.lists(objects, max_size=3)))
    answers = tuple(draw(st.lists(searches, max_size=3))) if found else ()
    return TenantContent(draw(texts), draw(texts), draw(st.none() | st.integers(0, 2**40)), found, answers)


collections = st.builds(
    CollectionContent,
    texts,
    st.dictionaries(texts, json_values, max_size=4),
    st.lists(_tenant(), max_size=4).map(tuple),
)


def an_object(name: str, properties: str = "as it was", /, **named: list[float]) -> SampledObject:
    """Return an object; without named vectors, it has an unnamed one."""
    given: Mapping[str, list[float]] = named or {"": [1.0, 2.0]}
    return SampledObject(name, properties, {vector: SampledVector.of(row) for vector, row in given.items()})


def tenant_of(
    name: str,
    count: int | None,
    found: Iterable[SampledObject] = (),
    answers: Iterable[SearchAnswer] = (),
    activity: str = "HOT",
) -> TenantContent:
    return TenantContent(name, activity if name else "", count, tuple(found), tuple(answers))


def collection_of(*tenants: TenantContent, name: str = "Car", **config: Any) -> CollectionContent:
    return CollectionContent(name, {"vectorIndexType": "hnsw"} | config, tenants)
