from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_vectorbackup.backups.bases import ListedBackup, latest_base
from airflow_provider_vectorbackup.backups.status import Status


def backup(name: str, hour: int | None, *collections: str, status: Status = Status.SUCCESS) -> ListedBackup:
    began = None if hour is None else datetime(2026, 11, 22, hour, tzinfo=UTC)
    return ListedBackup(name, status, collections, began)


def chosen(*listed: ListedBackup) -> str | None:
    base = latest_base(listed, ["Article", "Author"])
    return base.backup_id if base else None


def test_none_is_there() -> None:
    assert chosen() is None


def test_newest_of_equals_in_whatever_order() -> None:
    old, new = backup("old", 1, "Article", "Author"), backup("new", 2, "Article", "Author")
    assert chosen(old, new) == chosen(new, old) == "new"


def test_more_in_common_is_better_than_newer() -> None:
    assert chosen(backup("whole", 1, "Article", "Author", "Product"), backup("part", 2, "Article")) == "whole"


def test_nothing_in_common_saves_nothing() -> None:
    assert chosen(backup("other", 1, "Product")) is None


def test_only_finished_ones() -> None:
    unfinished = [backup(status.value, 5, "Article", status=status) for status in Status if status != Status.SUCCESS]
    assert chosen(*unfinished) is None
    assert chosen(*unfinished, backup("good", 1, "Article")) == "good"


def test_one_without_a_time_is_not_comparable() -> None:
    assert chosen(backup("undated", None, "Article")) is None
