"""When nothing is deleted, and rules that can't be meant."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.retention import (
    Retention,
    Rules,
)
from airflow_provider_vectorbackup.backups.retention_guards import require_clock, require_fraction, require_same_clock
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import InvalidRequest, PruneRefused
from tests.backups.retention_examples import MINUTE, NOON, NOW, backup, daily, plan


def test_how_much_is_deleted() -> None:
    backups = [
        *daily(4),
        backup("b-bad", NOON, problems=("x",)),
        backup("b-failed", NOON, status=Status.FAILED),
        backup("other", NOON),
    ]
    made = plan(backups, Rules("b", keep_last=2))
    assert (made.finished, made.finished_deleted, made.fraction) == (5, 2, 0.4)
    assert plan(backups, Rules("b", keep_last=2), delete_damaged=True).fraction == 0.6
    assert plan([backup("other")], Rules("b", keep_last=2)).fraction == 0


def test_nothing_there() -> None:
    with pytest.raises(PruneRefused) as caught:
        plan([], Rules(keep_last=1))
    assert str(caught.value) == (
        "The location holds no backups. Is it the right one: bucket, prefix, mount? Where there is nothing, there is "
        "nothing to prune."
    )


def test_unreadable() -> None:
    """Also of a prefix that no rule is about: what it builds on may be of one."""
    unread = [
        backup(f"x{n}", status=None, started_at=None, unreadable=(f"x{n}/backup_config.json is no JSON.",))
        for n in (1, 2)
    ]
    with pytest.raises(PruneRefused) as caught:
        plan([*daily(3), *unread], Rules("b", keep_last=1), pinned=frozenset({"x1", "x2"}))
    assert str(caught.value) == (
        "What these backups build on can't be read, so anything may be their base: x1, x2. "
        "x1/backup_config.json is no JSON. Mend or delete them, or update this package if they are of a newer server."
    )
    assert caught.value.backup_id == "x1"


@pytest.mark.parametrize("fields", [{"started_at": NOW + 6 * MINUTE}, {"modified_at": NOW + 6 * MINUTE}])
@pytest.mark.parametrize("started_at", [NOON, None])
def test_of_the_future(fields: dict[str, Any], started_at: datetime | None) -> None:
    lately = backup("lately", NOON, modified_at=NOW)
    with pytest.raises(PruneRefused) as caught:
        plan([lately, backup("x", **({"started_at": started_at} | fields))], Rules(keep_last=1))
    assert str(caught.value) == (
        "By the worker's clock it is 2026-12-23 12:00:00 UTC, and x is of 2026-12-23 12:06:00. "
        "Ages can't be told: set the clock that is wrong, or find out who wrote that."
    )


def test_clocks_may_differ_a_little() -> None:
    plan([backup("x", NOW + 5 * MINUTE, modified_at=NOW + 5 * MINUTE)], Rules(keep_last=1))
    require_clock(NOW, NOW + 5 * MINUTE, "x")
    with pytest.raises(PruneRefused, match="and a marker is of 2026-12-23 12:05:01"):
        require_clock(NOW, NOW + timedelta(minutes=5, seconds=1), "a marker")


def test_storage_and_worker_have_one_clock() -> None:
    for difference in (-5 * MINUTE, 5 * MINUTE):
        require_same_clock(NOW, NOW + difference)
        with pytest.raises(PruneRefused, match="and what was just written is of 2026-12-23 1"):
            require_same_clock(NOW, NOW + difference * 1.01)


def test_too_much_would_be_deleted() -> None:
    require_fraction(0.5, 5, 0.5)
    with pytest.raises(PruneRefused) as caught:
        require_fraction(0.6, 6, 0.5)
    assert str(caught.value) == (
        "The rules would delete 6 good backups, 60% of those that they are about. "
        "If that is meant, raise max_delete_fraction (now 0.5) for this run."
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {},
            "No rule says what is to be kept. Give keep_last, keep_within, keep_daily or another, or the most that",
        ),
        ({"id_prefix": "prod-"}, "No rule says what is to be kept of the backups prod-*. Give keep_last,"),
        ({"min_count": 3}, "No rule says what is to be kept."),
        ({"keep_last": -2}, "keep_last is -2. Give a number from 0 on, or -1 for all."),
        ({"keep_daily": -2, "keep_yearly": -3}, "keep_daily is -2, keep_yearly is -3."),
        ({"keep_last": 1, "min_count": 0}, "min_count is 0. Give 1 or more: the newest is always kept."),
        ({"max_total_bytes": 0}, "max_total_bytes is 0. Give more, or none for no bound."),
    ],
)
def test_rules_that_can_not_be_meant(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Rules(**fields)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("prefixes", "words"),
    [
        ([], "There are 0 rules, for the prefixes []. Give one or more, each for a prefix of its own."),
        (["a", "", "a"], "There are 3 rules, for the prefixes ['', 'a', 'a']."),
    ],
)
def test_rules_of_one_prefix(prefixes: list[str], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Retention(tuple(Rules(prefix, keep_last=1) for prefix in prefixes))
    assert str(caught.value).startswith(words)


def test_prefixes_that_no_backup_has() -> None:
    retention = Retention(tuple(Rules(prefix, keep_last=1) for prefix in ("prod-", "tset-", "test-")))
    assert retention.prefixes_without(["prod-1", "test-1", "test-2", "other"]) == ["tset-"]
    assert retention.prefixes_without([]) == ["prod-", "tset-", "test-"]
