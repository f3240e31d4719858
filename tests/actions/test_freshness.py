from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.freshness import Freshness, Wanted, find_latest, look_for_fresh
from airflow_provider_vectorbackup.exceptions import PreflightFailed, StorageError, StorageUnreachable
from tests.actions.watching import CHAIN, Place, chain_that_ended

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A chain of four; the newest began an hour ago."""
    return chain_that_ended(tmp_path, NOON - HOUR)


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    return Place(tmp_path)


def look(place: Place, max_age: timedelta = 2 * HOUR, wanted: Wanted | None = None) -> Freshness:
    return look_for_fresh(place.store, place.location, max_age, NOON, wanted)


def test_fresh(place: Place) -> None:
    seen = look(place)
    assert seen == Freshness(is_fresh=True, backup_id="fourth", started_at=NOON - HOUR, age=HOUR)
    assert seen.summary(place.location) == {
        "backup_id": "fourth",
        "uri": f"{place.location.uri_of('fourth')}",
        "started_at": "2026-11-24T11:00:00+00:00",
        "age_seconds": 3600,
    }


@pytest.mark.parametrize(("max_age", "is_fresh"), [(HOUR, True), (HOUR - timedelta(seconds=1), False)])
def test_age_counts_from_the_start(place: Place, max_age: timedelta, *, is_fresh: bool) -> None:
    assert look(place, max_age).is_fresh == is_fresh


def test_stale(place: Place) -> None:
    seen = look(place, 30 * MINUTE)
    assert (seen.is_fresh, seen.backup_id, seen.last_error) == (False, "fourth", "")
    assert seen.in_words(30 * MINUTE) == "The newest whole backup, fourth, is 1:00:00 old; 0:30:00 is allowed."


@pytest.mark.parametrize(
    ("status", "error", "words"), [("FAILED", "disk full", "FAILED: disk full"), ("STARTED", "", "STARTED")]
)
def test_newest_did_not_end_well(place: Place, status: str, error: str, words: str) -> None:
    place.descriptor("fifth", status=status, error=error)
    place.began("fifth", NOON - MINUTE)
    seen = look(place)
    assert (seen.is_fresh, seen.backup_id) == (True, "fourth")
    assert seen.last_error == f"fifth does not count: fifth/backup_config.json says {words}."
    assert seen.last_error in seen.in_words(2 * HOUR)


def test_newest_is_damaged(place: Place) -> None:
    missing = sorted(key for key in place.files("fourth") if "/Photo/" in key)[:2]
    for key in missing:
        (place.root / key).unlink()
    seen = look(place)
    assert (seen.is_fresh, seen.backup_id) == (True, "third")  # two hours are just enough
    assert seen.last_error.startswith("fourth does not count: fourth/w1/Photo/chunk-")
    assert seen.last_error.endswith("is not there, and 1 more.")
    assert not look(place, HOUR).is_fresh


def test_all_are_damaged_with_their_base(place: Place) -> None:
    (place.root / "full/w1/backup.json").unlink()
    seen = look(place)
    assert (seen.is_fresh, seen.backup_id) == (False, None)
    assert seen.in_words(HOUR) == ("There is no whole backup. fourth does not count: full/w1/backup.json is not there.")


@pytest.mark.parametrize(("ahead", "newest"), [(5 * MINUTE, "fourth"), (15 * MINUTE, "third")])
def test_clock_that_is_ahead(place: Place, ahead: timedelta, newest: str) -> None:
    place.began("fourth", NOON + ahead)
    seen = look(place, 3 * HOUR)
    assert (seen.is_fresh, seen.backup_id) == (True, newest)
    assert ("by the server's clock, and here it is" in seen.last_error) == (newest == "third")


def test_collections(place: Place) -> None:
    assert look(place, wanted=Wanted(collections=("Article", "Photo"))).backup_id == "fourth"
    seen = look(place, wanted=Wanted(collections=("Movie", "Article", "Actor")))
    assert (seen.is_fresh, seen.backup_id) == (False, None)
    assert seen.last_error == "fourth does not count: it lacks Actor, Movie."


def test_id_prefix(place: Place) -> None:
    assert look(place, 9 * HOUR, Wanted(id_prefix="f")).backup_id == "fourth"
    assert look(place, 9 * HOUR, Wanted(id_prefix="fu")).backup_id == "full"
    assert look(place, 9 * HOUR, Wanted(id_prefix="nightly-")) == Freshness(is_fresh=False)


def test_old_backup_that_was_copied_here_last(place: Place) -> None:
    """Its objects are the newest of all; its data is not."""
    place.written_at("full", NOON)
    assert look(place, 30 * MINUTE).backup_id == "fourth"
    assert look(place) == Freshness(is_fresh=True, backup_id="fourth", started_at=NOON - HOUR, age=HOUR)


def test_folder_that_is_no_backup(place: Place) -> None:
    shutil.copytree(place.root / "full", place.root / "Full Copy")
    place.written_at("Full Copy", NOON)
    place.write("notes/readme.txt", b"x")
    assert look(place) == Freshness(is_fresh=True, backup_id="fourth", started_at=NOON - HOUR, age=HOUR)


def test_only_what_is_needed_is_read(place: Place) -> None:
    for number in range(50):
        place.descriptor(f"old-{number}")
        place.began(f"old-{number}", NOON - 24 * HOUR - number * HOUR)
    for backup_id in reversed(CHAIN[1:]):
        shutil.rmtree(place.root / backup_id)
    # Old as well, but copied here while the newest one was made.
    place.descriptor("copied")
    place.began("copied", NOON - 48 * HOUR)
    place.written_at("copied", NOON - 4 * HOUR + timedelta(seconds=1))
    place.store.reads.clear()
    assert look(place, 9 * HOUR).is_fresh
    assert place.read_of() == ["full"]
    # A stale one does not make it read what was written before it began.
    place.store.reads.clear()
    assert not look(place, HOUR).is_fresh
    assert place.read_of() == ["full", "copied"]


def test_failures_without_end_are_not_read_without_end(empty: Place) -> None:
    for number in range(150):
        empty.descriptor(f"x{number}", status="FAILED")
        empty.began(f"x{number}", NOON - number * MINUTE)
    seen = look(empty)
    assert (seen.backup_id, seen.last_error.partition(" ")[0]) == (None, "x0")
    assert empty.read_of() == [f"x{number}" for number in range(100)]


def test_nothing_there(empty: Place) -> None:
    seen = look(empty)
    assert seen == Freshness(is_fresh=False)
    assert seen.in_words(HOUR) == "There is no whole backup."


@pytest.mark.parametrize("away", ["", "fourth/backup_config.json", "second/w1/backup.json", "third/"])
def test_storage_that_is_away_says_nothing_of_a_backup(place: Place, away: str) -> None:
    place.store.away = {away}
    with pytest.raises(StorageUnreachable):
        look(place)


def test_newest_that_may_not_be_read(place: Place) -> None:
    place.store.forbidden = {"fourth/backup_config.json"}
    seen = look(place)
    assert seen.backup_id == "third"
    assert "AccessDenied" in seen.last_error


def test_location_that_is_missing(empty: Place) -> None:
    with pytest.raises(StorageError, match="can't be listed"):
        look(Place(empty.root / "missing"))


class TestLatest:
    def test_is_the_newest_that_ended_well(self, place: Place) -> None:
        assert find_latest(place.store, place.location) == "fourth"
        assert place.store.reads == ["fourth/backup_config.json"]
        with place.edited("fourth/backup_config.json") as descriptor:
            descriptor["status"] = "CANCELED"
        assert find_latest(place.store, place.location) == "third"

    def test_damage_does_not_hide_it(self, place: Place) -> None:
        """It is what is to be verified."""
        shutil.rmtree(place.root / "fourth/w1")
        assert find_latest(place.store, place.location) == "fourth"

    def test_is_not_an_old_one_that_was_copied_here_last(self, place: Place) -> None:
        place.written_at("full", NOON)
        assert find_latest(place.store, place.location) == "fourth"

    def test_with_a_prefix(self, place: Place) -> None:
        assert find_latest(place.store, place.location, Wanted(id_prefix="se")) == "second"

    def test_of_nothing(self, empty: Place) -> None:
        empty.descriptor("x1", status="STARTED")
        with pytest.raises(PreflightFailed, match="There is no finished backup in file:///"):
            find_latest(empty.store, empty.location)
