"""Backups whose contents are recorded, just before and just after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.content_records import opened_record
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import OperationFailed, ServerFault
from airflow_provider_vectorbackup.hooks.storage import open_store
from airflow_provider_vectorbackup.operators import (
    WeaviateCompareContentOperator,
    WeaviateCreateBackupOperator,
    WeaviateRestoreBackupOperator,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.actions.content_lab import some_objects
from tests.operators.contexts import TaskRun, deferred, fire
from tests.operators.test_content import COMPARED, RECORDED, files

CREATE = "/backups/filesystem"
BEFORE, AFTER = (f"_vectorbackup/content-{moment}.jsonl.gz" for moment in ("before", "after"))


@pytest.fixture
def server(server: WeaviateStandIn) -> WeaviateStandIn:
    """One with objects."""
    server.add_objects("Article", some_objects(12))
    return server


@pytest.fixture
def location(tmp_path: Path) -> str:
    return f"file://{tmp_path}"


def create(location: str | None, /, **fields: Any) -> WeaviateCreateBackupOperator:
    usual: dict[str, Any] = {"backend": "filesystem", "backup_id": "x1", "content_record": True, "location": location}
    return WeaviateCreateBackupOperator(task_id="backup", poll_interval=0.01, **(usual | fields))


def counts(folder: Path, key: str) -> dict[str, int]:
    """Return what a record tells: collection -> objects."""
    with opened_record(open_store(Location.parse(f"file://{folder}")), key) as record:
        return {found.name: found.count for found in record.collections}


@pytest.mark.parametrize("flag", [True, "True"])
def test_both_records_lie_beside_the_backup(
    server: WeaviateStandIn, location: str, tmp_path: Path, run: TaskRun, flag: bool | str
) -> None:
    assert "content_record" in create(location).template_fields
    result = create(location, content_record=flag).execute(run.context)
    assert result["status"] == "SUCCESS"
    assert set(result["content"]) == RECORDED
    assert result["content"]["uri"] == f"{result['uri']}/{AFTER}"
    assert files(tmp_path) == [f"x1/{AFTER}", f"x1/{BEFORE}"]
    assert counts(tmp_path, f"x1/{BEFORE}") == counts(tmp_path, f"x1/{AFTER}") == {"Article": 12, "Author": 0}


@pytest.mark.parametrize("flag", [False, "False", "None", ""])
def test_none_unless_they_are_wanted(
    server: WeaviateStandIn, location: str, tmp_path: Path, run: TaskRun, flag: bool | str
) -> None:
    result = create(location, content_record=flag).execute(run.context)
    assert "content" not in result
    assert files(tmp_path) == []
    assert server.sent("POST", "/graphql") == []


def test_restored_backup_compares_equal(server: WeaviateStandIn, location: str, run: TaskRun) -> None:
    uri = create(location).execute(run.context)["uri"]
    server.collections.clear()
    WeaviateRestoreBackupOperator(task_id="restore", backup_id="x1", backend="filesystem", poll_interval=0.01).execute(
        TaskRun().context
    )
    result = WeaviateCompareContentOperator(task_id="compare", expected=uri).execute(TaskRun().context)
    assert set(result) == COMPARED
    assert (result["is_equal"], result["objects"], result["sampled"], result["written"]) == (True, 12, 12, 2)


def test_restore_that_lost_something_does_not(server: WeaviateStandIn, location: str, run: TaskRun) -> None:
    uri = create(location).execute(run.context)["uri"]
    server.collections.clear()
    server.after_restore = lambda found: found["Article"].objects_of("").clear()
    WeaviateRestoreBackupOperator(task_id="restore", backup_id="x1", backend="filesystem", poll_interval=0.01).execute(
        TaskRun().context
    )
    with pytest.raises(AirflowFailException, match="Article is empty, and had up to 12 objects"):
        WeaviateCompareContentOperator(task_id="compare", expected=uri).execute(TaskRun().context)


def test_of_the_collections_that_are_backed_up(
    server: WeaviateStandIn, location: str, tmp_path: Path, run: TaskRun
) -> None:
    create(location, include=["Article"]).execute(run.context)
    assert counts(tmp_path, f"x1/{BEFORE}") == counts(tmp_path, f"x1/{AFTER}") == {"Article": 12}


def test_deferred(server: WeaviateStandIn, location: str, tmp_path: Path, run: TaskRun) -> None:
    operator = create(location, deferrable=True)
    trigger = deferred(operator, run)
    assert files(tmp_path) == [f"x1/{BEFORE}"]
    server.add_objects("Article", some_objects(3, 2))
    result = operator.execute_complete(run.context, fire(trigger).to_json())
    assert (result["content"]["objects"], result["content"]["sampled"]) == (15, 12)
    assert files(tmp_path) == [f"x1/{AFTER}", f"x1/{BEFORE}"]


class TestRetry:
    def test_attaches_and_takes_the_second_record_again(
        self, server: WeaviateStandIn, location: str, tmp_path: Path, run: TaskRun
    ) -> None:
        server.delay_next("GET", "/schema/Article", 0)  # that of the first record
        server.fail_next("GET", "/schema/Article", status=500)
        with pytest.raises(ServerFault):
            create(location).execute(run.context)
        assert files(tmp_path) == [f"x1/{BEFORE}"]
        server.add_objects("Article", some_objects(3, 2))
        result = create(location).execute(run.context)
        assert (result["status"], result["attempts"]) == ("SUCCESS", 1)
        assert len(server.sent("POST", CREATE)) == 1
        assert counts(tmp_path, f"x1/{BEFORE}") == {"Article": 12, "Author": 0}
        assert counts(tmp_path, f"x1/{AFTER}") == {"Article": 15, "Author": 0}

    def test_after_a_failed_backup_has_records_of_its_own(
        self, server: WeaviateStandIn, location: str, tmp_path: Path, run: TaskRun
    ) -> None:
        server.end_next("FAILED", "disk full")
        with pytest.raises(OperationFailed, match="disk full"):
            create(location).execute(run.context)
        assert files(tmp_path) == [f"x1/{BEFORE}"]
        server.add_objects("Article", some_objects(3, 2))
        result = create(location).execute(run.context)
        assert result["content"]["uri"] == f"{location}/x1-a2/{AFTER}"
        assert counts(tmp_path, f"x1-a2/{BEFORE}") == {"Article": 15, "Author": 0}

    def test_starts_nothing_where_the_first_record_can_not_be_taken(
        self, server: WeaviateStandIn, location: str, tmp_path: Path, run: TaskRun
    ) -> None:
        server.fail_next("GET", "/schema/Article", status=500)
        with pytest.raises(ServerFault):
            create(location).execute(run.context)
        assert (server.sent("POST", CREATE), files(tmp_path)) == ([], [])
        assert create(location).execute(run.context)["content"]["objects"] == 12


@pytest.mark.parametrize("version", ["1.36.9", "1.39.2"])
def test_tenants_that_are_activated_are_recorded_and_put_back(
    server: WeaviateStandIn, location: str, run: TaskRun, version: str
) -> None:
    server.version = version
    tenants = server.add_collection("Shop", {"a": "COLD", "b": "HOT"}).tenants
    for tenant in "ab":
        server.add_objects("Shop", some_objects(2, ord(tenant)), tenant=tenant)
    result = create(location, inactive_tenants="activate").execute(run.context)
    assert (result["content"]["objects"], result["content"]["uncounted"]) == (16, 0)
    assert tenants == {"a": "COLD", "b": "HOT"}
    assert "activated_tenants" not in run.memory.kept


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"location": None}, "where the backup will lie is not known. Give location, or a location for the backend"),
        ({"wait_for_completion": False}, "content_record is set, but wait_for_completion is off"),
        ({"content_record": "maybe"}, "content_record is 'maybe'. Give True or False."),
    ],
)
def test_what_can_not_be_is_told_before_anything_is_started(
    server: WeaviateStandIn, tmp_path: Path, run: TaskRun, fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(AirflowFailException) as caught:
        create(f"file://{tmp_path}", **fields).execute(run.context)
    assert text in str(caught.value)
    assert server.requests == []
    assert files(tmp_path) == []


def test_location_of_the_connection_will_do(
    server: WeaviateStandIn, location: str, tmp_path: Path, run: TaskRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WEAVIATE_DEFAULT", server.connection_json(filesystem_location=location))
    create(None).execute(run.context)
    assert files(tmp_path) == [f"x1/{AFTER}", f"x1/{BEFORE}"]
