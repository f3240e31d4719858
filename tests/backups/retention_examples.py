"""Backups and plans of tests that name them one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry
from airflow_provider_vectorbackup.backups.retention import (
    Retention,
    RetentionPlan,
    Rules,
    plan_retention,
)
from airflow_provider_vectorbackup.backups.status import Status

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOW = NOON + 30 * DAY


def backup(backup_id: str, start: datetime | str = NOON, *bases: str, **fields: Any) -> CatalogueEntry:
    """Make a good backup that took ten minutes; a start in words is UTC."""
    began = start if isinstance(start, datetime) else datetime.fromisoformat(start).replace(tzinfo=UTC)
    usual: dict[str, Any] = {
        "problems": (),
        "objects": 3,
        "stored_bytes": 10,
        "modified_at": began + 10 * MINUTE,
        "has_own_files": False,
        "status": Status.SUCCESS,
        "started_at": began,
        "completed_at": began + 10 * MINUTE,
    }
    return CatalogueEntry(backup_id, bases=frozenset(bases), **(usual | fields))


def plan(backups: list[CatalogueEntry], *rules: Rules, now: datetime = NOW, **settings: Any) -> RetentionPlan:
    return plan_retention(backups, Retention(rules, **settings), now)


def told(made: RetentionPlan) -> dict[str, str]:
    """Return what is told of each backup, with a sign of what becomes of it."""
    return {one.backup_id: f"{'+' if one.is_kept else '-'} {one.in_words()}" for one in made.decisions}


def daily(count: int, **fields: Any) -> list[CatalogueEntry]:
    """Make one backup a day, b0 at NOON, b1 a day before, and so on."""
    return [backup(f"b{day}", NOON - day * DAY, **fields) for day in range(count)]
