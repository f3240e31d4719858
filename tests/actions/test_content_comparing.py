"""What differs on a server from what was recorded of it. Probe objects: test_content_probing.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.content_comparing import log_comparison
from airflow_provider_vectorbackup.actions.content_records import write_record
from airflow_provider_vectorbackup.backups.content import RecordHead
from airflow_provider_vectorbackup.backups.content_comparison import Comparison, Tolerance
from airflow_provider_vectorbackup.exceptions import ContentDiffers, InvalidRequest, ObjectNotFound
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.testing.model import StoredObject
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.content_lab import AFTER, BEFORE, Lab, some_objects


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    """One with a collection, one with tenants, and an alias of each."""
    weaviate_stand_in.add_collection("Car", description="of mine")
    weaviate_stand_in.add_objects("Car", some_objects(12))
    weaviate_stand_in.add_collection("Shop", {"a": "HOT", "b": "HOT"})
    for tenant in "ab":
        weaviate_stand_in.add_objects("Shop", some_objects(2, ord(tenant)), tenant=tenant)
    weaviate_stand_in.aliases |= {"Auto": "Car", "Store": "Shop"}
    return weaviate_stand_in


@pytest.fixture
def lab(server: WeaviateStandIn, client: WeaviateClient, tmp_path: Path) -> Lab:
    return Lab(server, client, tmp_path)


def cars(server: WeaviateStandIn) -> dict[str, StoredObject]:
    return server.collections["Car"].objects_of("")


def change(server: WeaviateStandIn, object_id: str) -> None:
    cars(server)[object_id].properties["number"] = "changed"


def move(server: WeaviateStandIn, object_id: str, by: float = 0.01) -> None:
    vector = cars(server)[object_id].vectors[""]
    cars(server)[object_id].vectors[""] = [value + by for value in vector if isinstance(value, float)]


class TestEqual:
    @pytest.mark.parametrize("moments", [[BEFORE], [BEFORE, AFTER], [AFTER], [AFTER, BEFORE]])
    def test_what_was_recorded(self, lab: Lab, moments: list[str]) -> None:
        lab.record(BEFORE)
        lab.record(AFTER)
        comparison = lab.compare(*moments)  # type: ignore[arg-type]
        assert (comparison.differences, comparison.warnings) == ([], [])
        assert (comparison.collections, comparison.tenants, comparison.objects) == (2, 2, 16)
        assert (comparison.sampled, comparison.searches, comparison.recall, comparison.written) == (16, 14, 1.0, 2)
        assert comparison.seconds > 0

    def test_a_backup_restored_to_another_server(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record(BEFORE)
        restored = {name: found.copy() for name, found in server.collections.items()}
        server.add_objects("Car", some_objects(40, 2))
        for object_id in list(cars(server))[:4]:
            change(server, object_id)
        del cars(server)[min(cars(server))]
        server.add_objects("Shop", some_objects(1, 3), tenant="a")
        lab.record(AFTER)
        during = {name: found.copy() for name, found in server.collections.items()}
        server.add_objects("Car", some_objects(40, 4))
        for contents in (restored, during):
            server.collections.clear()
            server.collections.update({name: found.copy() for name, found in contents.items()})
            assert lab.differences(BEFORE, AFTER) == []

    def test_nothing_is_changed(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        before = {name: found.copy() for name, found in server.collections.items()}
        keys = [(found.key, found.etag) for found in lab.store.list_objects()]
        lab.compare()
        assert server.collections == before
        assert [(found.key, found.etag) for found in lab.store.list_objects()] == keys

    def test_objects_written_since_then_are_not_looked_at(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        server.requests.clear()
        server.add_objects("Car", some_objects(400, 2))
        found = lab.differences(tolerance=Tolerance(recall=0.01))
        assert found == ["Car has 412 objects, not 12"]
        assert server.sent("GET", "/objects") == []


DAMAGE: dict[str, tuple[Callable[[WeaviateStandIn, str], object], str]] = {
    "lost object": (lambda s, first: cars(s).pop(first), "Car lacks the object {first}"),
    "changed properties": (change, "Car has the object {first} with other properties"),
    "changed vector": (move, "Car has the object {first} with other vector"),
    "no vector": (lambda s, first: cars(s)[first].vectors.clear(), "Car has the object {first} with other vector"),
    "fewer": (lambda s, first: cars(s).pop(first), "Car has 11 objects, not 12"),
    "more": (lambda s, _: s.add_objects("Car", some_objects(1, 9)), "Car has 13 objects, not 12"),
    "emptied": (lambda s, _: cars(s).clear(), "Car is empty, and had up to 12 objects"),
    "lost tenant": (lambda s, _: s.collections["Shop"].tenants.pop("a"), "Shop/a is not there"),  # type: ignore[union-attr]
    "extra tenant": (
        lambda s, _: s.collections["Shop"].tenants.update(c="HOT"),  # type: ignore[union-attr]
        "Shop/c is there, and was in neither record",
    ),
    "inactive tenant": (
        lambda s, _: s.collections["Shop"].tenants.update(a="FROZEN"),  # type: ignore[union-attr]
        "Shop/a is FROZEN, and was HOT",
    ),
    "lost collection": (lambda s, _: s.collections.pop("Car"), "Car is not there"),
    "other setting": (
        lambda s, _: s.collections["Car"].config.update(description="of yours"),
        "Car has description 'of yours', not 'of mine'",
    ),
    "added setting": (lambda s, _: s.collections["Car"].config.update(ef=7), "Car has ef 7, not '<nothing>'"),
    "lost alias": (lambda s, _: s.aliases.pop("Auto"), "Alias Auto of Car is not there"),
    "moved alias": (lambda s, _: s.aliases.update(Auto="Shop"), "Alias Auto of Car is one of Shop"),
}


class TestDamage:
    @pytest.mark.parametrize(("damage", "text"), DAMAGE.values(), ids=DAMAGE)
    @pytest.mark.parametrize("moments", [[BEFORE], [BEFORE, AFTER]])
    def test_is_named(
        self, lab: Lab, moments: list[str], damage: Callable[[WeaviateStandIn, str], object], text: str
    ) -> None:
        lab.record(BEFORE)
        lab.record(AFTER)
        first = min(cars(lab.server))
        damage(lab.server, first)
        comparison = lab.compare(*moments)  # type: ignore[arg-type]
        assert text.format(first=first) in map(str, comparison.differences)
        where, *_ = re.split("[ /]", text)
        assert all(found.where.startswith(where) for found in comparison.differences)
        with pytest.raises(ContentDiffers):
            comparison.require_equal()

    def test_setting_that_another_version_added_is_none(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        server.version = "1.40.0"
        server.collections["Car"].config["ef"] = 7
        assert lab.differences() == []
        server.collections["Car"].config["description"] = "of yours"
        assert lab.differences() == ["Car has description 'of yours', not 'of mine'"]

    def test_searches_that_find_others(self, lab: Lab, server: WeaviateStandIn) -> None:
        """What is not in the sample lies elsewhere now, as if an index had lost it."""
        server.add_objects("Car", some_objects(100, 5))
        lab.record()
        sampled = {object_id for _, object_id in lab.sampled()}
        for object_id in cars(server).keys() - sampled:
            move(server, object_id, -2.0)
        (found,) = lab.differences()
        assert found.startswith("Car finds ")
        assert "below 0.95" in found
        assert lab.differences(tolerance=Tolerance(recall=0.1)) == []

    def test_vector_within_the_tolerance_is_none(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        for object_id in cars(server):
            move(server, object_id, 1e-4)
        loose = Tolerance(vector=1e-2)
        assert lab.differences(tolerance=loose) == []
        assert len([found for found in lab.differences() if "other vector" in found]) == 12


class TestStrict:
    STRICT = Tolerance(is_strict=True)

    def test_nothing_was_written(self, lab: Lab) -> None:
        lab.record(BEFORE)
        lab.record(AFTER)
        assert lab.differences(BEFORE, AFTER, tolerance=self.STRICT) == []

    def test_something_was(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record(BEFORE)
        change(server, min(cars(server)))
        server.add_objects("Shop", some_objects(1, 8), tenant="a")
        lab.record(AFTER)
        assert lab.differences(BEFORE, AFTER) == []
        assert lab.differences(BEFORE, AFTER, tolerance=self.STRICT) == [
            "Car has objects that were changed between the two records",
            "Shop/a had 2 objects before, and 3 after",
        ]

    def test_other_collections_are_differences_else_warnings(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        server.add_collection("Bus")
        comparison = lab.compare()
        assert (comparison.differences, list(map(str, comparison.warnings))) == (
            [],
            ["Bus is there, and was not recorded"],
        )
        assert lab.differences(tolerance=self.STRICT) == ["Bus is there, and was not recorded"]


class TestOneRecordOnly:
    def test_collection_that_was_made_meanwhile_may_be_there_or_not(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record(BEFORE)
        server.add_collection("Bus")
        server.add_objects("Bus", some_objects(5))
        lab.record(AFTER)
        assert lab.differences(BEFORE, AFTER) == []
        del server.collections["Bus"]
        comparison = lab.compare(BEFORE, AFTER)
        assert (comparison.differences, list(map(str, comparison.warnings))) == ([], ["Bus is not there"])

    def test_tenant_that_was_deleted_meanwhile_may_be_there_or_not(self, lab: Lab, server: WeaviateStandIn) -> None:
        tenants = server.collections["Shop"].tenants
        assert tenants is not None
        lab.record(BEFORE)
        del tenants["b"]
        lab.record(AFTER)
        assert lab.differences(BEFORE, AFTER) == []
        tenants["b"] = "HOT"
        assert lab.differences(BEFORE, AFTER) == []


class TestChosen:
    def test_collections_that_are_not_meant_are_not_looked_at(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        server.requests.clear()
        server.collections["Shop"].tenants = {}
        server.aliases.pop("Store")
        assert lab.differences(include=("C*",)) == []
        assert lab.differences(exclude=("Shop",)) == []
        assert [seen.path for seen in server.requests if "Shop" in seen.path] == []

    def test_collection_that_was_not_recorded(self, lab: Lab, server: WeaviateStandIn) -> None:
        lab.record()
        server.add_collection("Bus")
        with pytest.raises(InvalidRequest, match="There is no collection 'Bus'") as caught:
            lab.compare(include=("Bus",))
        assert "The record has: Car, Shop" in caught.value.hint


class TestNothingToCompareWith:
    def test_record_of_no_collection_fails(self, lab: Lab) -> None:
        write_record(lab.store, lab.place(BEFORE).key, RecordHead("2026-11-22T03:00:00Z", "1.39.2", ()), ())
        with pytest.raises(ContentDiffers, match="is of no collection at all"):
            lab.compare()

    def test_no_record(self, lab: Lab) -> None:
        lab.record(BEFORE)
        with pytest.raises(ObjectNotFound, match=r"content-after"):
            lab.compare(BEFORE, AFTER)


def test_log_has_all_differences_and_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    comparison = Comparison(recalls={"Car.title": (19, 20), "Bus": (10, 10)}, searches=3)
    for number in range(30):
        comparison.differ(f"Car{number}", "is not there")
    comparison.warn("Bus", "is odd")
    log_comparison(comparison)
    told = [(found.levelname, found.message) for found in caplog.records]
    assert told[0] == ("WARNING", "Bus is odd")
    assert told[1:31] == [("ERROR", f"Car{number} is not there") for number in range(30)]
    assert told[31][1].startswith("The cluster differs in 30 places from what was recorded")
    assert told[32] == ("INFO", "Recall: Bus 1.000, Car.title 0.950")
