"""The demo says that all is well only if it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from demo.report import Facts, problems, summary

COUNTS = {"Airport": 3376, "Car/USA": 254}
GOOD = Facts(
    summary={
        "backup_id": "demo-1",
        "uri": "s3://aws_default@backups/demo/demo-1",
        "status": "SUCCESS",
        "started_at": "2026-11-22T02:00:00.000+00:00",
        "completed_at": "2026-11-22T02:00:02.500+00:00",
        "pre_compression_bytes": 10_900_000,
        "collections": ["Airport", "Car"],
        "server_version": "1.39.2",
    },
    copied={
        "uri": "gs://google_cloud_default@backups/demo/demo-1",
        "copied": ["demo-1"],
        "objects": 10,
        "bytes_moved": 2_000_000,
        "seconds": 0.5,
    },
    verified={"is_whole": True, "objects": 9, "read_bytes": 1_900_000, "seconds": 0.25, "damage": []},
    store="MinIO",
    stored=(10, 2_000_000),
    task_seconds={"back_up": 8.25, "restore": 4.0},
    loaded=COUNTS,
    source=COUNTS,
    target=COUNTS,
    query="Chicago",
    near_source=["Meigs", "Midway"],
    near_target=["Meigs", "Midway"],
)


def test_nothing_to_complain_of() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"loaded": {}, "source": {}, "target": {}}, "source is empty"),
        ({"near_source": [], "near_target": []}, "source is empty"),
        ({"target": {**COUNTS, "Airport": 3375}}, "differs from the source in Airport"),
        ({"target": {"Airport": 3376}}, "differs from the source in Car/USA"),
        ({"target": {**COUNTS, "Car/Mars": 1}}, "differs from the source in Car/Mars"),
        ({"source": {"Airport": 1}, "target": {"Airport": 1}}, "does not hold what was loaded"),
        ({"near_target": ["Midway", "Meigs"]}, "answered differently"),
        ({"stored": (0, 0)}, "0 objects in the store"),
        ({"summary": {**GOOD.summary, "status": "STARTED"}}, "is STARTED"),
        ({"copied": {**GOOD.copied, "copied": []}}, "bytes were copied"),
        ({"copied": {**GOOD.copied, "bytes_moved": 0}}, "0 bytes were copied"),
        ({"verified": {**GOOD.verified, "is_whole": False, "damage": ["a/b is not there"]}}, "a/b is not there"),
        ({"verified": {**GOOD.verified, "read_bytes": 0}}, "read 0 bytes"),
    ],
)
def test_each_difference_is_a_problem(change: dict[str, Any], complaint: str) -> None:
    assert complaint in " ".join(problems(replace(GOOD, **change)))


def test_summary_says_what_where_how_much_and_how_long() -> None:
    text = summary(GOOD)
    for part in (
        "demo-1",
        "s3://aws_default@backups/demo/demo-1",
        "gs://google_cloud_default@backups/demo/demo-1: 10 files",
        "3,630 objects in 2 collections",
        "10.9 MB",
        "2.5 s",
    ):
        assert part in text
    assert text.count("✓") == 3
    assert "✗" not in text


def test_summary_shows_differences_in_their_line() -> None:
    lines = summary(replace(GOOD, target={"Airport": 3376})).splitlines()
    assert [line.split()[-2:] for line in lines if "✗" in line] == [["✗", "differs"]]
    assert any(line.split() == ["Car/USA", "254", "none", "✗", "differs"] for line in lines)
