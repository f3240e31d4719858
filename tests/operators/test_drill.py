"""The first step of a restore drill as a task; which backup is picked is tested in tests/actions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import StorageUnreachable
from airflow_provider_vectorbackup.hooks import storage
from airflow_provider_vectorbackup.operators.drill import PickRestorePointOperator
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.actions.watching import CHAIN, Place, chain_that_ended
from tests.operators.contexts import Log, TaskRun

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path, weaviate_stand_in: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A chain of four, all recorded, and a connection to a scratch cluster that names no backend."""
    found = chain_that_ended(tmp_path, NOON)
    for backup_id in CHAIN:
        found.write(f"{backup_id}/_vectorbackup/content-before.jsonl.gz")
    monkeypatch.setattr(storage, "open_store", lambda _: found.store)
    monkeypatch.setenv("AIRFLOW_CONN_SCRATCH", weaviate_stand_in.connection_json())
    return found


def pick(place: Place, run: TaskRun, **fields: Any) -> dict[str, Any]:
    usual = {"location": str(place.location), "scratch_conn_id": "scratch"}
    return PickRestorePointOperator(task_id="pick", **(usual | fields)).execute(run.context)


def picked(place: Place, run: TaskRun, **fields: Any) -> str:
    return str(pick(place, run, **fields)["backup_id"])


def test_latest_is_picked_if_nothing_is_said(place: Place, run: TaskRun, log: Log) -> None:
    result = pick(place, run)
    assert json.loads(json.dumps(result)) == result
    assert set(result) == {
        *("backup_id", "uri", "location", "backend", "bucket", "path", "started_at", "chain", "stored_bytes")
    }
    assert (result["backup_id"], result["uri"]) == ("fourth", place.location.uri_of("fourth"))
    assert (result["started_at"], result["chain"]) == (NOON.isoformat(), [*CHAIN])
    assert (result["bucket"], result["path"], run.xcoms) == (None, None, {})


def test_random_is_the_same_in_each_try_of_a_run(place: Place) -> None:
    runs = [f"scheduled__2026-11-{day:02}" for day in range(1, 31)]
    first, again = ([picked(place, TaskRun(run_id=run), pick="random") for run in runs] for _ in range(2))
    assert first == again
    assert set(first) == set(CHAIN)


def test_random_differs_from_dag_to_dag(place: Place) -> None:
    found = {picked(place, TaskRun(dag_id=f"drill-{number}"), pick="random") for number in range(30)}
    assert found == set(CHAIN)


def test_by_id(place: Place, run: TaskRun) -> None:
    assert picked(place, run, pick="second") == "second"


def test_templated_texts(place: Place, run: TaskRun) -> None:
    fields = {"pick": "None", "backend": "None", "id_prefix": "None"}
    assert set(fields) | {"location", "scratch_conn_id"} == set(PickRestorePointOperator.template_fields)
    assert pick(place, run, **fields) == pick(place, run)
    assert picked(place, run, pick="", id_prefix="s") == "second"


@pytest.mark.parametrize(
    ("location", "backend", "expected"),
    [
        ("file:///mnt/backups", None, "filesystem"),
        ("s3://aws@backups/a", None, "s3"),
        ("s3://aws@backups/a", "backup-s3", "s3"),
        ("gs://google@backups/a", "", "gcs"),
    ],
)
def test_backend_is_that_of_the_location(
    place: Place,
    weaviate_stand_in: WeaviateStandIn,
    run: TaskRun,
    *,
    location: str,
    backend: str | None,
    expected: str,
) -> None:
    weaviate_stand_in.modules["backup-gcs"] = {"bucketName": "scratch"}
    assert pick(place, run, location=location, backend=backend)["backend"] == expected


def test_scratch_cluster_is_told_to_read_there(place: Place, weaviate_stand_in: WeaviateStandIn, run: TaskRun) -> None:
    weaviate_stand_in.modules["backup-s3"] = {"bucketName": "scratch"}
    result = pick(place, run, location="s3://aws@backups/a/b")
    assert (result["bucket"], result["path"]) == ("backups", "a/b")
    assert {seen.method for seen in weaviate_stand_in.requests} == {"GET"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"location": "bucket/path"}, "'bucket/path' is not a location"),
        ({"pick": "Fourth"}, "'Fourth' is not a backup id"),
        ({"pick": "fifth"}, "fifth can't be restored: it is not there."),
        ({"id_prefix": "nightly"}, "has no backup that can be restored and has a content record beside it"),
        ({"backend": "disk"}, "'disk' is not a backend"),
        ({"backend": "s3"}, "can't be where backend 's3' writes"),
        ({"location": "azure://x@y"}, "Backend 'azure' is not enabled on this server"),
    ],
)
def test_bad_input(place: Place, run: TaskRun, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException) as caught:
        pick(place, run, **fields)
    assert text in str(caught.value)


def test_backup_without_a_record(place: Place, run: TaskRun) -> None:
    (place.root / "third/_vectorbackup/content-before.jsonl.gz").unlink()
    with pytest.raises(AirflowFailException, match=r"There is no content record beside .*/third"):
        pick(place, run, pick="third")


def test_storage_that_is_away_is_left_to_retries(place: Place, run: TaskRun) -> None:
    place.store.away = {""}
    with pytest.raises(StorageUnreachable):
        pick(place, run)
