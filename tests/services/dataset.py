"""Fills a Weaviate with small real data, and looks at what is in one.

The data are three tables that the Python package vega_datasets carries (MIT licence): `Airport` (3376 airports, a
compilation in the public domain by ourairports.com), `Car` (406 cars, with one tenant for each `origin`) and `Barley`
(120 yields, Immer 1934). Ids and vectors are functions of the rows alone, so they are the same on every machine.
"""

import csv
import hashlib
import importlib.util
import json
import math
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.services import loopback

DIMENSIONS = 128
_BATCH = 200
_TIMEOUT_SECONDS = 60.0
_NAMESPACE = uuid.UUID("6f1d6f8e-55a2-5c1b-9d0e-2f5d8f7f3c11")

Row = Mapping[str, str | float]


@dataclass(frozen=True)
class Collection:
    """How one table becomes a collection. `key` and `text` name the columns for the id and for the vector."""

    name: str
    file: str
    columns: Mapping[str, str]
    """Property by column; what is not here is left out."""
    key: tuple[str, ...]
    text: tuple[str, ...]
    tenant: str | None = None


COLLECTIONS = (
    Collection(
        "Airport",
        "airports.csv",
        {column: column for column in ("iata", "name", "city", "state", "country", "latitude", "longitude")},
        key=("iata",),
        text=("name", "city", "state", "country"),
    ),
    Collection(
        "Car",
        "cars.json",
        {
            "Name": "name",
            "Year": "year",
            "Origin": "origin",
            "Cylinders": "cylinders",
            "Horsepower": "horsepower",
            "Miles_per_Gallon": "miles_per_gallon",
            "Weight_in_lbs": "weight_pounds",
        },
        key=("name", "year", "miles_per_gallon", "weight_pounds"),
        text=("name", "origin"),
        tenant="origin",
    ),
    Collection(
        "Barley",
        "barley.json",
        {column: column for column in ("variety", "site", "year", "yield")},
        key=("variety", "site", "year"),
        text=("variety", "site"),
    ),
)
_NUMBERS = ("latitude", "longitude")


class LoadFailed(RuntimeError):
    """Weaviate refused a request, or single objects of a batch."""


def load(url: str, headers: Mapping[str, str] | None = None) -> dict[str, int]:
    """Make and fill the three collections; return the objects written, by "Airport", "Car/Europe" and so on.

    Raises LoadFailed, also if one of the collections is there already.
    """
    with _api(url, headers) as api:
        counts: Counter[str] = Counter()
        for collection in COLLECTIONS:
            rows = list(read(collection))
            _define(api, collection, rows)
            for start in range(0, len(rows), _BATCH):
                _write(api, collection, rows[start : start + _BATCH])
            counts.update(_label(collection.name, _tenant(collection, row)) for row in rows)
        return dict(sorted(counts.items()))


def count(url: str, headers: Mapping[str, str] | None = None) -> dict[str, int]:
    """Count the objects in the server, of whatever collections it has, labelled as by `load`. Empty if it has none."""
    with _api(url, headers) as api:
        counts = {}
        for schema in api.call("GET", "/v1/schema")["classes"]:
            name = schema["class"]
            for tenant in _tenants(api, schema):
                selector = f'(tenant: "{tenant}")' if tenant else ""
                found = api.query(f"{{ Aggregate {{ {name}{selector} {{ meta {{ count }} }} }} }}")
                counts[_label(name, tenant)] = int(found["Aggregate"][name][0]["meta"]["count"])
        return dict(sorted(counts.items()))


def near(
    url: str,
    text: str,
    *,
    collection: str = "Airport",
    tenant: str | None = None,
    limit: int = 3,
    headers: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the `name`s of the objects whose vectors are nearest to the text's, nearest first."""
    selector = f', tenant: "{tenant}"' if tenant else ""
    arguments = f"nearVector: {{ vector: {json.dumps(vector(text))} }}, limit: {limit}{selector}"
    with _api(url, headers) as api:
        found = api.query(f"{{ Get {{ {collection}({arguments}) {{ name }} }} }}")
    return [str(row["name"]) for row in found["Get"][collection]]


def drop(url: str, headers: Mapping[str, str] | None = None) -> None:
    """Delete every collection of the server with all its objects."""
    with _api(url, headers) as api:
        for schema in api.call("GET", "/v1/schema")["classes"]:
            api.call("DELETE", f"/v1/schema/{schema['class']}")


def vector(text: str) -> list[float]:
    """Hash the words: each adds or takes 1 in four of 128 places; length 1. Shared words make texts near."""
    places = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        for byte in hashlib.blake2b(word.encode(), digest_size=4).digest():
            places[byte % DIMENSIONS] += 1.0 if byte < DIMENSIONS else -1.0
    length = math.sqrt(sum(place * place for place in places)) or 1.0
    return [place / length for place in places]


def read(collection: Collection) -> Iterator[Row]:
    """Read the table's rows, with our property names; missing values are left out."""
    spec = importlib.util.find_spec("vega_datasets")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the package vega_datasets is not installed (dependency group `services`)")
    path = Path(spec.submodule_search_locations[0]) / "_data" / collection.file
    with path.open(encoding="utf-8", newline="") as file:
        table: Iterable[Mapping[str, Any]] = csv.DictReader(file) if path.suffix == ".csv" else json.load(file)
        for raw in table:
            row = {name: raw[column] for column, name in collection.columns.items() if raw[column] not in (None, "")}
            yield {name: float(value) if name in _NUMBERS else value for name, value in row.items()}


@dataclass(frozen=True)
class _Api:
    url: str
    session: requests.Session

    def call(self, method: str, path: str, body: object = None) -> Any:
        answer = self.session.request(method, self.url + path, json=body, timeout=_TIMEOUT_SECONDS)
        if not answer.ok:
            raise LoadFailed(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def query(self, graphql: str) -> Any:
        """Answer a query. One that can't be answered comes back as 200, with `errors`."""
        answer = self.call("POST", "/v1/graphql", {"query": graphql})
        if answer.get("errors"):
            raise LoadFailed(f"{graphql[:200]}: {answer['errors']}")
        return answer["data"]


@contextmanager
def _api(url: str, headers: Mapping[str, str] | None) -> Iterator[_Api]:
    with loopback.session() as direct:
        direct.headers.update(headers or {})
        yield _Api(url, direct)


def _define(api: _Api, collection: Collection, rows: Iterable[Row]) -> None:
    types = {name: "text" if isinstance(value, str) else "number" for row in rows for name, value in row.items()}
    definition = {
        "class": collection.name,
        "vectorizer": "none",
        "properties": [{"name": name, "dataType": [kind]} for name, kind in types.items()],
        "multiTenancyConfig": {"enabled": collection.tenant is not None},
    }
    api.call("POST", "/v1/schema", definition)
    tenants = sorted({tenant for row in rows if (tenant := _tenant(collection, row))})
    if tenants:
        api.call("POST", f"/v1/schema/{collection.name}/tenants", [{"name": tenant} for tenant in tenants])


def _write(api: _Api, collection: Collection, rows: Iterable[Row]) -> None:
    answers = api.call("POST", "/v1/batch/objects", {"objects": [_object(collection, row) for row in rows]})
    refused = [answer["result"] for answer in answers if answer["result"]["status"] != "SUCCESS"]
    if refused:
        raise LoadFailed(f"{collection.name}: {len(refused)} of {len(answers)} objects refused, first: {refused[0]}")


def _object(collection: Collection, row: Row) -> dict[str, object]:
    key = json.dumps([collection.name, *(row.get(name) for name in collection.key)])
    tenant = _tenant(collection, row)
    return {
        "class": collection.name,
        "id": str(uuid.uuid5(_NAMESPACE, key)),
        "properties": row,
        "vector": vector(" ".join(str(row.get(name, "")) for name in collection.text)),
        **({"tenant": tenant} if tenant else {}),
    }


def _tenant(collection: Collection, row: Row) -> str | None:
    return str(row[collection.tenant]) if collection.tenant else None


def _tenants(api: _Api, schema: Mapping[str, Any]) -> list[str | None]:
    """List the tenants, or one None for a collection without."""
    if not (schema.get("multiTenancyConfig") or {}).get("enabled"):
        return [None]
    return [tenant["name"] for tenant in api.call("GET", f"/v1/schema/{schema['class']}/tenants")]


def _label(name: str, tenant: str | None) -> str:
    return f"{name}/{tenant}" if tenant else name
