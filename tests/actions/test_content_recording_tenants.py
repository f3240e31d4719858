"""Tenants: thousands of them, and those that are not active."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.tenants import InactiveTenants
from airflow_provider_vectorbackup.exceptions import PreflightFailed, ServerFault
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.content_lab import AFTER, BEFORE, Lab, some_objects

TENANTS, QUERY = "/schema/Shop/tenants", "/graphql"
WARN, FAIL, ACTIVATE = InactiveTenants
MIXED = {"cold": "COLD", "frozen": "FROZEN", "hot": "HOT"}


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    return weaviate_stand_in


@pytest.fixture
def lab(server: WeaviateStandIn, client: WeaviateClient, tmp_path: Path) -> Lab:
    return Lab(server, client, tmp_path)


def shop(server: WeaviateStandIn, activities: dict[str, str], each: int = 3) -> dict[str, str]:
    """Make a collection with objects in every tenant; return the activities, as they change."""
    made = server.add_collection("Shop", activities)
    for number, tenant in enumerate(activities):
        server.add_objects("Shop", some_objects(each, number), tenant=tenant)
    assert made.tenants is not None
    return made.tenants


def counts(lab: Lab) -> dict[str, int | None]:
    return {tenant.tenant: tenant.count for tenant in lab.recorded()["Shop"].tenants}


class TestThousands:
    def test_are_counted_by_the_hundred_and_sampled_as_one(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_collection("Shop", {f"t{number}": "HOT" for number in range(10_000)})
        for number in range(0, 10_000, 10):
            server.add_objects("Shop", some_objects(2, number), tenant=f"t{number}")
        tracemalloc.start()
        try:
            result = lab.record()
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (result.tenants, result.objects, result.sampled) == (10_000, 2000, 50)
        queries = [str(seen.body["query"]) for seen in server.sent("POST", QUERY)]
        counting = [query.count("meta") for query in queries if "Aggregate" in query]
        assert counting == [100] * 100
        assert len(queries) - len(counting) == 10
        assert peak_bytes < 40 * 2**20
        assert len(list(lab.store.list_objects())) == 1
        assert next(lab.store.list_objects()).size_bytes < 200_000
        server.requests.clear()
        assert lab.differences(probes_writes=False) == []
        assert len(server.requests) < 220

    def test_one_that_is_lost_of_many_is_named(self, lab: Lab, server: WeaviateStandIn) -> None:
        tenants = shop(server, {f"t{number}": "HOT" for number in range(250)}, each=1)
        lab.record()
        del tenants["t17"]
        assert lab.differences() == ["Shop/t17 is not there"]

    def test_counts_are_those_of_each(self, lab: Lab, server: WeaviateStandIn) -> None:
        server.add_collection("Shop", {f"t{number}": "HOT" for number in range(250)})
        for number in range(250):
            server.add_objects("Shop", some_objects(number % 7, number), tenant=f"t{number}")
        lab.record()
        assert counts(lab) == {f"t{number}": number % 7 for number in range(250)}


class TestInactive:
    def test_are_left_out_with_a_warning(
        self, lab: Lab, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
    ) -> None:
        tenants = shop(server, dict(MIXED))
        result = lab.record()
        assert "Not active, so their content is not read: cold, frozen of Shop" in caplog.text
        assert (result.tenants, result.uncounted, result.objects) == (3, 2, 3)
        assert counts(lab) == {"cold": None, "frozen": None, "hot": 3}
        assert (tenants, server.sent("PUT", ".*")) == (MIXED, [])
        comparison = lab.compare()
        assert (comparison.differences, comparison.uncounted) == ([], 2)

    def test_are_a_failure_by_policy(self, lab: Lab, server: WeaviateStandIn) -> None:
        shop(server, dict(MIXED))
        with pytest.raises(PreflightFailed, match=r"Tenants of Shop are not active, .*: cold, frozen") as caught:
            lab.record(inactive=FAIL)
        assert "'activate'" in caught.value.hint
        assert server.sent("PUT", ".*") == []
        assert list(lab.store.list_objects()) == []

    def test_active_ones_are_no_failure(self, lab: Lab, server: WeaviateStandIn) -> None:
        shop(server, {"a": "HOT", "b": "HOT"})
        assert lab.record(inactive=FAIL).objects == 6
        assert lab.differences(inactive=FAIL) == []

    def test_are_activated_read_and_put_back(self, lab: Lab, server: WeaviateStandIn, memory: TaskMemory) -> None:
        tenants = shop(server, dict(MIXED))
        result = lab.record(inactive=ACTIVATE, memory=memory)
        assert (result.objects, result.sampled, result.uncounted) == (6, 6, 1)
        assert counts(lab) == {"cold": 3, "frozen": None, "hot": 3}
        assert (tenants, memory.kept) == (MIXED, {})
        assert lab.differences(inactive=ACTIVATE, memory=memory) == []
        assert (tenants, memory.kept) == (MIXED, {})
        named = {tenant["name"] for seen in server.sent("PUT", TENANTS) for tenant in seen.body}
        assert named == {"cold"}

    def test_are_looked_at_in_the_later_record_too(self, lab: Lab, server: WeaviateStandIn) -> None:
        shop(server, {"a": "COLD", "b": "HOT"})
        lab.record(inactive=ACTIVATE)
        assert lab.record(AFTER, inactive=ACTIVATE).sampled == 6
        assert lab.sampled("Shop", AFTER) == lab.sampled("Shop", BEFORE)

    def test_lost_object_of_one_is_found(self, lab: Lab, server: WeaviateStandIn) -> None:
        shop(server, {"a": "COLD"})
        lab.record(inactive=ACTIVATE)
        objects = server.collections["Shop"].objects_of("a")
        lost = min(objects)
        del objects[lost]
        found = lab.differences(inactive=ACTIVATE)
        assert f"Shop/a lacks the object {lost}" in found
        assert "Shop/a has 2 objects, not 3" in found

    def test_are_activated_a_hundred_at_a_time(self, lab: Lab, server: WeaviateStandIn) -> None:
        tenants = shop(server, {f"t{number:03}": "COLD" for number in range(250)}, each=1)
        assert lab.record(inactive=ACTIVATE).objects == 250
        active: set[str] = set()
        for seen in server.sent("PUT", TENANTS):
            named = {tenant["name"] for tenant in seen.body}
            active = active | named if seen.body[0]["activityStatus"] == "HOT" else active - named
            assert len(active) <= 100
        assert set(tenants.values()) == {"COLD"}

    def test_are_remembered_before_they_are_activated(self, lab: Lab, server: WeaviateStandIn) -> None:
        shop(server, dict(MIXED))
        changes: list[int] = []

        class Noting(TaskMemory):
            def set(self, key: str, value: object) -> None:
                changes.append(len(server.sent("PUT", TENANTS)))
                assert value == {"Shop": {"cold": "COLD"}}
                super().set(key, value)

        lab.record(inactive=ACTIVATE, memory=Noting())
        assert changes == [0, 2]


class TestPutBack:
    @pytest.mark.parametrize(("method", "path"), [("POST", QUERY), ("GET", "/objects")])
    def test_though_a_request_fails(
        self, lab: Lab, server: WeaviateStandIn, memory: TaskMemory, method: str, path: str
    ) -> None:
        tenants = shop(server, dict(MIXED))
        server.fail_next(method, path, status=500)
        with pytest.raises(ServerFault):
            lab.record(inactive=ACTIVATE, memory=memory)
        assert len(server.sent("PUT", TENANTS)) >= 2
        assert (tenants, memory.kept) == (MIXED, {})

    def test_though_it_is_not_known_whether_it_was_activated(
        self, lab: Lab, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        tenants = shop(server, dict(MIXED))
        server.fail_next("PUT", TENANTS, status=500, handled=True)
        with pytest.raises(ServerFault):
            lab.record(inactive=ACTIVATE, memory=memory)
        assert (tenants, memory.kept) == (MIXED, {})

    def cut_off(self, lab: Lab, server: WeaviateStandIn, memory: TaskMemory) -> None:
        """Let a try end that had activated a tenant and can't put it back, as one that is killed."""
        server.fail_next("PUT", TENANTS, status=200, body=[], handled=True)
        server.fail_next("PUT", TENANTS, status=500)
        with pytest.raises(ServerFault):
            lab.record(inactive=ACTIVATE, memory=memory)
        assert server.collections["Shop"].tenants == MIXED | {"cold": "HOT"}

    @pytest.mark.parametrize("policy", InactiveTenants)
    def test_by_the_try_that_comes_after_a_crash(
        self, lab: Lab, server: WeaviateStandIn, memory: TaskMemory, policy: InactiveTenants
    ) -> None:
        tenants = shop(server, dict(MIXED))
        self.cut_off(lab, server, memory)
        if policy is FAIL:
            with pytest.raises(PreflightFailed):
                lab.record(inactive=policy, memory=memory)
        else:
            lab.record(inactive=policy, memory=memory)
        assert (tenants, memory.kept) == (MIXED, {})

    def test_by_a_comparison_that_comes_after_a_crash(
        self, lab: Lab, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        tenants = shop(server, dict(MIXED))
        lab.record()
        self.cut_off(lab, server, memory)
        assert lab.differences(memory=memory) == []
        assert (tenants, memory.kept) == (MIXED, {})

    def test_once_only(self, lab: Lab, server: WeaviateStandIn, memory: TaskMemory) -> None:
        """What somebody activates later is their own."""
        tenants = shop(server, dict(MIXED))
        self.cut_off(lab, server, memory)
        lab.record(memory=memory)
        tenants["cold"] = "HOT"
        lab.record(memory=memory)
        assert tenants == MIXED | {"cold": "HOT"}
