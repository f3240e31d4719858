"""What is kept and deleted of chains, and how a bound on the size counts them."""

from __future__ import annotations

from airflow_provider_vectorbackup.backups.retention import (
    Rules,
    children_first,
)
from airflow_provider_vectorbackup.backups.status import Status
from tests.backups.retention_examples import DAY, HOUR, NOON, NOW, backup, daily, plan, told


def test_bases_are_kept() -> None:
    """Whoever needs them: here, a backup of another prefix, which no rule is about."""
    backups = [
        backup("new"),
        backup("x-tip", NOON - DAY, "mid"),
        backup("mid", NOON - 2 * DAY, "base", "gone"),
        backup("base", NOON - 3 * DAY),
        backup("old", NOON - 4 * DAY, "base"),
    ]
    made = plan(backups, *(Rules(prefix, keep_last=1) for prefix in ("new", "mid", "base", "old")), pinned=frozenset())
    assert told(made)["base"] == "+ newest good one; last 1; needed by mid, old"
    made = plan([*backups, backup("y", NOON)], Rules("", keep_last=1), Rules("x", keep_last=1))
    assert told(made) == {
        "y": "+ newest good one; last 1",
        "new": "- no rule keeps it",
        "x-tip": "+ newest good one; last 1",
        "mid": "+ base; needed by x-tip",
        "base": "+ base; needed by mid",
        "old": "- no rule keeps it",
    }


def test_a_base_that_failed_is_kept_too() -> None:
    backups = [backup("tip", NOON, "base"), backup("base", NOON - DAY, status=Status.FAILED)]
    assert told(plan(backups, Rules(keep_last=1)))["base"] == "+ base; needed by tip"


def test_chains_are_deleted_from_their_tips() -> None:
    backups = [
        backup("c", NOON, *()),
        backup("b2", NOON - DAY, "b1"),
        backup("b1", NOON - 2 * DAY, "b0"),
        backup("b0", NOON - 3 * DAY),
    ]
    made = plan(list(reversed(backups)), Rules(keep_last=1))
    assert made.deletions == ("b2", "b1", "b0")
    # Also where the clocks of its servers told other times.
    backups[1:] = [backup("b2", NOON - 3 * DAY, "b1"), backup("b1", NOON - 2 * DAY, "b0"), backup("b0", NOON - DAY)]
    assert plan(backups, Rules(keep_last=1)).deletions == ("b2", "b1", "b0")


def test_order_of_deletions() -> None:
    none = frozenset[str]()
    assert children_first({}) == ()
    assert children_first({"b": none, "a": none, "c": none}) == ("b", "a", "c")
    assert children_first({"base": none, "x": frozenset({"base"}), "y": frozenset({"base", "gone"})}) == (
        "x",
        "y",
        "base",
    )
    assert children_first({"a": frozenset("b"), "b": frozenset("a"), "tip": frozenset("a")}) == ("tip", "a", "b")


def test_many_that_need_a_base_are_cut_short() -> None:
    backups = [backup(f"tip{n:02}", NOON + n * HOUR, "base") for n in range(23)]
    made = plan([*backups, backup("base", NOON - DAY)], Rules(keep_last=23))
    assert told(made)["base"].startswith("+ base; needed by tip00, tip01, ")
    assert told(made)["base"].endswith(", tip19 and 3 more")
    assert made.decisions[-1].needed_by == tuple(one.backup_id for one in backups)


def test_a_long_chain() -> None:
    backups = [backup(f"b{n:04}", NOON - n * HOUR, f"b{n + 1:04}") for n in range(3000)]
    assert plan(backups, Rules(keep_last=1)).deletions == ()
    made = plan([*backups, backup("full", NOON + HOUR)], Rules(keep_last=1))
    assert made.deletions == tuple(one.backup_id for one in backups)


def test_a_bound_on_the_size() -> None:
    assert told(plan(daily(5), Rules(max_total_bytes=35))) == {
        "b0": "+ newest good one; the size allows it",
        "b1": "+ the size allows it",
        "b2": "+ the size allows it",
        "b3": "- beyond the size; of 35 bytes",
        "b4": "- beyond the size; of 35 bytes",
    }
    assert plan(daily(5), Rules(max_total_bytes=30)).deletions == ("b3", "b4")
    assert plan(daily(5), Rules(max_total_bytes=29)).deletions == ("b2", "b3", "b4")
    assert plan(daily(5), Rules(max_total_bytes=50)).deletions == ()


def test_a_bound_on_what_rules_keep() -> None:
    """What is larger than what is left of it ends it: no older one takes its place."""
    backups = daily(5)
    backups[2] = backup("b2", NOON - 2 * DAY, stored_bytes=100)
    made = plan(backups, Rules(keep_last=4, max_total_bytes=45))
    assert told(made) == {
        "b0": "+ newest good one; last 4",
        "b1": "+ last 4",
        "b2": "- beyond the size; of 45 bytes",
        "b3": "- beyond the size; of 45 bytes",
        "b4": "- no rule keeps it",
    }


def test_a_bound_with_a_chain() -> None:
    """Bases count with what needs them, once."""
    backups = [
        backup("tip2", NOON, "base"),
        backup("tip1", NOON - DAY, "base"),
        backup("full", NOON - 2 * DAY),
        backup("base", NOON - 3 * DAY, stored_bytes=50),
    ]
    made = plan(backups, Rules(keep_last=3, max_total_bytes=79))
    assert told(made) == {
        "tip2": "+ newest good one; last 3",
        "tip1": "+ last 3",
        "full": "- beyond the size; of 79 bytes",
        "base": "+ base; needed by tip1, tip2",
    }
    assert plan(backups, Rules(keep_last=3, max_total_bytes=80)).deletions == ()
    assert plan(backups, Rules(keep_last=3, max_total_bytes=69)).deletions == ("tip1", "full")


def test_a_bound_with_what_is_kept_anyway() -> None:
    """That counts first, be it older; of the rest, nothing stays if there is no room."""
    backups = [*daily(4), backup("pin", NOON - 9 * DAY, "root", stored_bytes=15), backup("root", NOON - 10 * DAY)]
    pinned = frozenset({"pin"})
    assert plan(backups, Rules(max_total_bytes=54), pinned=pinned).deletions == ("b2", "b3")
    made = plan(backups, Rules(max_total_bytes=10, min_count=2), pinned=pinned)
    assert told(made) == {
        "b0": "+ newest good one; the size allows it",
        "b1": "+ the size allows it",
        "b2": "- beyond the size; of 10 bytes",
        "b3": "- beyond the size; of 10 bytes",
        "pin": "+ pinned; the size allows it",
        "root": "+ base; needed by pin",
    }


def test_a_bound_counts_what_is_no_good() -> None:
    """In progress, damaged or lately failed: it takes room, too. What is deleted takes none, nor do other prefixes."""
    backups = [
        *daily(3),
        backup("b-hangs", NOON, status=Status.UNKNOWN),
        backup("b-bad", NOON, problems=("x",)),
        backup("b-late", NOW - HOUR, status=Status.FAILED),
        backup("b-failed", NOON, status=Status.FAILED),
        backup("other", NOON),
    ]
    assert plan(backups, Rules("b", max_total_bytes=50)).deletions == ("b-failed", "b2")
    assert plan(backups, Rules("b", max_total_bytes=60)).deletions == ("b-failed",)
