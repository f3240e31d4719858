"""Which backup a drill picks, of a chain that a real server wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.drill import DrillOrder, drill_key, keep_outcome, pick_restore_point
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    ObjectNotFound,
    PreflightFailed,
    StorageUnreachable,
    VectorBackupError,
)
from airflow_provider_vectorbackup.storage.store import Store
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from tests.actions.watching import CHAIN, Place, chain_that_ended

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SEEDS = [f"drills scheduled__2026-{week}" for week in range(60)]


class Drills:
    """A place with four backups, all recorded, and the scratch server."""

    def __init__(self, place: Place, client: WeaviateClient) -> None:
        self.place = place
        self.client = client
        for backup_id in CHAIN:
            place.write(self.record(backup_id), b"")

    def record(self, backup_id: str, moment: str = "before") -> str:
        return f"{backup_id}/_vectorbackup/content-{moment}.jsonl.gz"

    def forget(self, *backup_ids: str) -> None:
        """Delete the records beside backups."""
        for backup_id in backup_ids:
            (self.place.root / self.record(backup_id)).unlink()

    def open(self, _: Location) -> Store:
        return self.place.store

    def pick(self, pick: str = "latest", **fields: Any) -> dict[str, Any]:
        usual: dict[str, Any] = {"location": self.place.location, "backend": "filesystem", "seed": "s"}
        return pick_restore_point(self.client, DrillOrder(pick=pick, **(usual | fields)), self.open)

    def picked(self, pick: str = "latest", **fields: Any) -> str:
        return str(self.pick(pick, **fields)["backup_id"])

    def refused(self, pick: str, kind: type[VectorBackupError] = PreflightFailed, **fields: Any) -> VectorBackupError:
        with pytest.raises(kind) as caught:
            self.pick(pick, **fields)
        assert type(caught.value) is kind
        return caught.value


@pytest.fixture
def drills(tmp_path: Path, client: WeaviateClient) -> Drills:
    return Drills(chain_that_ended(tmp_path, NOON), client)


class TestLatest:
    def test_is_the_newest(self, drills: Drills) -> None:
        result = drills.pick()
        assert json.loads(json.dumps(result)) == result
        assert result == {
            "backup_id": "fourth",
            "uri": f"{drills.place.location}/fourth",
            "location": str(drills.place.location),
            "bucket": None,
            "path": None,
            "started_at": NOON.isoformat(),
            "chain": list(CHAIN),
            "stored_bytes": sum(drills.place.files("fourth").values()),
        }

    def test_one_that_did_not_end_well_is_passed_over(self, drills: Drills) -> None:
        with drills.place.edited("fourth/backup_config.json") as descriptor:
            descriptor["status"] = "FAILED"
        assert drills.picked() == "third"

    def test_one_that_is_not_whole_is_passed_over(self, drills: Drills) -> None:
        (drills.place.root / "fourth/w1/backup.json").unlink()
        assert drills.picked() == "third"

    def test_one_without_a_record_is_passed_over(self, drills: Drills, caplog: pytest.LogCaptureFixture) -> None:
        drills.forget("fourth", "third")
        assert drills.picked() == "second"
        assert "Passed over, as they have no content record to compare with: fourth, third" in caplog.text

    def test_record_of_after_the_backup_is_enough(self, drills: Drills) -> None:
        drills.forget(*CHAIN)
        drills.place.write(drills.record("third", "after"), b"")
        assert drills.picked() == "third"

    def test_other_files_of_ours_are_no_record(self, drills: Drills) -> None:
        drills.forget("fourth")
        drills.place.write("fourth/_vectorbackup/verify-deep.json", b"{}")
        assert drills.picked() == "third"

    def test_of_those_with_a_prefix(self, drills: Drills) -> None:
        assert drills.picked(id_prefix="s") == "second"
        assert "has no backup that can be restored" in drills.refused("latest", id_prefix="nightly-").message

    def test_of_none_with_a_record(self, drills: Drills) -> None:
        drills.forget(*CHAIN)
        error = drills.refused("latest")
        assert error.message == (
            f"{drills.place.location} has no backup that can be restored and has a content record beside it; "
            "without one: fourth, full, second, third."
        )
        assert error.hint == "Make backups with content_record=True."

    def test_of_nothing(self, tmp_path: Path, drills: Drills) -> None:
        drills.place = Place(tmp_path / "empty")
        drills.place.root.mkdir()
        assert drills.refused("latest").message.endswith("has a content record beside it.")


class TestRandom:
    def test_is_the_same_for_one_seed(self, drills: Drills) -> None:
        """So that a retry goes on with the same backup."""
        for seed in SEEDS[:5]:
            assert len({drills.picked("random", seed=seed) for _ in range(3)}) == 1

    def test_is_any_in_time(self, drills: Drills) -> None:
        picked = [drills.picked("random", seed=seed) for seed in SEEDS]
        assert set(picked) == set(CHAIN)
        assert max(map(picked.count, CHAIN)) < len(SEEDS) / 2

    def test_is_one_that_can_be_tried(self, drills: Drills) -> None:
        drills.forget("second")
        (drills.place.root / "fourth/w1/backup.json").unlink()
        assert {drills.picked("random", seed=seed) for seed in SEEDS} == {"full", "third"}

    def test_is_one_with_the_prefix(self, drills: Drills) -> None:
        assert {drills.picked("random", seed=seed, id_prefix="f") for seed in SEEDS[:20]} == {"full", "fourth"}

    def test_is_not_changed_by_what_is_not_picked(self, drills: Drills) -> None:
        """A retry may find that another backup was made, or pruned, meanwhile."""
        picked = {seed: drills.picked("random", seed=seed) for seed in SEEDS[:20]}
        drills.forget("fourth")
        for seed, backup_id in picked.items():
            if backup_id != "fourth":
                assert drills.picked("random", seed=seed) == backup_id


class TestById:
    @pytest.mark.parametrize("backup_id", CHAIN)
    def test_any(self, drills: Drills, backup_id: str) -> None:
        result = drills.pick(backup_id)
        assert (result["backup_id"], result["chain"]) == (backup_id, [*CHAIN[: CHAIN.index(backup_id) + 1]])

    def test_that_is_not_there(self, drills: Drills) -> None:
        error = drills.refused("fifth")
        assert error.message == f"{drills.place.location}/fifth can't be restored: it is not there."
        assert (error.hint, error.backup_id) == ("Pick another one.", "fifth")

    def test_that_did_not_end_well(self, drills: Drills) -> None:
        with drills.place.edited("second/backup_config.json") as descriptor:
            descriptor["status"] = "CANCELED"
        assert "second can't be restored: " in (message := drills.refused("second").message)
        assert "it is CANCELED" in message

    def test_that_is_not_whole(self, drills: Drills) -> None:
        (drills.place.root / "third/w1/backup.json").unlink()
        assert "third can't be restored: third/w1/backup.json is not there" in drills.refused("third").message

    def test_whose_base_is_gone(self, drills: Drills) -> None:
        (drills.place.root / "full/backup_config.json").unlink()
        assert "base full is not there" in drills.refused("second").message

    def test_without_a_record(self, drills: Drills) -> None:
        drills.forget("third")
        error = drills.refused("third", ObjectNotFound)
        assert error.message == f"There is no content record beside {drills.place.location}/third."
        assert "content_record=True" in error.hint

    @pytest.mark.parametrize("pick", ["Fourth", "../fourth", "fourth/w1", ""])
    def test_that_is_none(self, drills: Drills, pick: str) -> None:
        assert "is not a backup id" in drills.refused(pick, InvalidRequest).message


class TestScratchServer:
    S3 = Location.parse("s3://aws@backups/team/a")

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"bucketName": "scratch"}, ("backups", "team/a")),
            ({"bucketName": "backups"}, ("backups", "team/a")),
            ({"bucketName": "backups", "rootName": "/team/a/"}, (None, None)),
        ],
    )
    def test_is_told_where_the_backup_lies(
        self, drills: Drills, server: WeaviateStandIn, settings: dict[str, str], told: tuple[str | None, str | None]
    ) -> None:
        server.modules["backup-s3"] = settings
        result = drills.pick(location=self.S3, backend="s3")
        assert (result["bucket"], result["path"]) == told
        assert (result["uri"], result["location"]) == ("s3://aws@backups/team/a/fourth", "s3://aws@backups/team/a")

    def test_that_can_not_be_told(self, drills: Drills, server: WeaviateStandIn) -> None:
        server.version = "1.27.1"
        error = drills.refused("latest", location=self.S3, backend="s3")
        assert "can't be told to read s3://aws@backups/team/a" in error.message

    def test_without_the_backend(self, drills: Drills) -> None:
        assert "Backend 'gcs' is not enabled" in drills.refused("latest", backend="gcs").message

    def test_of_another_backend_than_the_location(self, drills: Drills) -> None:
        assert "can't be where backend 's3' writes" in drills.refused("latest", InvalidRequest, backend="s3").message

    def test_is_not_changed(self, drills: Drills, server: WeaviateStandIn) -> None:
        drills.pick("random")
        assert {seen.method for seen in server.requests} == {"GET"}


def test_storage_that_is_away_is_not_empty(drills: Drills) -> None:
    drills.place.store.away = {""}
    assert drills.refused("latest", StorageUnreachable).retryable


class TestOutcome:
    def kept(self, drills: Drills) -> dict[str, Any]:
        return dict(json.loads((drills.place.root / "second/_vectorbackup/drill.json").read_bytes()))

    def test_lies_beside_the_backup(self, drills: Drills) -> None:
        key = keep_outcome(drills.place.location, "second", {"is_recoverable": True, "at": "now"}, drills.open)
        assert key == drill_key("second") == "second/_vectorbackup/drill.json"
        assert self.kept(drills) == {"version": 1, "is_recoverable": True, "at": "now"}

    def test_of_a_later_drill_replaces_it(self, drills: Drills) -> None:
        for outcome in (True, False):
            keep_outcome(drills.place.location, "second", {"is_recoverable": outcome}, drills.open)
        assert self.kept(drills) == {"version": 1, "is_recoverable": False}

    def test_is_no_part_of_the_backup(self, drills: Drills) -> None:
        keep_outcome(drills.place.location, "fourth", {}, drills.open)
        assert drills.picked() == "fourth"
