"""What a cluster holds, as a record tells it.

Of each collection: its configuration, how many objects each of its tenants has, a sample of these, and what searches
near them find. A record is a head and its collections, one after the other in the order of their names, so that nobody
has to hold it as a whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from airflow_provider_vectorbackup.exceptions import BrokenDescriptor

VERSION = 1


class Moment(StrEnum):
    """When a record was taken: a cluster is written to while a backup runs, so that it takes two."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class SampleSize:
    """How much of each collection is looked at closely, over all of its tenants.

    :param objects: how many objects, with their properties and vectors.
    :param searches: near how many of these is searched, by each named vector.
    :param nearest: how many objects a search is to find.
    """

    objects: int = 50
    searches: int = 10
    nearest: int = 10


@dataclass(frozen=True, slots=True)
class SampledVector:
    """A vector of an object, as the server holds it.

    :param rows: of a multi-vector; 0 for one that has none.
    :param values: of all rows, one after the other.
    """

    rows: int
    values: array[float]

    @classmethod
    def of(cls, wire: list[float] | list[list[float]]) -> Self:
        """Read a vector of the REST API."""
        rows = [row for row in wire if isinstance(row, list)]
        plain = [value for value in wire if not isinstance(value, list)]
        return cls(len(rows), array("f", [value for row in rows for value in row] if rows else plain))

    @property
    def wire(self) -> list[float] | list[list[float]]:
        """The vector as the REST API has it."""
        if not self.rows:
            return self.values.tolist()
        width = len(self.values) // self.rows
        return [self.values[row * width : (row + 1) * width].tolist() for row in range(self.rows)]

    def is_near(self, other: SampledVector, tolerance: float) -> bool:
        """Whether no value differs by more than ``tolerance``, relative to the largest value."""
        if (self.rows, len(self.values)) != (other.rows, len(other.values)):
            return False
        largest = max((abs(value) for value in self.values), default=0.0) or 1.0
        return all(abs(a - b) <= tolerance * largest for a, b in zip(self.values, other.values, strict=True))

    def to_json(self) -> list[Any]:
        """Return what is stored: rows, and the values as float32 in base64."""
        return [self.rows, base64.b64encode(self.values.tobytes()).decode()]

    @classmethod
    def from_json(cls, data: list[Any]) -> Self:
        """Read what is stored."""
        rows, encoded = data
        values = array("f")
        values.frombytes(base64.b64decode(encoded, validate=True))
        if not isinstance(rows, int) or rows < 0 or (rows and len(values) % rows):
            raise ValueError(f"{len(values)} values in {rows!r} rows")
        return cls(rows, values)


@dataclass(frozen=True, slots=True)
class SampledObject:
    """An object that was looked at closely.

    :param properties: a digest of them all.
    :param vectors: by name; the unnamed one is under "".
    """

    object_id: str
    properties: str
    vectors: Mapping[str, SampledVector] = field(default_factory=dict)

    def is_same(self, other: SampledObject, tolerance: float = 0.0) -> bool:
        """Whether both are one object, unchanged."""
        return (
            (self.object_id, self.properties) == (other.object_id, other.properties)
            and self.vectors.keys() == other.vectors.keys()
            and all(vector.is_near(other.vectors[name], tolerance) for name, vector in self.vectors.items())
        )


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What a search near a sampled object's own vector found.

    :param object_id: of the sampled object.
    :param vector: the vector's name.
    :param found: id and distance, the nearest first.
    """

    object_id: str
    vector: str
    found: tuple[tuple[str, float], ...]

    @property
    def key(self) -> tuple[str, str]:
        """What was asked."""
        return self.object_id, self.vector


@dataclass(frozen=True, slots=True)
class TenantContent:
    """What a tenant holds; of a collection without tenants, all of it, under the name "".

    :param activity: HOT, COLD, …; empty for a collection without tenants.
    :param count: of its objects; None where they could not be counted, since it is not active.
    """

    tenant: str
    activity: str
    count: int | None
    objects: tuple[SampledObject, ...] = ()
    answers: tuple[SearchAnswer, ...] = ()

    def to_json(self) -> list[Any]:
        """Return what is stored: short, since there may be many."""
        told: list[Any] = [self.tenant, self.activity, self.count]
        if self.objects:
            told.append(
                [[o.object_id, o.properties, {n: v.to_json() for n, v in o.vectors.items()}] for o in self.objects]
            )
            told.append([[a.object_id, a.vector, [list(near) for near in a.found]] for a in self.answers])
        return told

    @classmethod
    def from_json(cls, data: list[Any]) -> Self:
        """Read what is stored."""
        if not isinstance(data, list):
            raise TypeError(data)
        tenant, activity, count, *sampled = data
        objects, answers = sampled or ((), ())
        return cls(
            str(tenant),
            str(activity),
            None if count is None else int(count),
            tuple(
                SampledObject(str(i), str(p), {name: SampledVector.from_json(v) for name, v in vectors.items()})
                for i, p, vectors in objects
            ),
            tuple(
                SearchAnswer(_text(i), _text(v), tuple((_text(n), float(d)) for n, d in found))
                for i, v, found in answers
            ),
        )


@dataclass(frozen=True, slots=True)
class CollectionContent:
    """What a collection holds.

    :param config: its configuration, by path, like ``vectorIndexConfig.distance``.
    :param tenants: in the order of their names; a collection without tenants has one, with the name "".
    """

    name: str
    config: Mapping[str, Any]
    tenants: tuple[TenantContent, ...]

    @property
    def schema_digest(self) -> str:
        """Of its configuration."""
        return digest_of(self.config)

    @property
    def count(self) -> int:
        """Of all objects that could be counted."""
        return sum(tenant.count or 0 for tenant in self.tenants)

    @property
    def uncounted(self) -> int:
        """How many tenants could not be counted."""
        return sum(tenant.count is None for tenant in self.tenants)

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "collection": self.name,
            "schema_digest": self.schema_digest,
            "config": dict(self.config),
            "tenants": [tenant.to_json() for tenant in self.tenants],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what is stored.

        :raises BrokenDescriptor: it is of another shape.
        """
        try:
            tenants = tuple(map(TenantContent.from_json, data["tenants"]))
            return cls(str(data["collection"]), dict(data["config"]), tenants)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BrokenDescriptor(f"A content record can't be read: {error!r}.") from error


@dataclass(frozen=True, slots=True)
class RecordHead:
    """What a record says of itself.

    :param taken_at: when it was begun, RFC 3339, by the worker's clock.
    :param collections: the names of those that follow.
    :param aliases: those of these collections: alias -> collection.
    """

    taken_at: str
    server_version: str
    collections: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    sample: SampleSize = SampleSize()

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        sizes = {"objects": self.sample.objects, "searches": self.sample.searches, "nearest": self.sample.nearest}
        return {
            "version": VERSION,
            "taken_at": self.taken_at,
            "server_version": self.server_version,
            "collections": list(self.collections),
            "aliases": dict(self.aliases),
            "sample": sizes,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what is stored.

        :raises BrokenDescriptor: it is of another shape, or of a later version.
        """
        try:
            if data["version"] != VERSION:
                raise BrokenDescriptor(f"A content record is of version {data['version']!r}, not {VERSION}.")
            return cls(
                str(data["taken_at"]),
                str(data["server_version"]),
                tuple(map(str, data["collections"])),
                {str(alias): str(name) for alias, name in data["aliases"].items()},
                SampleSize(**data["sample"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BrokenDescriptor(f"A content record can't be read: {error!r}.") from error


def digest_of(value: Any) -> str:
    """Return a digest of what JSON can hold; the order of fields makes no difference."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def flat(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return a configuration by path; the entries of a list that have names go by these, other lists are values."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        here = f"{path}{name}"
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{here}.")
        elif named := _by_name(value):
            found |= flat(named, f"{here}.")
        else:
            found[here] = value
    return found


def spread(tenants: Iterable[tuple[str, int]], objects: int) -> dict[str, int]:
    """Return which tenants the objects of a sample come from, and how many: the same for the same tenants.

    :param tenants: name and number of objects of those that can be read.
    :param objects: how many there are to be, over all tenants.
    """
    filled = {name: count for name, count in tenants if count}
    order = sorted(filled, key=lambda name: hashlib.sha256(name.encode()).digest())[:objects]
    chosen: dict[str, int] = {}
    # The smallest first: what they don't fill is left to the others.
    for place, name in enumerate(sorted(order, key=lambda name: filled[name])):
        chosen[name] = min(filled[name], (objects - sum(chosen.values())) // (len(order) - place))
    return chosen


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _by_name(value: Any) -> dict[str, Any]:
    """Return a list of named objects by their names, nothing for any other value."""
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) and "name" in entry for entry in value):
        return {}
    return {str(entry["name"]): {key: item for key, item in entry.items() if key != "name"} for entry in value}
