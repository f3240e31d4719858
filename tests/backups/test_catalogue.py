from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.catalogue import (
    Catalogue,
    CatalogueEntry,
    Leftover,
    LeftoverKind,
    newest_first,
)
from airflow_provider_vectorbackup.backups.status import Status

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def entry(backup_id: str, **fields: Any) -> CatalogueEntry:
    usual: dict[str, Any] = {
        "problems": (),
        "objects": 3,
        "stored_bytes": 10,
        "modified_at": NOON,
        "has_own_files": False,
    }
    return CatalogueEntry(backup_id, **(usual | {"status": Status.SUCCESS, "started_at": NOON} | fields))


@pytest.mark.parametrize(
    ("fields", "is_usable"),
    [
        ({}, True),
        ({"status": Status.STARTED}, False),
        ({"status": None}, False),
        ({"problems": ("its descriptor names no nodes",)}, False),
        ({"chain_problems": ("base x0 is not there",)}, False),
    ],
)
def test_which_backups_can_be_restored(fields: dict[str, Any], *, is_usable: bool) -> None:
    one = entry("x1", **fields)
    assert one.is_usable == is_usable
    assert one.is_chain_whole == ("chain_problems" not in fields)
    older = entry("x0", started_at=NOON - timedelta(days=1))
    assert Catalogue(newest_first([older, one])).newest_usable() == (one if is_usable else older)


def test_age_is_that_of_the_data() -> None:
    one = entry("x1", started_at=NOON - timedelta(hours=2), completed_at=NOON - timedelta(hours=1), modified_at=NOON)
    assert one.age_seconds(NOON) == 7200
    assert entry("x1", started_at=None).age_seconds(NOON) is None


def test_empty_location() -> None:
    empty = Catalogue(())
    assert (empty.newest_usable(), empty.get("x1"), empty.stored_bytes) == (None, None, 0)


def test_backups_by_id_and_bytes_of_all() -> None:
    left = Leftover(LeftoverKind.FOREIGN, "notes/", 5, NOON)
    both = Catalogue((entry("x1"), entry("x2", stored_bytes=7)), (left,))
    assert both.get("x2") == both.entries[1]
    assert both.get("x3") is None
    assert both.stored_bytes == 22


minutes = st.none() | st.integers(0, 5)


@given(st.lists(st.tuples(minutes, st.integers(0, 5)), max_size=8))
def test_order(times: list[tuple[int | None, int]]) -> None:
    entries = [
        entry(
            f"x{number}",
            started_at=None if start is None else NOON + timedelta(minutes=start),
            modified_at=NOON + timedelta(minutes=changed),
        )
        for number, (start, changed) in enumerate(times)
    ]
    ordered = newest_first(entries)
    assert sorted(one.backup_id for one in ordered) == sorted(one.backup_id for one in entries)
    keys = [one.started_at or one.modified_at for one in ordered]
    assert keys == sorted(keys, reverse=True)
    assert newest_first(reversed(entries)) == ordered
