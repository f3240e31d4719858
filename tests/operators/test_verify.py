"""The operator; what a verification finds is tested in tests/actions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions import verify as verify_action
from airflow_provider_vectorbackup.actions.leases import Hold, Holder, holder_of, holding
from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import BackupInUse, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.hooks import storage
from airflow_provider_vectorbackup.operators import WeaviateVerifyBackupOperator
from tests.actions.watching import CHAIN, Place, WatchedStore, chain_that_ended
from tests.operators.contexts import Log, TaskRun

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEYS = {
    *("uri", "backup_id", "level", "is_whole", "chain", "collections", "objects", "stored_bytes", "read_bytes"),
    *("unpacked_bytes", "seconds", "unchecked", "damage", "warnings", "damage_count", "warning_count", "report_key"),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A chain of four."""
    found = chain_that_ended(tmp_path, NOON)
    monkeypatch.setattr(storage, "open_store", lambda _: found.store)
    return found


def verify(place: Place, **fields: Any) -> WeaviateVerifyBackupOperator:
    return WeaviateVerifyBackupOperator(task_id="verify", **({"location": str(place.location)} | fields))


def test_whole_one(place: Place, run: TaskRun, log: Log) -> None:
    result = verify(place, backup_id="second").execute(run.context)
    assert json.loads(json.dumps(result)) == result
    assert set(result) == KEYS
    assert (result["backup_id"], result["uri"]) == ("second", place.location.uri_of("second"))
    assert (result["is_whole"], result["level"], result["damage"], result["damage_count"]) == (True, "quick", [], 0)
    assert (result["chain"], result["collections"]) == (["full", "second"], ["Article", "Author", "Photo", "Product"])
    assert (result["read_bytes"], result["report_key"]) == (0, None)
    assert run.xcoms == {}
    assert "second: whole, by a quick look at" in log()
    assert not list(place.root.rglob("_vectorbackup"))


def test_deep(place: Place, run: TaskRun) -> None:
    result = verify(place, level="deep", threads=2).execute(run.context)
    assert (result["backup_id"], result["chain"], result["level"]) == ("fourth", list(CHAIN), "deep")
    assert result["unpacked_bytes"] > result["read_bytes"] > 0


def test_latest_is_the_newest_that_says_success(place: Place, run: TaskRun) -> None:
    place.written_at("full", NOON + timedelta(hours=1))
    assert verify(place).execute(run.context)["backup_id"] == "fourth"
    with place.edited("fourth/backup_config.json") as descriptor:
        descriptor["status"] = "FAILED"
    assert verify(place, backup_id="latest").execute(run.context)["backup_id"] == "third"


def test_latest_of_nothing(tmp_path: Path, run: TaskRun) -> None:
    with pytest.raises(AirflowFailException, match="There is no finished backup in file:///"):
        verify(Place(tmp_path)).execute(run.context)


def test_damage(place: Place, run: TaskRun) -> None:
    (place.root / "second/w1/Photo/chunk-2").unlink()
    (place.root / "full/w1/Author/chunk-1").write_bytes(b"")
    with pytest.raises(AirflowFailException) as caught:
        verify(place).execute(run.context)
    for text in ("2 found wrong", "- second/w1/Photo/chunk-2 is not there", "- full/w1/Author/chunk-1 can't be whole"):
        assert text in str(caught.value)
    report = run.xcoms["report"]
    assert json.loads(json.dumps(report)) == report
    assert set(report) == KEYS
    assert (report["backup_id"], report["is_whole"], report["damage_count"]) == ("fourth", False, 2)
    assert "second/w1/Photo/chunk-2 is not there" in report["damage"]


@pytest.mark.parametrize("level", ["quick", "deep"])
def test_report_beside_the_backup(place: Place, run: TaskRun, level: str) -> None:
    (place.root / "fourth/w1/Photo/chunk-2").unlink()
    with pytest.raises(AirflowFailException, match="Photo/chunk-2 is not there"):
        verify(place, level=level, store_report="True").execute(run.context)
    key = run.xcoms["report"]["report_key"]
    assert key == f"fourth/_vectorbackup/verify-{level}.json"
    stored = json.loads((place.root / key).read_text())
    assert (stored["is_whole"], stored["level"]) == (False, level)
    assert {"key": "fourth/w1/Photo/chunk-2", "problem": "is not there"} in stored["damage"]
    # It is ours, and no part of the backup.
    again = verify(place, backup_id="third", store_report=True).execute(run.context)
    assert (again["is_whole"], again["warnings"]) == (True, [])
    assert verify(place, backup_id="third").execute(run.context)["warnings"] == []


def test_warnings_are_told_and_no_failure(place: Place, run: TaskRun, log: Log) -> None:
    place.write("fourth/w1/Photo/chunk-99", b"x")
    result = verify(place).execute(run.context)
    assert (result["is_whole"], result["warning_count"]) == (True, 1)
    assert "fourth/w1/Photo/chunk-99 is in no descriptor" in log()


def test_backup_that_is_not_there(place: Place, run: TaskRun) -> None:
    with pytest.raises(AirflowFailException, match=r"fifth/backup_config\.json is not there"):
        verify(place, backup_id="fifth").execute(run.context)
    assert run.xcoms["report"]["is_whole"] is False


@pytest.mark.parametrize("backup_id", ["latest", "fourth"])
def test_storage_that_is_away_is_left_to_retries(place: Place, run: TaskRun, backup_id: str) -> None:
    place.store.away = {"", "fourth/backup_config.json"}
    with pytest.raises(StorageUnreachable):
        verify(place, backup_id=backup_id).execute(run.context)
    assert run.xcoms == {}


def test_templated_texts(place: Place, run: TaskRun) -> None:
    fields = {"backup_id": "second", "level": "deep", "threads": "1", "store_report": "False"}
    assert set(fields) < set(verify(place).template_fields)
    result = verify(place, **fields).execute(run.context)
    assert (result["level"], result["report_key"]) == ("deep", None)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"location": "bucket/path"}, "'bucket/path' is not a location"),
        ({"backup_id": "Bad Id"}, "'Bad Id' is not a backup id"),
        ({"backup_id": "../x"}, "'../x' is not a backup id"),
        ({"backup_id": ""}, "'' is not a backup id"),
        ({"backup_id": "None"}, "'' is not a backup id"),
        ({"level": "Deep"}, "level is 'Deep'. Use one of quick, deep."),
        ({"threads": "many"}, "threads is 'many'"),
        ({"threads": 0, "backup_id": "full"}, "threads is 0. Give 1 to 16."),
        ({"threads": "17", "backup_id": "full"}, "threads is 17. Give 1 to 16."),
        ({"threads": None, "backup_id": "full"}, "threads is 0. Give 1 to 16."),
        ({"store_report": "maybe"}, "store_report is 'maybe'"),
    ],
)
def test_bad_input(place: Place, run: TaskRun, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException) as caught:
        verify(place, **fields).execute(run.context)
    assert text in str(caught.value)
    assert (place.store.listings, place.store.reads, run.xcoms) == ([], [], {})


class ReadOnlyStore(WatchedStore):
    """Writing fails with an error."""

    error: StorageError = StorageError("AccessDenied.")

    def write(self, *_: object, **__: object) -> str:
        raise self.error


class TestLease:
    """On the backup, so that nobody deletes it, or writes over it, while it is read."""

    NO_LEASE = "No lease can be left beside it, so nothing keeps others from pruning it"

    @pytest.fixture
    def held(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Return in words who holds the backup while it is looked at."""
        found: list[str] = []
        verify_backup = verify_action.verify_backup

        def watched(*args: Any, **fields: Any) -> Any:
            found.extend(holder_of(place.store, name, datetime.now(UTC)) for name in CHAIN)
            return verify_backup(*args, **fields)

        monkeypatch.setattr(verify_action, "verify_backup", watched)
        return found

    @pytest.mark.parametrize("level", ["quick", "deep"])
    def test_is_held_meanwhile(self, place: Place, run: TaskRun, held: list[str], level: str) -> None:
        verify(place, backup_id="third", level=level).execute(run.context)
        owner = "Dag nightly, run manual__2026-11-22T03:00:00+00:00, backup -1"
        assert held == ["", "", f"{owner} holds a lease on it (verify)", ""]

    def test_is_given_up(self, place: Place, run: TaskRun, log: Log) -> None:
        before = place.files()
        verify(place).execute(run.context)
        (place.root / "fourth/w1/Photo/chunk-2").unlink()
        with pytest.raises(AirflowFailException):
            verify(place).execute(run.context)
        with pytest.raises(AirflowFailException):
            verify(place, backup_id="fifth").execute(run.context)
        assert place.files() == {key: size for key, size in before.items() if key != "fourth/w1/Photo/chunk-2"}
        assert self.NO_LEASE not in log()

    def test_backup_that_somebody_changes_is_left_to_retries(self, place: Place, run: TaskRun) -> None:
        with holding(place.store, Holder("Dag cleaning", "prune")) as leases:
            leases.take(["fourth"], Hold.CHANGE)
            with pytest.raises(BackupInUse, match=r"fourth is in use: Dag cleaning holds a lease on it \(prune\)"):
                verify(place).execute(run.context)
            assert verify(place, backup_id="third").execute(run.context)["is_whole"]
        assert (run.xcoms, place.files("fourth/_vectorbackup")) == ({}, {})
        assert verify(place).execute(run.context)["is_whole"]

    def test_others_may_read_it_too(self, place: Place, run: TaskRun) -> None:
        with holding(place.store, Holder("Dag copies", "copy")) as leases:
            leases.take(["fourth"], Hold.READ)
            assert verify(place).execute(run.context)["is_whole"]
            assert len(place.files("fourth/_vectorbackup")) == 1

    @pytest.mark.parametrize("backup_id", ["fourth", "latest"])
    def test_where_nothing_can_be_written(self, place: Place, run: TaskRun, log: Log, backup_id: str) -> None:
        place.store = ReadOnlyStore(place.root)
        result = verify(place, backup_id=backup_id, level="deep").execute(run.context)
        assert (result["backup_id"], result["is_whole"]) == ("fourth", True)
        assert f"{self.NO_LEASE}: AccessDenied." in log()

    def test_storage_that_is_away_is_left_to_retries(self, place: Place, run: TaskRun) -> None:
        place.store = ReadOnlyStore(place.root)
        place.store.error = StorageUnreachable("No answer.")
        with pytest.raises(StorageUnreachable):
            verify(place).execute(run.context)

    def test_id_that_is_none_takes_none(self, place: Place, run: TaskRun) -> None:
        place.store = ReadOnlyStore(place.root)
        with pytest.raises(AirflowFailException, match=r"'\.\./x' is not a backup id"):
            verify(place, backup_id="../x").execute(run.context)
