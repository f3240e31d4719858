from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import PokeReturnValue

from airflow_provider_vectorbackup.compat import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from airflow_provider_vectorbackup.exceptions import StorageUnreachable
from airflow_provider_vectorbackup.hooks import storage
from airflow_provider_vectorbackup.sensors import WeaviateBackupFreshnessSensor
from tests.actions.watching import Place, chain_that_ended
from tests.operators.conftest import log
from tests.operators.contexts import Log, TaskRun

__all__ = ["log"]

HOUR = timedelta(hours=1)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A chain of four; the newest began half an hour ago."""
    found = chain_that_ended(tmp_path, datetime.now(UTC) - HOUR / 2)
    monkeypatch.setattr(storage, "open_store", lambda _: found.store)
    return found


def sensor(place: Place, **fields: Any) -> WeaviateBackupFreshnessSensor:
    usual: dict[str, Any] = {"location": str(place.location), "max_age": HOUR, "poke_interval": 0.01}
    usual |= {"mode": "poke", "timeout": 10}
    return WeaviateBackupFreshnessSensor(task_id="fresh", **(usual | fields))


def result_of(poked: bool | PokeReturnValue) -> dict[str, Any]:
    assert isinstance(poked, PokeReturnValue)
    assert poked.is_done
    return dict(poked.xcom_value or {})


def test_fresh(place: Place, run: TaskRun, log: Log) -> None:
    result = sensor(place).execute(run.context)
    assert json.loads(json.dumps(result)) == result
    assert list(result) == ["backup_id", "uri", "started_at", "age_seconds"]
    assert (result["backup_id"], result["uri"]) == ("fourth", place.location.uri_of("fourth"))
    began = datetime.fromisoformat(result["started_at"])
    assert began.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - began - HOUR / 2) < HOUR / 60
    assert abs(result["age_seconds"] - 1800) < 60
    assert "The newest whole backup, fourth, is 0:30:" in log()


def test_it_gives_back_its_slot_between_looks() -> None:
    waiting = WeaviateBackupFreshnessSensor(task_id="fresh", location="file:///x", max_age=1)
    assert (waiting.mode, waiting.poke_interval, waiting.multiple_outputs) == ("reschedule", 300.0, True)


def test_stale_until_a_new_one_is_there(place: Place, run: TaskRun, log: Log) -> None:
    waiting = sensor(place, max_age=60)
    assert waiting.poke(run.context) is False
    assert "fourth, is 0:30:0" in log()
    place.began("fourth", datetime.now(UTC))
    assert result_of(waiting.poke(run.context))["backup_id"] == "fourth"


@pytest.mark.parametrize(("soft_fail", "kind"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_end_of_the_wait_tells_what_is_known(
    place: Place, run: TaskRun, soft_fail: bool, kind: type[Exception]
) -> None:
    place.descriptor("fifth", status="FAILED", error="disk full")
    place.began("fifth", datetime.now(UTC))
    waiting = sensor(place, max_age=60, timeout=0.05, soft_fail=soft_fail)
    with pytest.raises(kind) as caught:
        waiting.execute(run.context)
    assert "The newest whole backup, fourth, is 0:30:" in str(caught.value)
    assert "0:01:00 is allowed. fifth does not count: fifth/backup_config.json says FAILED: disk full" in str(
        caught.value
    )


def test_storage_that_is_away_is_waited_for(place: Place, run: TaskRun, log: Log) -> None:
    place.store.away = {""}
    waiting = sensor(place)
    assert waiting.poke(run.context) is False
    assert "No answer." in log()
    place.store.away.clear()
    assert result_of(waiting.poke(run.context))["backup_id"] == "fourth"


def test_storage_that_stays_away_is_what_the_end_tells(place: Place, run: TaskRun) -> None:
    place.store.away = {""}
    with pytest.raises(AirflowSensorTimeout, match="No answer"):
        sensor(place, timeout=0.05).execute(run.context)


class TestOneLook:
    def test_fresh(self, place: Place, run: TaskRun) -> None:
        assert sensor(place, wait=False).execute(run.context)["backup_id"] == "fourth"

    def test_stale_fails_at_once(self, place: Place, run: TaskRun) -> None:
        with pytest.raises(AirflowFailException, match=r"file:///.*: The newest whole backup, fourth, is 0:30:"):
            sensor(place, max_age=60, wait=False).execute(run.context)
        assert place.store.listings[:1] == [""]
        assert place.store.listings.count("") == 1

    def test_stale_and_soft(self, place: Place, run: TaskRun) -> None:
        with pytest.raises(AirflowSkipException, match="The newest whole backup, fourth, is 0:30:"):
            sensor(place, max_age=60, wait=False, soft_fail=True).execute(run.context)

    def test_storage_that_is_away_is_left_to_retries(self, place: Place, run: TaskRun) -> None:
        place.store.away = {""}
        with pytest.raises(StorageUnreachable):
            sensor(place, wait=False).execute(run.context)


def test_templated_texts(place: Place, run: TaskRun) -> None:
    found = sensor(place, max_age="3600", collections='["Article"]', id_prefix="None", wait="False")
    assert result_of(found.poke(run.context))["backup_id"] == "fourth"
    with pytest.raises(AirflowFailException, match="it lacks Movie"):
        sensor(place, collections='["Movie"]', wait="false").poke(run.context)
    with pytest.raises(AirflowFailException, match="There is no whole backup"):
        sensor(place, id_prefix="nightly-", wait="False").poke(run.context)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"location": "bucket/path"}, "'bucket/path' is not a location"),
        ({"location": "file:///a/../b"}, "file:///a/../b"),
        ({"max_age": "a day"}, "max_age is 'a day'"),
        ({"max_age": 0}, "max_age is 0"),
        ({"max_age": timedelta(0)}, "max_age is datetime.timedelta(0)"),
        ({"collections": "Article"}, "collections is 'Article', which is not of the form"),
        ({"collections": [5]}, "collections is [5]"),
        ({"wait": "perhaps"}, "wait is 'perhaps'"),
    ],
)
def test_bad_input(place: Place, run: TaskRun, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException) as caught:
        sensor(place, **fields).execute(run.context)
    assert text in str(caught.value)
    assert (place.store.listings, place.store.reads) == ([], [])


def test_location_that_is_missing(tmp_path: Path, run: TaskRun) -> None:
    """That will not pass: nobody waits for it."""
    with pytest.raises(AirflowFailException, match="The directory must be there and mounted on the worker"):
        sensor(Place(tmp_path / "missing")).execute(run.context)
