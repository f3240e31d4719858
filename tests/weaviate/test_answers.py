from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.status import OperationKind, Status
from airflow_provider_vectorbackup.exceptions import UnexpectedAnswer
from airflow_provider_vectorbackup.weaviate import answers
from airflow_provider_vectorbackup.weaviate.answers import Tenant

PARSERS: tuple[Callable[[Any], object], ...] = (
    answers.parse_accepted,
    answers.parse_backup_status,
    answers.parse_restore_status,
    answers.parse_list,
    answers.parse_meta,
    answers.parse_nodes,
    answers.parse_schema,
    answers.parse_tenants,
    answers.parse_aliases,
)
KNOWN_NAMES = """
    status classes id path bucket error startedAt completedAt size incremental_base_backup_id version modules nodes name
    class multiTenancyConfig enabled activityStatus aliases alias
"""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KNOWN_NAMES.split()), inner, min_size=1, max_size=5)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(json_values)
@example({"status": "SUCCESS", "size": math.inf})
@example({"status": "SUCCESS", "size": math.nan})
@example({"classes": [{"class": "A", "multiTenancyConfig": ["enabled"]}]})
@example({"version": "1.39.2", "modules": {"backup-s3": "yes"}})
def test_any_json_is_read_or_refused(parse: Callable[[Any], object], data: Any) -> None:
    with contextlib.suppress(UnexpectedAnswer):
        assert parse(data) is not None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22T17:36:54.443Z", datetime(2026, 11, 22, 17, 36, 54, 443000, UTC)),
        ("2026-11-22T17:36:54Z", datetime(2026, 11, 22, 17, 36, 54, 0, UTC)),
        ("2026-11-22T17:36:54.443123456Z", datetime(2026, 11, 22, 17, 36, 54, 443123, UTC)),
        ("2026-11-22T19:36:54.4+02:00", datetime(2026, 11, 22, 17, 36, 54, 400000, UTC)),
        ("0001-01-01T00:00:00.000Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_times(text: str | None, time: datetime | None) -> None:
    assert answers.parse_time(text) == time


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00:00Z", 1_800_000_000, ["2026-11-22T17:36:54Z"]])
def test_what_is_no_time(text: Any) -> None:
    with pytest.raises(UnexpectedAnswer, match="where a time belongs"):
        answers.parse_time(text)


def test_status_of_a_running_backup() -> None:
    status = answers.parse_backup_status(
        {
            "backend": "s3",
            "completedAt": "0001-01-01T00:00:00.000Z",
            "id": "x1",
            "path": "s3://bucket/x1",
            "startedAt": "2026-11-22T17:36:54.443Z",
            "status": "STARTED",
        }
    )
    assert (status.kind, status.status, status.server_path) == (OperationKind.BACKUP, Status.STARTED, "s3://bucket/x1")
    assert status.started_at == datetime(2026, 11, 22, 17, 36, 54, 443000, UTC)
    assert status.completed_at is None
    assert status.tells_times


def test_success_that_is_not_written_yet() -> None:
    early = {"status": "SUCCESS", "completedAt": "0001-01-01T00:00:00.000Z"}
    assert not answers.parse_backup_status(early).is_final


def test_success_of_a_server_that_tells_no_times() -> None:
    assert answers.parse_backup_status({"status": "SUCCESS", "id": "x1", "path": "s3://b/x1"}).is_final


def test_size_is_in_gib_on_the_wire() -> None:
    assert answers.parse_backup_status({"status": "SUCCESS", "size": 0.5}).pre_compression_bytes == 2**29


def test_restore_status() -> None:
    status = answers.parse_restore_status({"status": "FAILED", "error": "could not restore classes"})
    assert (status.kind, status.status, status.error) == (
        OperationKind.RESTORE,
        Status.FAILED,
        "could not restore classes",
    )


def test_descriptor_without_a_status_is_not_final() -> None:
    """An empty descriptor in storage yields an empty status."""
    status = answers.parse_backup_status({"status": "", "completedAt": "2026-11-22T17:36:54Z"})
    assert (status.status, status.is_final) == (Status.UNKNOWN, False)


@pytest.mark.parametrize("data", [{}, {"id": "x1"}, None, [], "STARTED"])
def test_status_without_one(data: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        answers.parse_backup_status(data)


@pytest.mark.parametrize("data", [{}, {"status": ""}, {"status": None, "classes": ["A"]}])
def test_acceptance_without_a_status_may_still_run(data: Any) -> None:
    with pytest.raises(UnexpectedAnswer, match="without naming a status") as caught:
        answers.parse_accepted(data)
    assert caught.value.may_have_started


def test_acceptance() -> None:
    accepted = answers.parse_accepted({"status": "STARTED", "path": "p", "bucket": "", "classes": ["B", "A"]})
    assert (accepted.server_path, accepted.bucket, accepted.collections) == ("p", None, ("A", "B"))


@pytest.mark.parametrize(
    ("wire", "activity", "active"),
    [
        ("HOT", "HOT", True),
        ("ACTIVE", "HOT", True),
        ("COLD", "COLD", False),
        ("INACTIVE", "COLD", False),
        ("FROZEN", "FROZEN", False),
        ("OFFLOADED", "FROZEN", False),
        ("UNFREEZING", "UNFREEZING", False),
        (None, "HOT", True),
    ],
)
def test_both_spellings_of_activities(wire: str | None, activity: str, active: bool) -> None:
    (tenant,) = answers.parse_tenants([{"name": "acme", "activityStatus": wire}])
    assert tenant == Tenant("acme", activity)
    assert tenant.is_active is active


def test_meta_of_a_server_without_modules() -> None:
    assert answers.parse_meta({"version": "1.39.2", "modules": None}).modules == {}


def test_schema() -> None:
    collections = answers.parse_schema(
        {"classes": [{"class": "A", "multiTenancyConfig": {"enabled": True}}, {"class": "B"}]}
    )
    assert [(collection.name, collection.is_multi_tenant) for collection in collections] == [("A", True), ("B", False)]


def test_long_nonsense_is_cut_short() -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        answers.parse_list({"x" * 500: 1})
    assert len(caught.value.message) < 200
