"""Content records where something unusual happens: what is deleted meanwhile, reused, cut off, or named oddly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.backup import BackupOrder, IfExists, begin_backup, finish_backup
from airflow_provider_vectorbackup.actions.content_records import RecordPlace, opened_at
from airflow_provider_vectorbackup.actions.memory import FollowedOperation, NoMemory
from airflow_provider_vectorbackup.actions.tenants import InactiveTenants
from airflow_provider_vectorbackup.backups.content import CollectionContent, Moment, SampledVector, spread
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor, InvalidRequest, UnexpectedAnswer
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate import content_answers
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.conftest import TaskMemory
from tests.actions.content_lab import AFTER, BEFORE, Lab, some_objects
from tests.actions.orders import RUN_STARTED
from tests.backups.content_cases import Case
from tests.backups.test_content_comparison_damage import _searched


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn) -> WeaviateStandIn:
    return weaviate_stand_in


@pytest.fixture
def lab(server: WeaviateStandIn, client: WeaviateClient, tmp_path: Path) -> Lab:
    return Lab(server, client, tmp_path)


def test_tenant_recorded_while_activated_and_not_read_now_is_no_loss_of_recall(
    lab: Lab, server: WeaviateStandIn
) -> None:
    server.add_collection("Shop", {"a": "COLD"})
    server.add_objects("Shop", some_objects(20), tenant="a")
    lab.record(inactive=InactiveTenants.ACTIVATE)
    assert lab.differences(inactive=InactiveTenants.WARN) == []


def test_record_after_one_that_lacks_a_searched_object(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Car")
    server.add_objects("Car", some_objects(20))
    lab.record(BEFORE)
    searched = lab.recorded()["Car"].tenants[0].answers[0].object_id
    del server.collections["Car"].objects_of("")[searched]
    lab.record(AFTER)
    lab.record(BEFORE, earlier=lab.place(AFTER))
    assert searched not in {answer.object_id for answer in lab.recorded()["Car"].tenants[0].answers}


@pytest.mark.parametrize("moment", Moment)
def test_uri_in_the_root_directory(moment: Moment) -> None:
    place = RecordPlace.beside(Location.parse("file:///"), "x1", moment)
    assert RecordPlace.parse(place.uri) == place


def after_attaching(lab: Lab, **fields: Any) -> set[str]:
    """Make a backup without a memory twice, the second time attaching; return what the later record is of."""
    order = BackupOrder(
        BackupAddress("filesystem", "x1", path=fields.pop("path", None)),
        id_is_chosen=True,
        location=str(lab.location),
        records_content=True,
        **fields,
    )
    started = RUN_STARTED
    for _ in range(2):
        operation = begin_backup(lab.client, order, NoMemory(), started, lab.store.open)
        lab.server.finish()
        outcome = Outcome(operation, OperationStatus(OperationKind.BACKUP, Status.SUCCESS))
        finish_backup(lab.client, outcome, NoMemory(), lab.store.open, content_of=InactiveTenants.WARN)
    return set(lab.recorded(AFTER))


def test_attaching_where_the_list_does_not_tell_leaves_a_record_of_all(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Car")
    assert after_attaching(lab, path="elsewhere") == {"Car"}


def test_reused_backup_keeps_its_records(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Car")
    server.add_objects("Car", some_objects(3))
    order = BackupOrder(
        BackupAddress("filesystem", "x1"),
        id_is_chosen=True,
        location=str(lab.location),
        records_content=True,
        if_exists=IfExists.REUSE,
    )
    for _ in range(2):
        operation = begin_backup(lab.client, order, NoMemory(), None, lab.store.open)
        server.finish()
        outcome = Outcome(operation, OperationStatus(OperationKind.BACKUP, Status.SUCCESS))
        finish_backup(lab.client, outcome, NoMemory(), lab.store.open, content_of=InactiveTenants.WARN)
        server.collections["Car"].objects_of("").clear()  # long after the backup
        server.add_objects("Car", some_objects(1))
    # The backup has 3 objects; its records must not say that 1 would do.
    assert lab.recorded(AFTER)["Car"].count == 3


def test_tenant_that_is_deleted_meanwhile_is_no_failure(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Shop", {"a": "HOT"})
    told = [{"name": name, "activityStatus": "HOT"} for name in ("a", "deleted-since")]
    server.fail_next("GET", "/schema/Shop/tenants", status=200, body=told)
    lab.record()
    counts = {tenant.tenant: tenant.count for tenant in lab.recorded()["Shop"].tenants}
    assert counts == {"a": 0, "deleted-since": None}


def test_collection_that_is_deleted_meanwhile_is_left_out(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Car")
    server.fail_next("GET", "/schema/Bus", status=200, body={"class": "Bus"})  # and deleted just after that answer
    lab.record(collections=("Bus", "Car"))
    assert list(lab.recorded()) == ["Car"]


def test_property_of_the_name_vectorizer_is_no_module(lab: Lab, server: WeaviateStandIn) -> None:
    server.add_collection("Car", properties=[{"name": "vectorizer", "dataType": ["text"]}])
    lab.record()
    assert lab.compare().written == 1


@pytest.mark.parametrize(
    "tenant",
    [
        ["t", "HOT", 1, [["i", "p", {"v": [1]}]], []],  # IndexError
        ["t", "HOT", 1, [["i", "p", {"v": []}]], []],  # IndexError
        ["t", "HOT", float("inf")],  # OverflowError: json.loads takes Infinity
        ["t", "HOT", 1, [["i", "p", {}]], [["i", "", [["n", 10**400]]]]],  # OverflowError
        ["t", "HOT", 1, [["i", "p", {"v": [3, "AAAAAA=="]}]], []],  # read; ValueError from .wire later
        ["t", "HOT", 1, [["i", "p", {}]], [[["i"], "", []]]],  # read; unhashable later
        "ab1",  # read as a tenant
    ],
)
def test_malformed_record_is_broken(tenant: Any) -> None:
    with pytest.raises(BrokenDescriptor):
        CollectionContent.from_json({"collection": "A", "config": {}, "tenants": [tenant]})


@pytest.mark.parametrize("count", [float("inf"), float("nan")])
def test_count_that_is_none(count: float) -> None:
    with pytest.raises(UnexpectedAnswer):
        content_answers.parse_counts({"data": {"Aggregate": {"t0": [{"meta": {"count": count}}]}}}, count=1)


def test_kill_after_the_first_record_still_knows_what_was_begun() -> None:
    memory = FollowedOperation(TaskMemory(), OperationKind.BACKUP)
    memory.started = object()  # type: ignore[assignment]
    memory.set("activated_tenants", {})
    memory.delete("activated_tenants")  # as `activated` does, between "sent" and the POST
    assert memory.started is not None


def test_key_that_is_none_is_told_as_such(lab: Lab) -> None:
    place = RecordPlace.parse(f"{lab.location}/x1/_vectorbackup/../../../outside")
    with pytest.raises(InvalidRequest), opened_at(place, lab.store.open):
        pass


def test_sample_is_of_as_many_objects_as_are_wanted() -> None:
    assert sum(spread([("a", 1), ("b", 1000)], 50).values()) == 50


def test_recall_at_the_threshold() -> None:
    from airflow_provider_vectorbackup.backups.content_comparison import Tolerance

    names = [f"n{n}" for n in range(100)]
    record, now = _searched(names), _searched([*names[:55], *(f"m{n}" for n in range(45))], distance=0.3)
    assert Case(record, record, now).compared(Tolerance(recall=0.55)).differences == []


def test_multi_vector_without_values() -> None:
    assert SampledVector.of(list[list[float]]([[]])).wire == [[]]
