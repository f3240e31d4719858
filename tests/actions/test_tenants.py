from __future__ import annotations

import pytest

from airflow_provider_vectorbackup.actions import tenants
from airflow_provider_vectorbackup.actions.backup import begin_backup, finish_backup
from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.actions.tenants import InactiveTenants
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import OperationFailed, PreflightFailed, Rejected, ServerFault
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.orders import CREATE, RUN_STARTED, order

TENANTS = "/schema/Shop/tenants"
ACTIVATE = order(inactive_tenants=InactiveTenants.ACTIVATE)


@pytest.fixture
def server(server: WeaviateStandIn) -> WeaviateStandIn:
    """One that leaves inactive tenants out of its backups."""
    server.version = "1.36.9"
    server.add_collection("Shop", {"hot": "HOT", "cold": "COLD", "frozen": "FROZEN"})
    return server


def now(server: WeaviateStandIn) -> dict[str, str]:
    found = server.collections["Shop"].tenants
    assert found is not None
    return found


BEFORE = {"hot": "HOT", "cold": "COLD", "frozen": "FROZEN"}
ACTIVE = dict.fromkeys(BEFORE, "HOT")


def test_warning_and_nothing_else(
    client: WeaviateClient, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    operation = begin_backup(client, order(inactive_tenants=InactiveTenants.WARN), NoMemory(), RUN_STARTED)
    assert "will NOT contain these inactive tenants: Shop: cold, frozen" in caplog.text
    assert operation.reactivated == {}
    assert now(server) == BEFORE


def test_newer_servers_contain_inactive_tenants(
    client: WeaviateClient, server: WeaviateStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    server.version = "1.39.2"
    begin_backup(client, order(), NoMemory(), RUN_STARTED)
    assert "will NOT contain these inactive tenants: Shop: frozen" in caplog.text


@pytest.mark.parametrize("policy", InactiveTenants)
def test_collections_that_are_not_chosen_do_not_count(
    client: WeaviateClient, server: WeaviateStandIn, policy: InactiveTenants, caplog: pytest.LogCaptureFixture
) -> None:
    operation = begin_backup(client, order(include=("Article",), inactive_tenants=policy), NoMemory(), RUN_STARTED)
    assert operation.collections == ("Article",)
    assert "inactive" not in caplog.text
    assert server.sent("GET", TENANTS) == []


def test_failure(client: WeaviateClient, server: WeaviateStandIn) -> None:
    with pytest.raises(PreflightFailed, match=r"leave out inactive tenants \(Shop: cold, frozen\)"):
        begin_backup(client, order(inactive_tenants=InactiveTenants.FAIL), NoMemory(), RUN_STARTED)
    assert server.sent("POST", CREATE) == []
    assert now(server) == BEFORE


class TestActivate:
    def test_and_put_back_at_the_end(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        operation = begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        assert operation.reactivated == {"Shop": {"cold": "COLD", "frozen": "FROZEN"}}
        assert now(server) == ACTIVE
        server.finish()
        result = finish_backup(client, Outcome(operation, _ended(Status.SUCCESS)), memory)
        assert result["status"] == "SUCCESS"
        assert now(server) == BEFORE
        held = server.backup("x1").collections["Shop"].tenants
        assert held == ACTIVE

    def test_and_put_back_once_only(self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory) -> None:
        operation = begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        server.finish()
        finish_backup(client, Outcome(operation, _ended(Status.SUCCESS)), memory)
        server.add_collection("Shop", ACTIVE)
        again = begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        finish_backup(client, Outcome(again, _ended(Status.SUCCESS)), memory)
        assert now(server) == ACTIVE

    def test_and_put_back_after_a_failed_backup(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        operation = begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        server.finish("FAILED", "disk full")
        with pytest.raises(OperationFailed):
            finish_backup(client, Outcome(operation, _ended(Status.FAILED)), memory)
        assert now(server) == BEFORE

    def test_and_put_back_if_the_backup_is_refused(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.fail_next("POST", CREATE, status=500)
        with pytest.raises(ServerFault):
            begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        assert now(server) == BEFORE

    def test_and_put_back_by_the_try_that_comes_after_a_crash(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.fail_next("POST", CREATE, status=500)
        server.fail_next("PUT", TENANTS, status=200, body=[], handled=True)  # activated
        server.fail_next("PUT", TENANTS, status=500, times=20)  # the way back is cut off
        with pytest.raises(ServerFault):
            begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        assert now(server) == ACTIVE
        server.clear_faults()
        begin_backup(client, order(), memory, RUN_STARTED)
        assert now(server) == BEFORE

    def test_and_put_back_if_the_answer_is_lost(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.drop_next("POST", CREATE, handled=True)
        operation = begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        server.finish()
        finish_backup(client, Outcome(operation, _ended(Status.SUCCESS)), memory)
        assert now(server) == BEFORE

    def test_and_put_back_by_a_try_that_attaches(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        server.finish()
        again = begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        finish_backup(client, Outcome(again, _ended(Status.SUCCESS)), memory)
        assert now(server) == BEFORE

    def test_that_never_comes_about(
        self, client: WeaviateClient, server: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenants, "ACTIVATION_DEADLINE_SECONDS", 0.05)
        monkeypatch.setattr(tenants, "_POLL_SECONDS", 0.01)
        server.fail_next("PUT", TENANTS, status=200, body=[])
        with pytest.raises(PreflightFailed, match=r"did not become active in 0\.05 s: cold, frozen"):
            begin_backup(client, ACTIVATE, NoMemory(), RUN_STARTED)
        assert server.sent("POST", CREATE) == []
        assert len(server.sent("PUT", TENANTS)) == 2

    def test_takes_a_hundred_at_a_time(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.add_collection("Shop", {f"t{number}": "COLD" for number in range(250)})
        begin_backup(client, ACTIVATE, NoMemory(), RUN_STARTED)
        assert [len(seen.body) for seen in server.sent("PUT", TENANTS)] == [100, 100, 50]
        assert set(now(server).values()) == {"HOT"}

    def test_puts_a_tenant_in_transition_where_it_was_going(
        self, client: WeaviateClient, server: WeaviateStandIn, memory: TaskMemory
    ) -> None:
        server.add_collection("Shop", {"leaving": "FREEZING", "coming": "UNFREEZING"})
        operation = begin_backup(client, ACTIVATE, memory, RUN_STARTED)
        finish_backup(client, Outcome(operation, _ended(Status.SUCCESS)), memory)
        assert now(server) == {"leaving": "FROZEN", "coming": "FROZEN"}


def _ended(status: Status) -> OperationStatus:
    return OperationStatus(OperationKind.BACKUP, status)


REFUSAL = {"error": [{"message": "updating db: memory pressure: cannot init shard: not enough memory mappings"}]}


class TestServerWithoutRoom:
    """One that has just loaded many tenants refuses more for some minutes."""

    def test_is_waited_for(
        self, client: WeaviateClient, server: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenants, "_ROOM_SECONDS", 0.01)
        server.fail_next("PUT", TENANTS, status=422, body=REFUSAL, times=3)
        begin_backup(client, ACTIVATE, NoMemory(), RUN_STARTED)
        assert now(server) == ACTIVE

    def test_that_stays_so_is_told_and_all_is_put_back(
        self, client: WeaviateClient, server: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenants, "ACTIVATION_DEADLINE_SECONDS", 0.0)
        server.fail_next("PUT", TENANTS, status=422, body=REFUSAL)
        with pytest.raises(PreflightFailed, match=r"no room for more active tenants of Shop.*vm\.max_map_count"):
            begin_backup(client, ACTIVATE, NoMemory(), RUN_STARTED)
        assert now(server) == BEFORE
        assert server.sent("POST", "/backups/s3") == []

    def test_other_refusals_are_not_waited_for(self, client: WeaviateClient, server: WeaviateStandIn) -> None:
        server.fail_next("PUT", TENANTS, status=422, body={"error": [{"message": "no such tenant"}]})
        with pytest.raises(Rejected, match="no such tenant"):
            begin_backup(client, ACTIVATE, NoMemory(), RUN_STARTED)
