from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.verification import Finding, Level, Report
from airflow_provider_vectorbackup.exceptions import BackupDamaged

MISSING = Finding("x1/w1/Article/chunk-1", "is not there")


def report(**fields: Any) -> Report:
    usual: dict[str, Any] = {
        "chain": ("x0", "x1"),
        "collections": ("Article",),
        "objects": 5,
        "stored_bytes": 70,
        "seconds": 1.25,
    }
    return Report("s3://b/x1", "x1", **({"level": Level.DEEP, "damage": ()} | usual | fields))


def test_whole_one() -> None:
    found = report(read_bytes=60, unpacked_bytes=90)
    found.require_whole()
    assert found.in_words() == (
        "s3://b/x1: whole, by a deep look at 5 objects, 70 bytes, 60 of them read; 0 warnings; 1.25 s."
    )
    summary = found.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary == {
        "uri": "s3://b/x1",
        "backup_id": "x1",
        "level": "deep",
        "is_whole": True,
        "chain": ["x0", "x1"],
        "collections": ["Article"],
        "objects": 5,
        "stored_bytes": 70,
        "read_bytes": 60,
        "unpacked_bytes": 90,
        "seconds": 1.25,
        "unchecked": "",
        "damage": [],
        "warnings": [],
        "damage_count": 0,
        "warning_count": 0,
    }


def test_damaged_one_names_the_objects() -> None:
    found = report(damage=(MISSING, Finding("x0/w1/backup.json", "says FAILED")))
    assert "2 found wrong" in found.in_words()
    with pytest.raises(BackupDamaged) as caught:
        found.require_whole()
    assert caught.value.backup_id == "x1"
    assert "- x1/w1/Article/chunk-1 is not there\n- x0/w1/backup.json says FAILED" in str(caught.value)
    assert found.summary()["is_whole"] is False
    assert found.summary()["damage"] == ["x1/w1/Article/chunk-1 is not there", "x0/w1/backup.json says FAILED"]


def test_long_lists_are_cut_for_people_and_counted_for_all() -> None:
    many = tuple(Finding(f"x1/w1/Article/chunk-{number}", "is not there") for number in range(1000))
    found = report(damage=many, warnings=many[:30])
    with pytest.raises(BackupDamaged, match=r"1000 found wrong\.(?s:.*)- and 980 more$") as caught:
        found.require_whole()
    assert len(str(caught.value)) < 2000
    summary = found.summary()
    assert (len(summary["damage"]), summary["damage_count"]) == (20, 1000)
    assert (len(summary["warnings"]), summary["warning_count"]) == (20, 30)
    assert len(json.loads(json.dumps(found.to_json()))["damage"]) == 1000


def test_warnings_are_no_damage() -> None:
    found = report(warnings=(Finding("x1/other", "is in no descriptor"),))
    found.require_whole()
    assert found.summary()["is_whole"] is True
    assert "1 warnings" in found.in_words()


def test_what_could_not_be_compared_is_told() -> None:
    assert report(unchecked="No checksums.").in_words().endswith("1.25 s. No checksums.")
    quick = report(level=Level.QUICK)
    assert "by a quick look at 5 objects, 70 bytes;" in quick.in_words()
