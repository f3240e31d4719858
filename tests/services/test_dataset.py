"""The data set is the same on every machine."""

import math
from collections import Counter

import pytest

from tests.services.dataset import COLLECTIONS, DIMENSIONS, read, vector


def _nearness(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(vector(one), vector(other), strict=True))


def test_vectors_are_a_fixed_function_of_the_words() -> None:
    places = {place: value for place, value in enumerate(vector("airport")) if value}
    assert places == {12: -0.5, 31: -0.5, 51: 0.5, 69: 0.5}


def test_vectors_have_length_one_and_know_neither_case_nor_order() -> None:
    assert math.isclose(math.hypot(*vector("San Francisco International")), 1.0)
    assert vector("Toyota Corolla!") == vector("corolla toyota")
    assert vector("") == [0.0] * DIMENSIONS


def test_shared_words_make_texts_near() -> None:
    assert _nearness("toyota corolla 1200", "toyota corolla") > _nearness("toyota corolla 1200", "ford torino") + 0.5


def test_the_tables_are_whole() -> None:
    rows = {collection.name: list(read(collection)) for collection in COLLECTIONS}
    assert {name: len(table) for name, table in rows.items()} == {"Airport": 3376, "Car": 406, "Barley": 120}
    assert Counter(row["origin"] for row in rows["Car"]) == {"USA": 254, "Japan": 79, "Europe": 73}
    assert rows["Airport"][0]["latitude"] == pytest.approx(31.95376472)


def test_every_row_has_an_id_of_its_own() -> None:
    for collection in COLLECTIONS:
        keys = Counter(tuple(row.get(name) for name in collection.key) for row in read(collection))
        assert max(keys.values()) == 1, collection.name
