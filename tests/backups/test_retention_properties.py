"""What holds of every plan, whatever lies in the location: against an oracle, and by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.retention import RetentionPlan, Rules, children_first, plan_retention
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import PruneRefused
from tests.backups.retention_cases import Case, cases
from tests.backups.retention_oracle import group_of, is_refused, kept_by_rule, kept_ids, needed_ids, ordered, rules_of

many = settings(max_examples=2000, deadline=None)


def plan_of(case: Case) -> RetentionPlan:
    """Make the plan; cases of which there is none say nothing."""
    assume(not is_refused(case.entries, case.now))
    return plan_retention(case.entries, case.retention, case.now)


def kept_in(plan: RetentionPlan) -> set[str]:
    return {decision.backup_id for decision in plan.decisions if decision.is_kept}


@many
@given(cases)
def test_kept_is_what_the_rules_mean(case: Case) -> None:
    if is_refused(case.entries, case.now):
        with pytest.raises(PruneRefused):
            plan_retention(case.entries, case.retention, case.now)
        return
    plan = plan_of(case)
    kept = kept_ids(case.entries, case.retention, case.now)
    assert kept_in(plan) == kept
    assert [one.backup_id for one in plan.decisions] == [one.backup_id for one in ordered(case.entries)]
    assert sorted(plan.deletions) == sorted({one.backup_id for one in case.entries} - kept)


@many
@given(cases)
def test_each_rule_keeps_what_it_means(case: Case) -> None:
    """By the reasons that are told; without bounds on sizes, under which some are not told any more."""
    rules = tuple(replace(rules, max_total_bytes=None) for rules in case.retention.rules if rules.has_keep_rule)
    assume(rules)
    case = replace(case, retention=replace(case.retention, rules=rules))
    told = {decision.backup_id: decision.reasons for decision in plan_of(case).decisions}
    for one in rules:
        group = group_of(one, case.entries, case.retention)
        for name, kept in kept_by_rule(one, group).items():
            good = [entry.backup_id for entry in group if entry.is_usable]
            assert {backup_id for backup_id in good if any(r.startswith(name) for r in told[backup_id])} == kept


@many
@given(cases)
def test_what_is_kept_has_its_bases(case: Case) -> None:
    plan = plan_of(case)
    kept = kept_in(plan)
    assert needed_ids(case.entries, kept) <= kept
    for decision in plan.decisions:
        builds_on_it = {one.backup_id for one in case.entries if decision.backup_id in one.bases}
        assert set(decision.needed_by) == builds_on_it & kept


@many
@given(cases)
def test_newest_good_ones_and_pinned_ones_are_kept(case: Case) -> None:
    kept = kept_in(plan_of(case))
    for rules in case.retention.rules:
        good = [one.backup_id for one in group_of(rules, case.entries, case.retention) if one.is_usable]
        assert kept.issuperset(good[: rules.min_count])
    ids = {one.backup_id for one in case.entries}
    assert kept.issuperset(ids & case.retention.pinned)
    assert kept.issuperset(one.backup_id for one in case.entries if rules_of(one, case.retention) is None)


@many
@given(cases)
def test_what_builds_on_others_is_deleted_before_them(case: Case) -> None:
    plan = plan_of(case)
    assert_children_come_first(plan.deletions, {one.backup_id: one.bases for one in case.entries})


@many
@given(cases)
def test_a_second_plan_deletes_no_more(case: Case) -> None:
    plan = plan_of(case)
    left = tuple(one for one in case.entries if one.backup_id not in plan.deletions)
    assume(left)  # where all is gone, nothing may be decided
    again = plan_retention(left, case.retention, case.now)
    assert again.deletions == ()


@many
@given(cases, st.integers(0, 2**16))
def test_order_of_the_listing_is_no_matter(case: Case, seed: int) -> None:
    entries = list(case.entries)
    Random(seed).shuffle(entries)
    assert plan_of(replace(case, entries=tuple(entries))) == plan_of(case)


@many
@given(cases)
def test_fraction_is_of_what_says_success(case: Case) -> None:
    plan = plan_of(case)
    finished = {e.backup_id for e in case.entries if e.status is Status.SUCCESS and rules_of(e, case.retention)}
    assert plan.finished == len(finished)
    assert plan.finished_deleted == len(finished.intersection(plan.deletions))
    assert plan.fraction == (plan.finished_deleted / plan.finished if finished else 0)


@settings(max_examples=500)
@given(cases)
def test_a_rule_more_deletes_no_more(case: Case) -> None:
    """But for bounds on sizes: what a rule keeps more may take the room of others."""
    unbounded = tuple(
        replace(rules, max_total_bytes=None, keep_last=rules.keep_last or 1) for rules in case.retention.rules
    )
    case = replace(case, retention=replace(case.retention, rules=unbounded))
    kept = kept_in(plan_of(case))
    additions: list[Callable[[Rules], Rules]] = [
        lambda rules: replace(rules, keep_last=-1),
        lambda rules: replace(rules, keep_hourly=-1),
        lambda rules: replace(rules, min_count=rules.min_count + 1),
    ]
    for add in additions:
        more = replace(case.retention, rules=tuple(map(add, unbounded)))
        assert kept <= kept_in(plan_of(replace(case, retention=more)))


names = st.sampled_from("abcdefg")


@settings(max_examples=1000)
@given(st.dictionaries(names, st.frozensets(names, max_size=3)))
def test_children_come_first(bases: dict[str, frozenset[str]]) -> None:
    order = children_first(bases)
    assert sorted(order) == sorted(bases)
    assert_children_come_first(order, bases)


def assert_children_come_first(order: tuple[str, ...], bases: dict[str, frozenset[str]]) -> None:
    """But for circles, which no server makes, and what those build on: these come last."""
    below = {name: reached_from(name, bases) for name in order}
    circles = {name for name in order if name in below[name]}
    last = circles.union(*(below[name] for name in circles))
    free = [name for name in order if name not in last]
    assert list(order[: len(free)]) == free
    for place, name in enumerate(free):
        assert not below[name].intersection(free[:place])


def reached_from(name: str, bases: dict[str, frozenset[str]]) -> set[str]:
    found: set[str] = set()
    while new := {base for one in {name, *found} for base in bases.get(one, ())} - found:
        found |= new
    return found
