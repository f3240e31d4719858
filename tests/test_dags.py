"""The example Dags, as an Airflow without any connection sees them: importable, light, right with their defaults."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from datetime import UTC
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_vectorbackup.operators import arguments, retention_arguments

FILES = sorted((Path(__file__).parent.parent / "dags").glob("*.py"))
HEAVY = ("requests", "aiohttp", "boto3", "botocore", "google.cloud.storage", "azure")
NOT_GIVEN = ("backend", "include", "exclude", "incremental_base_backup_id", "compression")


def load(path: Path) -> DAG:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where Airflow looks for the file that a Dag is made in
    spec.loader.exec_module(module)
    found = module.dag
    assert isinstance(found, DAG)
    return found


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def dag(request: pytest.FixtureRequest) -> DAG:
    return load(request.param)


def rendered(dag: DAG, task_id: str, **conf: Any) -> Any:
    """Return a task with its templates rendered, for a run with these values from the form."""
    task = dag.get_task(task_id)
    values = {name: dag.params.get_param(name).resolve(*([conf[name]] if name in conf else [])) for name in dag.params}
    task.render_template_fields({"params": values, "ti": FakeTaskInstance()})  # type: ignore[typeddict-item]
    return task


class FakeTaskInstance:
    def xcom_pull(self, task_ids: str, key: str) -> str:
        return f"{key} of {task_ids}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_loads_nothing_heavy(path: Path) -> None:
    code = f"import runpy, sys, json; runpy.run_path({str(path)!r}); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout.splitlines()[-1])).isdisjoint(HEAVY)


def test_id_is_the_file_name(dag: DAG) -> None:
    assert dag.dag_id in {path.stem for path in FILES}
    assert dag.dag_id.startswith("vectorbackup_")


def test_one_run_at_a_time_and_no_pool_that_may_not_be_there(dag: DAG) -> None:
    assert dag.max_active_runs == 1
    assert not dag.catchup
    assert {task.pool for task in dag.tasks} == {"default_pool"}


def test_explains_itself(dag: DAG) -> None:
    assert dag.doc_md
    assert dag.description
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema["title"]
        assert param.schema["section"]
        assert set(param.schema.get("values_display", {})) == {
            "null" if value is None else value for value in param.schema.get("enum", [])
        }
        json.dumps(param.schema)  # as the form gets it


def test_defaults_are_complete(dag: DAG) -> None:
    """A scheduled run has nothing else."""
    assert set(dag.params.validate()) == set(dag.params)


def test_what_is_left_empty_counts_as_not_given(dag: DAG) -> None:
    for task_id in dag.task_ids:
        decided = {name for name in NOT_GIVEN if "xcom_pull" in str(getattr(dag.get_task(task_id), name, ""))}
        task = rendered(dag, task_id)
        for name in set(NOT_GIVEN).difference(decided) & set(task.template_fields):
            value = getattr(task, name)
            empty = arguments.names(name, value) if name in ("include", "exclude") else arguments.text(value)
            assert not empty, name


def test_lists_of_the_form_arrive_as_lists() -> None:
    dag = load(next(path for path in FILES if "scheduled" in path.stem))
    task = rendered(dag, "back_up", include=["Barley", "Air's <*>"], exclude=None, incremental_base="latest")
    assert arguments.names("include", task.include) == ("Barley", "Air's <*>")
    assert arguments.names("exclude", task.exclude) == ()
    assert task.incremental_base_backup_id == "latest"
    assert arguments.whole_number("cpu_percentage", task.cpu_percentage) == 50


def test_restore_takes_the_id_that_the_backup_really_got() -> None:
    dag = load(next(path for path in FILES if "restore" in path.stem))
    for task_id in ("verify", "wait_until_seen", "restore"):
        task = rendered(dag, task_id, allow_replace=True)
        assert task.backup_id == "backup_id of back_up"
    assert arguments.flag("allow_replace", task.allow_replace) is True
    assert rendered(dag, "verify").location == "location of back_up"
    order = ["back_up", "verify", "wait_until_seen", "restore"]
    for earlier, later in pairwise(order):
        assert dag.get_task(later).upstream_task_ids == {earlier}


def test_copy_takes_the_backup_that_was_made_and_is_restored_only_on_demand() -> None:
    path = next(path for path in FILES if "copy" in path.stem)
    assert arguments.text(rendered(load(path), "copy").max_mib_per_second) is None
    dag = load(path)
    task = rendered(dag, "copy", max_mib_per_second=2.5)
    assert (task.backup_id, task.source) == ("backup_id of back_up", "location of back_up")
    assert arguments.number("max_mib_per_second", task.max_mib_per_second) == 2.5
    assert rendered(dag, "verify").location == task.target == rendered(dag, "restore").location
    wanted: Any = dag.get_task("is_restore_wanted")
    assert [wanted.python_callable({"restore_conn_id": given}) for given in (None, "", "x")] == [False, False, True]
    order = ["back_up", "copy", "verify", "is_restore_wanted", "restore"]
    for earlier, later in pairwise(order):
        assert dag.get_task(later).upstream_task_ids == {earlier}


def test_freshness_takes_the_values_of_the_form() -> None:
    dag = load(next(path for path in FILES if "freshness" in path.stem))
    task = rendered(dag, "is_there_a_fresh_backup", max_age_hours=1.5, collections=["Barley"])
    assert arguments.seconds("max_age", task.max_age) == 5400
    assert arguments.names("collections", task.collections) == ("Barley",)
    assert arguments.text(task.id_prefix) is None


def test_verification_takes_the_values_of_the_form() -> None:
    dag = load(next(path for path in FILES if "verify" in path.stem))
    task = rendered(dag, "verify", level="quick", store_report=False)
    assert (task.backup_id, task.level) == ("latest", "quick")
    assert arguments.flag("store_report", task.store_report) is False


def test_migration_takes_the_values_of_the_form() -> None:
    path = next(path for path in FILES if "migration" in path.stem)
    given = {"include": ["Barley"], "target_location": "file:///tmp/x", "users_and_roles": "all", "dry_run": False}
    plan = rendered(load(path), "migrate.preflight", **given)
    assert arguments.names("include", plan.include) == ("Barley",)
    assert (plan.source, plan.target, plan.target_location) == ("weaviate_default", "weaviate_target", "file:///tmp/x")
    assert (plan.roles_options, plan.users_options) == ("all", "all")
    flags = ("dry_run", "prepare_only", "approval", "rollback")
    assert [arguments.flag(name, getattr(plan, name)) for name in flags] == [False, False, True, False]
    assert arguments.flag("dry_run", rendered(load(path), "migrate.preflight").dry_run) is True
    dag = load(path)
    restore = rendered(dag, "migrate.restore", **given)
    assert (restore.weaviate_conn_id, restore.roles_options) == ("weaviate_target", "all")
    assert (restore.backup_id, restore.location) == (
        "backup_id of migrate.back_up",
        "target_location of migrate.preflight",
    )
    assert arguments.flag("strict", rendered(dag, "migrate.compare", strict=True).strict) is True


def test_drill_takes_the_values_of_the_form() -> None:
    dag = load(next(path for path in FILES if "drill" in path.stem))
    pick = rendered(dag, "drill.pick", pick="random", location="gs://x@y/z")
    assert (pick.location, pick.scratch_conn_id, pick.pick) == ("gs://x@y/z", "weaviate_scratch", "random")
    assert arguments.text(pick.id_prefix) is None
    for task_id in ("drill.restore", "drill.clean_up"):
        task = rendered(dag, task_id)
        assert (task.weaviate_conn_id, task.backup_id) == ("weaviate_scratch", "backup_id of drill.pick")
    assert dag.get_task("drill.clean_up").is_teardown


def test_retention_takes_the_values_of_the_form() -> None:
    path = next(path for path in FILES if "retention" in path.stem)
    plan = rendered(load(path), "prune_backups.plan")
    assert arguments.flag("dry_run", plan.dry_run) is True
    assert arguments.flag("approval", plan.approval) is False
    given = {"keep_last": 3, "keep_within": "30d", "keep_daily": None, "pinned": ["x"], "id_prefix": "nightly-"}
    for task_id in ("prune_backups.plan", "prune_backups.prune"):
        task = rendered(load(path), task_id, **given)
        single = {name: getattr(task, name) for name in retention_arguments.RULE_ARGUMENTS}
        (rules,) = retention_arguments.all_rules_of(single, task.rules, UTC)
        assert (rules.keep_last, rules.keep_daily, rules.keep_weekly, rules.keep_monthly) == (3, 0, 4, 12)
        assert (str(rules.keep_within), rules.id_prefix, rules.min_count) == ("30d", "nightly-", 1)
        assert arguments.names("pinned", task.pinned) == ("x",)
    assert task.only == '"deleted of prune_backups.plan"'
    assert arguments.flag("dry_run", task.dry_run) is False
