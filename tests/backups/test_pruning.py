from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.catalogue import Leftover, LeftoverKind
from airflow_provider_vectorbackup.backups.pruning import Deleted, PruneReport
from airflow_provider_vectorbackup.backups.retention import Cause, Decision
from airflow_provider_vectorbackup.backups.retention_leftovers import LeftoverDecision
from airflow_provider_vectorbackup.exceptions import DeletionFailed
from tests.backups.retention_examples import backup

NEW, OLD, BASE = "nightly-3", "nightly-2", "nightly-1"
MOST = 1000
HEAD = ["| | what | why |", "|---|---|---|"]


def left(key: str, kind: LeftoverKind = LeftoverKind.NO_DESCRIPTOR, *, kept: str = "") -> LeftoverDecision:
    """Decide on a leftover: kept for a reason, or to be deleted."""
    leftover = Leftover(kind, key, 2500, datetime(2026, 11, 1, tzinfo=UTC))
    return LeftoverDecision(leftover, is_kept=bool(kept), reason=kept or kind.value)


def report(**fields: Any) -> PruneReport:
    """Report on three backups, of which the newest is kept, and a folder without a descriptor; nothing is deleted."""
    usual: dict[str, Any] = {
        "decisions": (
            Decision(NEW, Cause.NEWEST, ("last 1",)),
            Decision(OLD, Cause.EXPIRED),
            Decision(BASE, Cause.EXPIRED),
        ),
        "leftovers": (left("torn/"),),
        "entries": {name: backup(name, f"2026-11-2{name[-1]} 03:00", stored_bytes=1500) for name in (NEW, OLD, BASE)},
    }
    return PruneReport("s3://b/p", **({"dry_run": False} | usual | fields))


def all_deleted(**fields: Any) -> PruneReport:
    """Report the same, but all that is to go is gone."""
    deleted = {OLD: Deleted(3, 1500), BASE: Deleted(4, 1500, 1), "torn/": Deleted(2, 2500, 2)}
    return report(**({"deleted": deleted} | fields))


def many(count: int, **fields: Any) -> PruneReport:
    """Report on so many deleted backups, and one more that is kept and the newest."""
    names = [f"n{number:05}" for number in range(count)]
    decisions = [Decision("newest", Cause.NEWEST), *(Decision(name, Cause.EXPIRED) for name in names)]
    entries = {name: backup(name) for name in ("newest", *names)}
    deleted = {name: Deleted(1, 1) for name in names}
    return report(**({"decisions": decisions, "entries": entries, "leftovers": (), "deleted": deleted} | fields))


class TestSummary:
    def test_what_was_done(self) -> None:
        found = all_deleted(
            foreign=[f"{OLD}/notes.txt"],
            leftovers=(left("torn/"), left("readme.md", LeftoverKind.FOREIGN, kept="not of Weaviate")),
            resumed=("half",),
            seconds=1.5,
        ).summary()
        assert json.loads(json.dumps(found)) == found
        assert found == {
            "location": "s3://b/p",
            "dry_run": False,
            "deleted": [OLD, BASE, "torn/"],
            "deleted_backups": 2,
            "deleted_leftovers": 1,
            "kept": 1,
            "objects": 9,
            "deleted_bytes": 5500,
            "freed_bytes": 5500,
            "storage_keeps": "",
            "reasons": {
                OLD: "no rule keeps it",
                BASE: "no rule keeps it",
                "torn/": "no descriptor",
                NEW: "newest good one; last 1",
                "readme.md": "not of Weaviate",
                "half": "its deletion had begun",
            },
            "spared": {},
            "locked": {},
            "failed": {},
            "foreign": [f"{OLD}/notes.txt", "readme.md"],
            "refused": "",
            "seconds": 1.5,
        }

    def test_what_was_not_done(self) -> None:
        told: dict[str, Any] = {
            "spared": {OLD: f"{NEW} builds on it"},
            "locked": {BASE: "locked until 2027-01-01 00:00 UTC: retention"},
            "failed": {"torn/w1/x": "AccessDenied"},
            "refused": "The rules would delete 2 good backups.",
            "dry_run": True,
        }
        found = report(**told).summary()
        assert json.loads(json.dumps(found)) == found
        assert told.items() <= found.items()
        assert (found["deleted"], found["kept"], found["objects"], found["deleted_bytes"]) == ([], 3, 0, 0)

    def test_of_nothing(self) -> None:
        found = PruneReport("s3://b/p", dry_run=True).summary()
        assert json.loads(json.dumps(found)) == found
        assert found.keys() == report().summary().keys()

    @pytest.mark.parametrize(
        ("keeps", "freed"), [("", 5500), ("versioning keeps what is deleted", 0), (None, None)], ids=repr
    )
    def test_what_the_storage_keeps(self, keeps: str | None, freed: int | None) -> None:
        found = all_deleted(keeps=keeps).summary()
        assert (found["freed_bytes"], found["storage_keeps"], found["deleted_bytes"]) == (freed, keeps, 5500)

    def test_a_thousand(self) -> None:
        """That much is told; numbers are of all. What is deleted is told of before what is kept."""
        full = many(MOST).summary()
        assert (len(full["deleted"]), len(full["reasons"])) == (MOST, MOST)
        assert "newest" not in full["reasons"]
        assert "newest" in many(MOST - 1).summary()["reasons"]

        words = {f"k{number}": "why" for number in range(MOST + 1)}
        more = many(MOST + 1, spared=words, locked=words, failed=words, foreign=list(words)).summary()
        assert (more["deleted_backups"], more["objects"], more["deleted_bytes"], more["kept"]) == (*[MOST + 1] * 3, 1)
        for key in ("deleted", "reasons", "spared", "locked", "failed", "foreign"):
            assert len(more[key]) == MOST
        assert more["deleted"] == [f"n{number:05}" for number in range(MOST)]
        assert list(more["reasons"]) == more["deleted"]
        assert (list(more["failed"])[-1], more["foreign"][-1]) == ("k999", "k999")


class TestHeadline:
    def test_done(self) -> None:
        assert all_deleted().headline() == "s3://b/p: 2 backups and 1 leftovers deleted (9 objects, 5.5 kB)"

    def test_planned(self) -> None:
        planned = all_deleted(dry_run=True).headline()
        assert planned == "s3://b/p: 2 backups and 1 leftovers would be deleted (9 objects, 5.5 kB)"

    def test_what_stays_all_the_same(self) -> None:
        told = report(locked={"a": "x", "b": "x"}, spared={"c": "x"}, failed={"d/e": "x", "d/f": "x", "d/g": "x"})
        assert told.headline() == (
            "s3://b/p: 0 backups and 0 leftovers deleted (0 objects, 0 B), 2 locked, 1 spared, 3 not deletable"
        )

    @pytest.mark.parametrize(
        ("keeps", "told"),
        [
            ("versioning", "(9 objects, 5.5 kB; nothing is freed yet: versioning)"),
            (None, "(9 objects, 5.5 kB; whether the storage keeps the bytes can't be told)"),
        ],
    )
    def test_what_the_storage_keeps(self, keeps: str | None, told: str) -> None:
        assert all_deleted(keeps=keeps).headline().endswith(told)

    def test_nothing_is_nothing_kept(self) -> None:
        assert report(keeps="versioning").headline().endswith("(0 objects, 0 B)")


class TestRows:
    KEPT = ("keep", f"{NEW} (2026-11-23 03:00 UTC, 1.5 kB)", "newest good one; last 1")

    @pytest.mark.parametrize(("dry_run", "fate"), [(True, "delete"), (False, "deleted")])
    def test_what_goes(self, *, dry_run: bool, fate: str) -> None:
        told = all_deleted(dry_run=dry_run, resumed=("half",), deleted=all_deleted().deleted | {"half": Deleted()})
        assert list(told.rows()) == [
            self.KEPT,
            (fate, f"{OLD} (2026-11-22 03:00 UTC, 1.5 kB)", "no rule keeps it"),
            (fate, f"{BASE} (2026-11-21 03:00 UTC, 1.5 kB)", "no rule keeps it"),
            (fate, "half", "its deletion had begun"),
            (fate, "torn/ (no descriptor, 2.5 kB)", "no descriptor"),
        ]

    def test_what_stays_all_the_same(self) -> None:
        """Because it is locked or in use, with the reason before that of the rules, or because it can't be deleted."""
        told = report(spared={OLD: "in use", "torn": "in use"}, locked={BASE: "locked"}, resumed=("half",))
        assert [(fate, why) for fate, _, why in told.rows()] == [
            self.KEPT[::2],
            ("keep", "in use; no rule keeps it"),
            ("keep", "locked; no rule keeps it"),
            ("not deleted", "its deletion had begun"),
            ("keep", "in use; no descriptor"),
        ]
        assert {fate for fate, *_ in list(report().rows())[1:]} == {"not deleted"}

    def test_leftovers_of_one_folder(self) -> None:
        """Each is deleted, or not, for itself."""
        pair = (left("x/a", LeftoverKind.UNFINISHED_UPLOAD), left("x/b", LeftoverKind.UNFINISHED_UPLOAD, kept="young"))
        told = report(leftovers=pair, deleted={"x/a": Deleted(uploads=1)})
        assert list(told.rows())[-2:] == [
            ("deleted", "x/a (unfinished upload, 2.5 kB)", "unfinished upload"),
            ("keep", "x/b (unfinished upload, 2.5 kB)", "young"),
        ]

    def test_what_can_not_be_deleted_is_explained(self) -> None:
        found = report(failed={f"{OLD}/w1/chunk-1": "AccessDenied"}, unfinished=[OLD])
        assert list(found.rows())[1] == (
            "not deleted",
            f"{OLD} (2026-11-22 03:00 UTC, 1.5 kB)",
            "no rule keeps it; AccessDenied",
        )
        assert found.summary()["kept"] == 2  # Weaviate does not see it any more

    def test_start_that_is_not_known(self) -> None:
        entries = {NEW: backup(NEW, started_at=None, stored_bytes=1500)}
        told = report(decisions=(Decision(NEW, Cause.FAILED),), entries=entries, leftovers=())
        assert list(told.rows()) == [("not deleted", f"{NEW} (1.5 kB)", "failed")]


class TestMarkdown:
    def test_page(self) -> None:
        told = all_deleted(dry_run=True)
        assert told.markdown().split("\n") == [
            told.headline(),
            "",
            *HEAD,
            f"| delete | {OLD} (2026-11-22 03:00 UTC, 1.5 kB) | no rule keeps it |",
            f"| delete | {BASE} (2026-11-21 03:00 UTC, 1.5 kB) | no rule keeps it |",
            "| delete | torn/ (no descriptor, 2.5 kB) | no descriptor |",
            f"| keep | {NEW} (2026-11-23 03:00 UTC, 1.5 kB) | newest good one; last 1 |",
        ]

    def test_refused(self) -> None:
        lines = all_deleted(dry_run=True, refused="Too many.").markdown().split("\n")
        assert lines[1:6] == ["", "**It would be refused:** Too many.", "", *HEAD]

    def test_lines_in_a_reason_make_no_rows(self) -> None:
        told = all_deleted(spared={NEW: "first\nsecond"})
        (row,) = (line for line in told.markdown().split("\n") if "first" in line)
        assert row.endswith("| first second; newest good one; last 1 |")

    def test_bars_in_a_name_make_no_cells(self) -> None:
        found = report(leftovers=(left("a|b.txt", LeftoverKind.FOREIGN, kept="not of | Weaviate"),))
        assert r"| keep | a\|b.txt (foreign, 2.5 kB) | not of \| Weaviate |" in found.markdown()

    def test_a_thousand_rows(self) -> None:
        exact = many(MOST - 1).markdown().split("\n")
        assert len(exact) == 4 + MOST
        assert exact[-1].startswith("| keep | newest ")
        more = many(MOST + 4).markdown().split("\n")
        assert len(more) == 4 + MOST + 2
        assert more[-2:] == ["", "And 5 more: see the log."]
        assert not [line for line in more if line.startswith("| keep")]


class TestRequireDone:
    @pytest.mark.parametrize("fail_on_locked", [True, False])
    def test_done(self, *, fail_on_locked: bool) -> None:
        all_deleted(spared={NEW: "in use"}).require_done(fail_on_locked=fail_on_locked)

    @pytest.mark.parametrize("fail_on_locked", [True, False])
    def test_failed(self, *, fail_on_locked: bool) -> None:
        with pytest.raises(DeletionFailed) as caught:
            report(failed={"x/a": "AccessDenied", "x/b": "gone"}).require_done(fail_on_locked=fail_on_locked)
        assert str(caught.value) == (
            "Not all in s3://b/p could be deleted: x/a: AccessDenied; x/b: gone. "
            "Run it again once the reason is gone: it goes on with what is left."
        )
        assert caught.value.reasons == {"x/a": "AccessDenied", "x/b": "gone"}
        assert not caught.value.retryable

    def test_locked(self) -> None:
        told = report(locked={OLD: "locked until 2027"}, failed={"x/a": "AccessDenied"})
        with pytest.raises(DeletionFailed, match=f"x/a: AccessDenied; {OLD}: locked until 2027") as caught:
            told.require_done(fail_on_locked=True)
        assert caught.value.reasons == {"x/a": "AccessDenied", OLD: "locked until 2027"}
        report(locked={OLD: "locked until 2027"}).require_done(fail_on_locked=False)

    @pytest.mark.parametrize(
        ("count", "end"), [(5, "k4: why"), (6, "k4: why; and 1 more"), (99, "k4: why; and 94 more")]
    )
    def test_few_are_named(self, count: int, end: str) -> None:
        reasons = {f"k{number}": "why" for number in range(count)}
        with pytest.raises(DeletionFailed) as caught:
            report(failed=reasons).require_done(fail_on_locked=False)
        assert f"{end}. " in str(caught.value)
        assert f"k{count}" not in str(caught.value)
        assert caught.value.reasons == reasons


def test_counts_are_added() -> None:
    total = Deleted(1, 20, 3)
    total.add(Deleted(10, 200, 30))
    assert total == Deleted(11, 220, 33)
    assert all_deleted().total == Deleted(9, 5500, 3)
