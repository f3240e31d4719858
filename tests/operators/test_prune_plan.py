"""The operator that plans a prune, and what both operators may be told; single rules: test_retention_arguments.py."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import StorageUnreachable
from airflow_provider_vectorbackup.operators import WeaviatePruneBackupsOperator
from airflow_provider_vectorbackup.operators.prune import PlanPruneOperator
from tests.actions.prunes import Pruning
from tests.actions.watching import CHAIN
from tests.operators.contexts import TaskRun
from tests.operators.prunes import GONE, KEYS, TORN, changes, plan, prune, pruning
from tests.transfer.acting_store import Faults

__all__ = ["pruning"]

VALUES = {
    "id_prefix": "None",
    "keep_within": "1h",
    "min_count": "1",
    "max_total_gib": "0.5",
    "keep_last": "1",
    "keep_hourly": "0",
    "keep_daily": "None",
    "keep_weekly": "",
    "keep_monthly": "0",
    "keep_yearly": "None",
    "rules": "None",
    "timezone": "Europe/Berlin",
    "pinned": '["second"]',
    "grace": "3600",
    "leftover_grace": "864000.5",
    "delete_damaged": "False",
    "max_delete_fraction": "1.0",
    "only": '["fourth", "third", "second", "chosen/"]',
    "fail_on_locked": "False",
    "dry_run": "False",
}
"""As templates render them; the location aside."""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"location": "bucket/path"}, "'bucket/path' is not a location"),
        ({"location": ""}, "is not a location"),
        ({"keep_last": None}, "No rule says what is to be kept."),
        ({"keep_last": "many"}, "keep_last is 'many'. Give a whole number."),
        ({"keep_daily": "-2"}, "keep_daily is -2."),
        ({"keep_within": "30"}, "'30' is no span of time."),
        ({"min_count": 0}, "min_count is 0."),
        ({"max_total_gib": "0"}, "max_total_gib is '0'."),
        ({"rules": '[{"keep_last": 1}]'}, "Both rules and keep_last are given."),
        ({"rules": "nightly-"}, "rules is 'nightly-', which is not of the form"),
        (
            {"keep_last": None, "rules": [{"keep_last": 1}, {"keep_last": 2}]},
            "There are 2 rules, for the prefixes ['', '']",
        ),
        ({"timezone": "Mars/Base"}, "timezone is 'Mars/Base'. Give a name such as Europe/Berlin, or UTC."),
        ({"pinned": "full"}, "pinned is 'full', which is not of the form"),
        ({"grace": "a day"}, "grace is 'a day'. Give seconds above 0, or 0, or a timedelta."),
        ({"grace": -1}, "grace is -1."),
        ({"leftover_grace": timedelta(seconds=-1)}, "leftover_grace is "),
        ({"grace": 1e15}, "grace is 1000000000000000.0. That is too long."),
        ({"max_total_gib": 10**400}, "max_total_gib is 1"),
        ({"keep_last": None, "rules": [{1: 2}]}, "In rules, entry 1: There are no rules 1."),
        ({"pinned": ["nightly-*"]}, "'nightly-*' is not a backup id."),
        ({"fail_on_locked": "maybe"}, "fail_on_locked is 'maybe'. Give True or False."),
        ({"delete_damaged": "maybe"}, "delete_damaged is 'maybe'. Give True or False."),
        ({"max_delete_fraction": "1.1"}, "max_delete_fraction is '1.1'. Give a number from 0 to 1."),
        ({"max_delete_fraction": 50}, "max_delete_fraction is 50."),
        ({"only": "full"}, "only is 'full', which is not of the form"),
        ({"dry_run": "maybe"}, "dry_run is 'maybe'."),
    ],
)
@pytest.mark.parametrize("task", [prune, plan])
def test_bad_input(pruning: Pruning, run: TaskRun, task: Any, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException) as caught:
        task(pruning, **fields).execute(run.context)
    assert text in str(caught.value)
    assert (pruning.store.calls, run.xcoms) == ([], {})


def test_flag_that_a_plan_has_no_use_for(pruning: Pruning, run: TaskRun) -> None:
    with pytest.raises(AirflowFailException, match="fail_on_locked is 'maybe'"):
        prune(pruning, fail_on_locked="maybe").execute(run.context)
    assert pruning.store.calls == []


def test_defaults() -> None:
    """As docs/operators.md says; what is not given is None."""
    task = WeaviatePruneBackupsOperator(task_id="prune", location="s3://one@bucket/a", keep_last=1)
    given = {name: getattr(task, name) for name in task.template_fields if getattr(task, name) is not None}
    assert given == {
        "location": "s3://one@bucket/a",
        "keep_last": 1,
        "timezone": "UTC",
        "grace": timedelta(days=1),
        "leftover_grace": timedelta(days=7),
        "delete_damaged": False,
        "max_delete_fraction": 0.5,
        "fail_on_locked": False,
        "dry_run": False,
    }
    assert task.multiple_outputs is True


class TestTemplates:
    def test_render_to_texts(self, pruning: Pruning, run: TaskRun) -> None:
        values = VALUES | {"location": str(pruning.place.location)}
        assert set(values) == set(WeaviatePruneBackupsOperator.template_fields)
        templates: dict[str, Any] = {name: f"{{{{ params.{name} }}}}" for name in values}
        with DAG("prunes", schedule=None):
            task = WeaviatePruneBackupsOperator(task_id="prune", **templates)
        task.render_template_fields({"params": values})
        assert {name: getattr(task, name) for name in values} == values
        result = task.execute(run.context)
        assert (result["deleted"], result["reasons"]["second"]) == (["fourth", "third", TORN], "pinned")

    def test_within_lists(self, pruning: Pruning, run: TaskRun) -> None:
        """Also those of mappings."""
        rules = [{"id_prefix": "{{ params.prefix }}", "keep_last": "{{ params.count }}"}]
        given = {"keep_last": None, "rules": rules, "pinned": ["{{ params.prefix }}rd"]}
        with DAG("prunes", schedule=None):
            task = prune(pruning, **given)
        task.render_template_fields({"params": {"prefix": "thi", "count": 3}})
        assert (task.rules, task.pinned) == ([{"id_prefix": "thi", "keep_last": "3"}], ["third"])
        result = task.execute(run.context)
        assert (result["deleted"], result["reasons"]["third"]) == ([], "pinned; last 3; needed by fourth")
        assert result["reasons"]["fourth"] == "no rule is about it"

    @pytest.mark.parametrize(("name", "value"), [("grace", timedelta(days=60)), ("leftover_grace", "5184000")])
    def test_ages(self, pruning: Pruning, run: TaskRun, name: str, value: Any) -> None:
        result = prune(pruning, **{name: value}).execute(run.context)
        young = {key for key, why in result["reasons"].items() if why.startswith("young")}
        assert (young, result["deleted"]) == (
            ({*CHAIN, "whole"}, [TORN]) if name == "grace" else ({TORN}, list(reversed(CHAIN)))
        )

    def test_damage(self, pruning: Pruning, run: TaskRun) -> None:
        with pruning.place.edited("fourth/backup_config.json") as descriptor:
            descriptor["nodes"]["w9"] = {"classes": ["Article"], "status": "SUCCESS"}
        kept = prune(pruning, delete_damaged="False", leftover_grace=0).execute(run.context)
        assert "fourth" not in kept["deleted"]
        assert kept["reasons"]["fourth"].startswith("damaged; ")
        assert prune(pruning, delete_damaged="True").execute(run.context)["deleted"] == []
        gone = prune(pruning, delete_damaged="True", leftover_grace=0).execute(run.context)
        assert gone["deleted"] == list(reversed(CHAIN))


class TestPlan:
    @pytest.mark.parametrize("dry_run", [True, "False"])
    @pytest.mark.parametrize("approval", ["True", False, "None"])
    @pytest.mark.parametrize("has_something", [True, False])
    def test_next_steps(
        self, pruning: Pruning, run: TaskRun, dry_run: bool | str, approval: bool | str, *, has_something: bool
    ) -> None:
        keeps = {} if has_something else {"keep_last": "5", "leftover_grace": timedelta(days=60)}
        result = plan(pruning, dry_run=dry_run, approval=approval, **keeps).execute(run.context)
        assert json.loads(json.dumps(result)) == result
        assert set(result) == KEYS | {"markdown", "asks", "prunes"}
        assert result["deleted"] == (GONE if has_something else [])
        assert result["prunes"] is (has_something and dry_run == "False")
        assert result["asks"] is (result["prunes"] and approval == "True")
        lines = result["markdown"].split("\n")
        assert f"{4 * has_something} backups and {1 * has_something} leftovers would be deleted" in lines[0]
        assert len([line for line in lines if line.startswith("| delete |")]) == len(result["deleted"])
        assert changes(pruning) == []
        assert run.xcoms == {}

    @pytest.mark.parametrize("approval", [True, False])
    def test_refused(self, pruning: Pruning, run: TaskRun, *, approval: bool) -> None:
        """Nobody is asked about what will not be done."""
        given = {"max_delete_fraction": 0.5, "approval": approval}
        with pytest.raises(AirflowFailException, match="would delete 4 good backups, 80% of those"):
            plan(pruning, dry_run=False, **given).execute(run.context)
        result = plan(pruning, dry_run=True, **given).execute(run.context)
        assert (result["asks"], result["prunes"], result["deleted"]) == (False, False, GONE)
        assert f"**It would be refused:** {result['refused']}" in result["markdown"]

    def test_what_it_lists_is_what_a_prune_then_may_delete(self, pruning: Pruning, run: TaskRun) -> None:
        planned = plan(
            pruning, keep_last=None, rules=[{"id_prefix": "fou", "keep_last": 1}, {"id_prefix": "c", "keep_last": 1}]
        )
        approved = planned.execute(run.context)["deleted"]
        assert approved == [TORN]
        assert prune(pruning, only=json.dumps(approved)).execute(run.context)["deleted"] == [TORN]

    def test_approval_is_a_template_and_a_flag(self, pruning: Pruning, run: TaskRun) -> None:
        assert set(PlanPruneOperator.template_fields) == {*WeaviatePruneBackupsOperator.template_fields, "approval"}
        with pytest.raises(AirflowFailException, match="approval is 'maybe'"):
            plan(pruning, approval="maybe").execute(run.context)

    def test_storage_that_is_away_is_left_to_retries(self, pruning: Pruning, run: TaskRun) -> None:
        pruning.store.before = Faults(lambda: StorageUnreachable("No answer."), lambda _: True)
        with pytest.raises(StorageUnreachable):
            plan(pruning).execute(run.context)
