"""Run a Dag of a test in this process, as the scheduler would see it: serialised, with triggers run inline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, BaseOperator

from tests.actions.conftest import TaskMemory
from tests.operators.contexts import TaskRun

BUNDLE = "tests"
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DagRunResult:
    """How a run ended: its state, each task's state, and each task's return value."""

    state: str
    tasks: dict[str, str]
    values: dict[str, Any]


def output(operator: BaseOperator, key: str) -> Any:
    """Return one key of what a task will have returned, as an argument for another task; Airflow's types lack it."""
    everything: Any = operator.output
    return everything[key]


def run(dag: DAG, conf: dict[str, Any] | None = None) -> DagRunResult:
    """Run ``dag`` once, all tasks, and return how it ended; a failed task is no error here."""
    _register(dag)
    dag_run = dag.test(run_conf=conf or {})
    instances = dag_run.get_task_instances()
    return DagRunResult(
        str(dag_run.state),
        {ti.task_id: str(ti.state) for ti in instances},
        {ti.task_id: ti.xcom_pull(task_ids=ti.task_id) for ti in instances},
    )


def _register(dag: DAG) -> None:
    """Put the Dag into Airflow's database: one that is not serialised can't be run."""
    try:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag, sync_bag_to_db  # type: ignore[no-redef]
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session() as session:
        if session.get(DagBundleModel, BUNDLE) is None:
            session.add(DagBundleModel(name=BUNDLE))
    bag = DagBag(dag_folder="/dev/null")
    bag.bag_dag(dag)
    sync_bag_to_db(bag, BUNDLE, None)


def context_of(run_id: str, *, memory: TaskMemory | None = None) -> Any:
    """Return a context to execute an operator with, without a scheduler; below Airflow 3.3 tasks have no memory."""
    context: dict[str, Any] = {"ti": TaskRun(dag_id="by_hand", task_id="task", run_id=run_id)}
    return context if memory is None else context | {"task_state_store": memory}
