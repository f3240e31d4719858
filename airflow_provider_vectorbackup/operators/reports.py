"""The last step of a task group: what became of it as a whole, and, where a step failed, how to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context

_FAILED = ("failed", "upstream_failed")


class ReportOperator(BaseOperator):
    """Return what the steps of a group came to; fail if one of them did.

    :param steps: name of a step -> its task's id, in their order.
    """

    template_fields: Sequence[str] = ()
    ui_color = "#e8e8e8"

    def __init__(self, *, steps: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)
        self.steps = dict(steps)

    def states(self, context: Context) -> dict[str, str]:
        """Return the state of each step."""
        ti = context["ti"]
        told = ti.get_task_states(dag_id=ti.dag_id, task_ids=list(self.steps.values()), run_ids=[ti.run_id])
        found = told.get(ti.run_id, {})
        return {step: str(found.get(task_id) or "") for step, task_id in self.steps.items()}

    def result_of(self, context: Context, step: str) -> dict[str, Any]:
        """Return what a step returned; a comparison that failed left its report."""
        ti, task_id = context["ti"], self.steps.get(step)
        found = task_id and (ti.xcom_pull(task_ids=task_id) or ti.xcom_pull(task_ids=task_id, key="report"))
        return dict(found) if isinstance(found, Mapping) else {}


class ReportMigrationOperator(ReportOperator):
    """Tell what became of a migration.

    Returns (XCom) ``outcome`` (``planned``, ``prepared``, ``rejected`` or ``migrated``), ``backup_id``,
    ``collections``, ``source_url``, ``target_url``, ``node_mapping``, ``bytes_copied``, ``restore_seconds``,
    ``comparison`` and ``rolled_back``. One that failed leaves the same as XCom ``report``.
    """

    ADVICE: Mapping[str, str] = {
        "preflight": "Nothing was written anywhere. Mend what it names, and clear it.",
        "back_up": "The target is untouched. Clear it: it goes on with the backup that it started, or makes another.",
        "copy": "The target cluster is untouched. Clear it: it moves what is left.",
        "verify": "The target cluster is untouched. Look at what is damaged, and clear the copy or the backup.",
        "approve": "Nobody answered. Clear it to ask again; the backup is there.",
        "restore": "The source is untouched. Clear it: it restores what has not arrived. Or roll back.",
        "compare": "The source is untouched: go on using it. Look at the differences; clear it to compare again, or "
        "roll back (WeaviateRollBackRestoreOperator).",
        "roll_back": "Clear it: it deletes what the restore has brought, and nothing else.",
    }

    def execute(self, context: Context) -> dict[str, Any]:
        """Return what was done, or fail with how to go on."""
        states = self.states(context)
        plan, made = self.result_of(context, "preflight"), self.result_of(context, "back_up")
        result = {
            "outcome": self._outcome(states, plan),
            "backup_id": made.get("backup_id"),
            "collections": plan.get("collections", []),
            "source_url": plan.get("source_url"),
            "target_url": plan.get("target_url"),
            "node_mapping": plan.get("node_mapping", {}),
            "bytes_copied": self.result_of(context, "copy").get("bytes_moved", 0),
            "restore_seconds": self.result_of(context, "restore").get("seconds"),
            "comparison": self.result_of(context, "compare") or None,
            "rolled_back": self.result_of(context, "roll_back").get("collections", []),
        }
        for step, state in states.items():
            self.log.info("%s: %s", step, state)
        if failed := [step for step, state in states.items() if state == "failed"] or self._not_reached(states):
            context["ti"].xcom_push(key="report", value=result)
            advice = " ".join(f"{step}: {self.ADVICE[step]}" for step in failed)
            undone = f" Rolled back: {', '.join(result['rolled_back'])}." if result["rolled_back"] else ""
            raise AirflowFailException(f"The migration did not end well: {', '.join(failed)} failed.{undone} {advice}")
        self.log.info("%s: %s", result["outcome"], result)
        return result

    @staticmethod
    def _not_reached(states: Mapping[str, str]) -> list[str]:
        """Return the first step that was not taken, as something before it failed."""
        return [step for step, state in states.items() if state == "upstream_failed"][:1]

    @staticmethod
    def _outcome(states: Mapping[str, str], plan: Mapping[str, Any]) -> str:
        if any(state in _FAILED for state in states.values()):
            return "failed"
        if not plan.get("makes_backup"):
            return "planned"
        if not plan.get("restores"):
            return "prepared"
        return "migrated" if states["compare"] == "success" else "rejected"


class ReportDrillOperator(ReportOperator):
    """Tell how a restore drill went, and keep it beside the backup, in ``_vectorbackup/drill.json``.

    Returns (XCom) ``is_recoverable``, ``backup_id``, ``uri``, ``data_age_seconds`` (how old the backup is),
    ``restore_seconds``, ``compare_seconds``, ``recovery_seconds`` (both), ``at`` and ``comparison``. A drill that
    failed leaves the same as XCom ``report``.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Return how it went, or fail."""
        from airflow_provider_vectorbackup.actions.drill import keep_outcome
        from airflow_provider_vectorbackup.hooks.storage import open_store

        states, picked = self.states(context), self.result_of(context, "pick")
        result = self._result(context, states, picked)
        with airflow_errors():
            if backup_id := arguments.text(picked.get("backup_id")):
                keep_outcome(Location.parse(picked["location"]), backup_id, result, open_store)
        self.log.info("%s", result)
        if not result["is_recoverable"]:
            context["ti"].xcom_push(key="report", value=result)
            failed = [step for step, state in states.items() if state in _FAILED]
            raise AirflowFailException(
                f"The drill did not prove that {picked.get('uri') or 'a backup'} can be restored: "
                f"{', '.join(failed) or 'a step was skipped'}. Look at the logs of these tasks."
            )
        return result

    def _result(self, context: Context, states: Mapping[str, str], picked: Mapping[str, Any]) -> dict[str, Any]:
        restored, compared = self.result_of(context, "restore"), self.result_of(context, "compare")
        now, began = datetime.now(UTC), picked.get("started_at")
        taken = [step.get("seconds") for step in (restored, compared)]
        return {
            "is_recoverable": all(state == "success" for state in states.values()),
            "backup_id": picked.get("backup_id"),
            "uri": picked.get("uri"),
            "at": now.isoformat(timespec="seconds"),
            "data_age_seconds": round((now - datetime.fromisoformat(began)).total_seconds()) if began else None,
            "restore_seconds": restored.get("seconds"),
            "compare_seconds": compared.get("seconds"),
            "recovery_seconds": None if None in taken else round(sum(filter(None, taken)), 3),
            "comparison": compared or None,
        }
