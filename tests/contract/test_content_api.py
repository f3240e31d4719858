"""What our code relies on where it reads and writes contents, shown by the stand-in and by real servers alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, Status
from airflow_provider_vectorbackup.exceptions import NotFound, Rejected, ServerFault, Unauthenticated
from airflow_provider_vectorbackup.weaviate import calls, content_calls
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.content_answers import FoundObject, Near
from airflow_provider_vectorbackup.weaviate.content_calls import FIRST_ID
from tests.contract.conftest import Driver
from tests.contract.servers import NODE, Subject
from tests.contract.test_backup_api import assert_refused

OWN = ("Book", "Order", "Photo")
HIGHEST_LIMIT = 10_000
NOTHING_THERE = "404"


def an_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


BOOKS = {
    an_id(number): FoundObject(an_id(number), {"title": f"Book {number}"}, {"": [1.0, number / 4]})
    for number in (16, 4, 8, 2)
}
PHOTOS = {
    an_id(1): FoundObject(an_id(1), {}, {"front": [1.0, 0.0], "many": [[1.0, 0.0], [0.0, 1.0]]}),
    an_id(2): FoundObject(an_id(2), {}, {"front": [3.0, 4.0], "many": [[0.6, 0.8]]}),
    an_id(3): FoundObject(an_id(3), {}, {"many": [[0.0, -1.0]]}),
}
ORDERS = {"acme": 3, "asleep": 2, "empty": 0}
"""Tenant -> number of objects; with the ids 1, 2, …"""


@pytest.fixture(scope="module", autouse=True)
def _contents(subject: Subject) -> Iterator[None]:
    """Make the collections that these tests look at; they leave them as they are."""
    none: dict[str, Any] = {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"}
    many = none | {"vectorIndexConfig": {"multivector": {"enabled": True}}}
    title = {"name": "title", "dataType": ["text"], "tokenization": "field"}
    subject.call("POST", "/schema", {"class": "Book", "properties": [title], "shardingConfig": {"desiredCount": 3}})
    subject.call("POST", "/schema", {"class": "Photo", "vectorConfig": {"front": none, "many": many}})
    subject.call("POST", "/schema", {"class": "Order", "multiTenancyConfig": {"enabled": True}})
    subject.call("POST", "/schema/Order/tenants", [{"name": tenant} for tenant in ORDERS])
    orders = [_order(tenant, number) for tenant, count in ORDERS.items() for number in range(1, count + 1)]
    _write(subject, [_wire("Book", book) for book in BOOKS.values()])
    _write(subject, [_wire("Photo", photo) for photo in PHOTOS.values()])
    _write(subject, orders)
    subject.call("PUT", "/schema/Order/tenants", [{"name": "asleep", "activityStatus": "COLD"}])
    yield
    for name in OWN:
        subject.call("DELETE", f"/schema/{name}")


def _write(subject: Subject, objects: list[dict[str, Any]]) -> None:
    for outcome in subject.call("POST", "/batch/objects", {"objects": objects}):
        assert outcome["result"]["status"] == "SUCCESS"


def _wire(collection: str, found: FoundObject) -> dict[str, Any]:
    named = {name: vector for name, vector in found.vectors.items() if name}
    wire = {"class": collection, "id": found.object_id, "properties": found.properties, "vectors": named}
    return wire | ({"vector": found.vectors[""]} if "" in found.vectors else {})


def _order(tenant: str, number: int) -> dict[str, Any]:
    return {"class": "Order", "id": an_id(number), "tenant": tenant, "vector": [1.0, float(number)]}


def ids(found: tuple[FoundObject, ...]) -> list[str]:
    return [one.object_id for one in found]


def assert_near(found: tuple[Near, ...], expected: dict[int, float]) -> None:
    assert [one.object_id for one in found] == [an_id(number) for number in expected]
    assert [one.distance for one in found] == pytest.approx(list(expected.values()), abs=1e-5)


class TestListing:
    def test_pages_in_the_order_of_ids(self, driver: Driver) -> None:
        pages = [driver.send(content_calls.list_objects("Book", "", FIRST_ID, 3))]
        while pages[-1]:
            pages.append(driver.send(content_calls.list_objects("Book", "", pages[-1][-1].object_id, 3)))
        assert [len(page) for page in pages] == [3, 1, 0]
        assert [one for page in pages for one in page] == [BOOKS[name] for name in sorted(BOOKS)]

    def test_from_an_id_that_no_object_has(self, driver: Driver) -> None:
        found = driver.send(content_calls.list_objects("Book", "", an_id(5), 10))
        assert ids(found) == [an_id(8), an_id(16)]

    def test_named_vectors(self, driver: Driver) -> None:
        found = driver.send(content_calls.list_objects("Photo", "", FIRST_ID, 10))
        assert {one.object_id: one for one in found} == PHOTOS

    def test_of_a_tenant(self, driver: Driver) -> None:
        found = driver.send(content_calls.list_objects("Order", "acme", FIRST_ID, 10))
        assert ids(found) == [an_id(1), an_id(2), an_id(3)]
        assert driver.send(content_calls.list_objects("Order", "empty", FIRST_ID, 10)) == ()

    @pytest.mark.parametrize(
        ("collection", "tenant", "text"),
        [
            ("Order", "asleep", "tenant not active: 'asleep'"),
            ("Order", "nobody", 'tenant not found: "nobody"'),
            ("Order", "", "class Order has multi-tenancy enabled, but request was without tenant"),
            ("Book", "acme", "class Book has multi-tenancy disabled, but request was with tenant"),
        ],
        ids=["inactive", "unknown", "missing", "too much"],
    )
    def test_tenants_that_can_not_be(self, driver: Driver, collection: str, tenant: str, text: str) -> None:
        call = content_calls.list_objects(collection, tenant, FIRST_ID, 10)
        assert_refused(driver, call, Rejected, 422, text)

    def test_unknown_collection(self, driver: Driver) -> None:
        assert_refused(driver, content_calls.list_objects("Nope", "", FIRST_ID, 10), NotFound, 404, NOTHING_THERE)

    def test_longest_page(self, driver: Driver) -> None:
        assert ids(driver.send(content_calls.list_objects("Book", "", an_id(8), HIGHEST_LIMIT))) == [an_id(16)]
        call = content_calls.list_objects("Book", "", FIRST_ID, HIGHEST_LIMIT + 1)
        assert_refused(driver, call, Rejected, 422, "query maximum results exceeded")

    def test_from_what_is_no_id(self, driver: Driver) -> None:
        call = content_calls.list_objects("Book", "", "b", 10)
        assert_refused(driver, call, Rejected, 422, "after parameter 'b'")


class TestCounts:
    def test_without_tenants(self, driver: Driver) -> None:
        assert driver.send(content_calls.count_objects("Book", [""])) == (len(BOOKS),)

    def test_of_tenants_active_or_not(self, driver: Driver) -> None:
        assert driver.send(content_calls.count_objects("Order", ["empty", "asleep", "acme"])) == (0, None, 3)

    @pytest.mark.parametrize(
        ("collection", "tenants", "text"),
        [
            ("Nope", [""], 'Cannot query field "Nope" on type "AggregateObjectsObj"'),
            ("Order", ["acme", "nobody"], 'tenant not found: "nobody"'),
            ("Order", [""], "class Order has multi-tenancy enabled, but request was without tenant"),
            ("Book", ["acme"], 'Unknown argument "tenant" on field "Book"'),
        ],
        ids=["unknown", "unknown tenant", "missing", "too much"],
    )
    def test_what_can_not_be_counted(self, driver: Driver, collection: str, tenants: list[str], text: str) -> None:
        with pytest.raises(Rejected, match=text):
            driver.send(content_calls.count_objects(collection, tenants))


class TestNearest:
    def test_order_and_distances_of_several_searches(self, driver: Driver) -> None:
        queries = [("", [1.0, 2.0]), ("", [1.0, 0.0])]
        (first, second) = driver.send(content_calls.find_nearest("Book", "", queries, 2))
        assert_near(first, {8: 0.0, 16: 1 - 9 / 85**0.5})
        assert_near(second, {2: 1 - 1 / 1.25**0.5, 4: 1 - 1 / 2**0.5})

    def test_by_name(self, driver: Driver) -> None:
        (found,) = driver.send(content_calls.find_nearest("Photo", "", [("front", [3.0, 4.0])], 10))
        assert_near(found, {2: 0.0, 1: 0.4})

    def test_several_rows_to_a_vector(self, driver: Driver) -> None:
        (found,) = driver.send(content_calls.find_nearest("Photo", "", [("many", [[2.0, 0.0], [0.0, 2.0]])], 10))
        # Rows of length 1, since a real server takes longer ones as they are until it is started anew or has restored
        # them, and as rows of length 1 from then on: the distances differ.
        assert_near(found, {1: -2.0, 2: -1.4, 3: 1.0})

    def test_in_a_tenant(self, driver: Driver) -> None:
        (found,) = driver.send(content_calls.find_nearest("Order", "acme", [("", [1.0, 3.0])], 1))
        assert_near(found, {3: 0.0})
        assert driver.send(content_calls.find_nearest("Order", "empty", [("", [1.0, 3.0])], 1)) == ((),)

    def test_in_an_inactive_tenant(self, driver: Driver) -> None:
        assert driver.send(content_calls.find_nearest("Order", "asleep", [("", [1.0, 3.0])], 1)) == ((),)

    @pytest.mark.parametrize(
        ("collection", "name", "vector", "text"),
        [
            ("Nope", "", [1.0, 0.0], 'Cannot query field "Nope" on type "GetObjectsObj"'),
            ("Photo", "back", [1.0, 0.0], 'index for target vector "back" not found'),
            ("Photo", "", [1.0, 0.0], "please specify target vector name"),
            ("Book", "", [1.0, 0.0, 0.0], "vector lengths don't match"),
        ],
        ids=["unknown", "unknown name", "no name", "other length"],
    )
    def test_what_can_not_be_searched(
        self, driver: Driver, collection: str, name: str, vector: list[float], text: str
    ) -> None:
        with pytest.raises(Rejected, match=text):
            driver.send(content_calls.find_nearest(collection, "", [(name, vector)], 1))


class TestOneObject:
    @pytest.mark.parametrize(
        ("collection", "tenant", "vectors"),
        [
            ("Book", "", {"": [0.5, -2.0]}),
            ("Order", "acme", {"": [0.5, -2.0]}),
            ("Photo", "", {"front": [0.5, -2.0], "many": [[0.5, 0.0], [1.0, 1.0]]}),
            ("Photo", "", {"front": [0.5, -2.0]}),
        ],
        ids=["unnamed", "tenant", "named", "one of two"],
    )
    def test_written_read_and_deleted(
        self, driver: Driver, collection: str, tenant: str, vectors: dict[str, Any]
    ) -> None:
        written = FoundObject(an_id(99), {}, vectors)
        before = driver.send(content_calls.count_objects(collection, [tenant]))
        assert driver.send(content_calls.write_object(collection, tenant, an_id(99), vectors)) == written
        try:
            assert driver.send(content_calls.read_object(collection, tenant, an_id(99))) == written
            call = content_calls.write_object(collection, tenant, an_id(99), {})
            assert_refused(driver, call, Rejected, 422, f"id '{an_id(99)}' already exists")
        finally:
            driver.send(content_calls.delete_object(collection, tenant, an_id(99)))
        assert_refused(driver, content_calls.read_object(collection, tenant, an_id(99)), NotFound, 404, NOTHING_THERE)
        assert driver.send(content_calls.count_objects(collection, [tenant])) == before

    def test_one_that_is_there_is_not_overwritten(self, driver: Driver) -> None:
        call = content_calls.write_object("Book", "", an_id(8), {"": [0.5, 0.5]})
        assert_refused(driver, call, Rejected, 422, "already exists")
        assert driver.send(content_calls.read_object("Book", "", an_id(8))) == BOOKS[an_id(8)]

    def test_one_that_is_not_there(self, driver: Driver) -> None:
        for collection in ("Book", "Nope"):
            call = content_calls.read_object(collection, "", an_id(99))
            assert_refused(driver, call, NotFound, 404, NOTHING_THERE)
        driver.send(content_calls.delete_object("Book", "", an_id(99)))

    @pytest.mark.parametrize(
        "call",
        [
            content_calls.read_object("Order", "asleep", an_id(1)),
            content_calls.write_object("Order", "asleep", an_id(99), {"": [1.0, 0.0]}),
            content_calls.delete_object("Order", "asleep", an_id(1)),
        ],
        ids=["read", "write", "delete"],
    )
    def test_in_an_inactive_tenant(self, driver: Driver, call: Call[Any]) -> None:
        assert_refused(driver, call, Rejected, 422, "tenant not active: 'asleep'")

    def test_vector_that_the_collection_does_not_have(self, driver: Driver) -> None:
        call = content_calls.write_object("Photo", "", an_id(99), {"": [1.0, 0.0]})
        assert_refused(driver, call, Rejected, 422, "does not have single vector index")
        call = content_calls.write_object("Photo", "", an_id(99), {"back": [1.0, 0.0]})
        assert_refused(driver, call, Rejected, 422, "does not have configuration for vector back")

    def test_delete_from_a_collection_that_is_not_there(self, driver: Driver) -> None:
        call = content_calls.delete_object("Nope", "", an_id(99))
        assert_refused(driver, call, ServerFault, 500, "delete from non-existing index for Nope")


class TestConfiguration:
    def test_of_a_collection(self, driver: Driver) -> None:
        told = driver.send(content_calls.read_class("Book"))
        assert (told["class"], told["vectorizer"], told["vectorIndexType"]) == ("Book", "none", "hnsw")
        assert [(given["name"], given["tokenization"]) for given in told["properties"]] == [("title", "field")]
        assert (told["replicationConfig"]["factor"], told["multiTenancyConfig"]["enabled"]) == (1, False)
        assert "vectorConfig" not in told

    def test_of_one_with_tenants(self, driver: Driver) -> None:
        told = driver.send(content_calls.read_class("Order"))
        assert (told["properties"], told["multiTenancyConfig"]["enabled"]) == (None, True)

    def test_of_one_with_named_vectors(self, driver: Driver) -> None:
        told = driver.send(content_calls.read_class("Photo"))
        assert {name: given["vectorizer"] for name, given in told["vectorConfig"].items()} == {
            "front": {"none": {}},
            "many": {"none": {}},
        }
        assert told.keys().isdisjoint({"vectorizer", "vectorIndexType"})

    def test_by_an_alias(self, driver: Driver) -> None:
        assert driver.send(content_calls.read_class("Writer"))["class"] == "Author"

    def test_of_one_that_is_not_there(self, driver: Driver) -> None:
        assert_refused(driver, content_calls.read_class("Nope"), NotFound, 404, NOTHING_THERE)


class TestAliases:
    def test_targets_and_delete(self, driver: Driver) -> None:
        driver.subject.call("POST", "/aliases", {"alias": "Volume", "class": "Book"})
        try:
            targets = driver.send(content_calls.read_alias_targets())
            assert targets == {"Volume": "Book", "Writer": "Author"}
            assert driver.send(content_calls.read_object("Volume", "", an_id(8))) == BOOKS[an_id(8)]
            assert driver.send(content_calls.count_objects("Volume", [""])) == (len(BOOKS),)
        finally:
            driver.send(content_calls.delete_alias("Volume"))
        assert driver.send(content_calls.read_alias_targets()) == {"Writer": "Author"}
        assert driver.send(content_calls.count_objects("Book", [""])) == (len(BOOKS),)

    def test_delete_of_one_that_is_not_there(self, driver: Driver) -> None:
        for name in ("Nope", "Book"):
            assert_refused(driver, content_calls.delete_alias(name), NotFound, 404, NOTHING_THERE)


class TestServer:
    def test_anonymous_has_no_permissions_of_its_own(self, driver: Driver) -> None:
        with pytest.raises(Unauthenticated):
            driver.send(content_calls.read_own_permissions())

    def test_no_roles(self, driver: Driver) -> None:
        assert driver.send(content_calls.read_roles()) == ()

    def test_nodes_of_shards(self, driver: Driver) -> None:
        found = driver.send(content_calls.read_shard_nodes())
        assert {name: found[name] for name in OWN} == dict.fromkeys(OWN, frozenset({NODE}))

    def test_members(self, driver: Driver) -> None:
        ((name, address),) = driver.send(content_calls.read_members())
        assert name == NODE
        assert ":" in address


class TestBackup:
    def test_objects_and_configuration_come_back(
        self, driver: Driver, new_address: Callable[..., BackupAddress]
    ) -> None:
        address, before = new_address(), _everything(driver)
        driver.create(address, include=OWN)
        driver.end(address)
        for name in OWN:
            driver.send(calls.delete_collection(name))
        assert driver.restore(address) == OWN
        assert driver.end(address, OperationKind.RESTORE)[-1].status is Status.SUCCESS
        assert _everything(driver) == before
        assert driver.send(content_calls.count_objects("Order", list(ORDERS))) == (3, None, 0)
        driver.send(calls.set_tenants("Order", {"asleep": "HOT"}))
        assert driver.send(content_calls.count_objects("Order", ["asleep"])) == (2,)
        driver.send(calls.set_tenants("Order", {"asleep": "COLD"}))


def _everything(driver: Driver) -> list[Any]:
    tenants = {"Order": "acme"}
    listed = [content_calls.list_objects(name, tenants.get(name, ""), FIRST_ID, 100) for name in OWN]
    return [driver.send(content_calls.read_class(name)) for name in OWN] + [driver.send(call) for call in listed]
