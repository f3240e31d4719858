"""Delete backups by rules of retention; Weaviate has no call for that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import owner_of_run
from airflow_provider_vectorbackup.operators.errors import airflow_errors
from airflow_provider_vectorbackup.operators.killing import UnwindsWhenKilled
from airflow_provider_vectorbackup.operators.retention_arguments import RULE_ARGUMENTS, all_rules_of, duration, zone

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.actions.prune import PruneOrder
    from airflow_provider_vectorbackup.backups.pruning import PruneReport

_DAY = timedelta(days=1)
_MOST = 0.5
_IDS = '["nightly-1", "nightly-2"]'


class WeaviatePruneBackupsOperator(UnwindsWhenKilled, BaseOperator):
    """Delete the backups of a location that no rule keeps, and what failed backups have left there.

    The rules mean what restic and borg mean by them; a backup that one of them keeps is kept, with all the backups that
    it builds on. Only backups that can be restored count. The newest of these is never deleted, nor is what is in
    progress, young, being restored, copied or verified, locked, or not of Weaviate. What is deleted disappears from
    Weaviate first, and in whole; a task that was killed goes on where it was when it runs again.

    Returns (XCom): see :meth:`airflow_provider_vectorbackup.backups.pruning.PruneReport.summary`. Where something could
    not be deleted, or is locked, the same is the XCom ``report``, also if the task fails for it.

    :param location: where the backups lie, such as ``s3://aws_default@bucket/path``.
    :param keep_last: the newest so many.
    :param keep_within: all that are not older than the newest by more than this: ``30d``, ``8w``, ``1y6m``, ``12h``.
    :param keep_hourly: of the last so many hours that have backups, the newest each; -1 for all.
    :param keep_daily: likewise days; weeks, which begin on Monday, months and years.
    :param keep_weekly: see ``keep_daily``.
    :param keep_monthly: see ``keep_daily``.
    :param keep_yearly: see ``keep_daily``.
    :param min_count: so many of the newest are kept, whatever ``max_total_gib`` says.
    :param max_total_gib: of what is kept, the oldest beyond so many GiB are deleted.
    :param id_prefix: the rules are about ids that begin with this; all others are kept.
    :param rules: instead of all these: a list of such rules, each for an ``id_prefix`` of its own.
    :param timezone: whose hours, days, weeks, months and years are meant.
    :param pinned: ids that are kept.
    :param grace: younger backups are not touched, in seconds or as a timedelta.
    :param leftover_grace: likewise what failed, was canceled, hangs, or is part of no backup.
    :param delete_damaged: whether what says SUCCESS and can't be restored is deleted like what failed.
    :param max_delete_fraction: if more of the finished backups would be deleted, from 0 to 1, nothing is.
    :param only: ids, and keys of leftovers, that may be deleted, if the rules say so; all if not given.
    :param fail_on_locked: whether the task fails where the storage keeps what the rules give up.
    :param dry_run: whether to tell only what would be done.
    :param multiple_outputs: whether each key of the result is an XCom too.
    """

    template_fields: Sequence[str] = (
        "location",
        *RULE_ARGUMENTS,
        "rules",
        "timezone",
        "pinned",
        "grace",
        "leftover_grace",
        "delete_damaged",
        "max_delete_fraction",
        "only",
        "fail_on_locked",
        "dry_run",
    )
    template_fields_renderers = dict.fromkeys(("rules", "pinned", "only"), "json")
    ui_color = "#f6dbdb"

    def __init__(
        self,
        *,
        location: str,
        keep_last: int | str | None = None,
        keep_within: str | timedelta | None = None,
        keep_hourly: int | str | None = None,
        keep_daily: int | str | None = None,
        keep_weekly: int | str | None = None,
        keep_monthly: int | str | None = None,
        keep_yearly: int | str | None = None,
        min_count: int | str | None = None,
        max_total_gib: float | str | None = None,
        id_prefix: str | None = None,
        rules: list[dict[str, Any]] | str | None = None,
        timezone: str = "UTC",
        pinned: list[str] | str | None = None,
        grace: float | str | timedelta = _DAY,
        leftover_grace: float | str | timedelta = 7 * _DAY,
        delete_damaged: bool | str = False,
        max_delete_fraction: float | str = _MOST,
        only: list[str] | str | None = None,
        fail_on_locked: bool | str = False,
        dry_run: bool | str = False,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.location = location
        self.keep_last = keep_last
        self.keep_within = keep_within
        self.keep_hourly = keep_hourly
        self.keep_daily = keep_daily
        self.keep_weekly = keep_weekly
        self.keep_monthly = keep_monthly
        self.keep_yearly = keep_yearly
        self.min_count = min_count
        self.max_total_gib = max_total_gib
        self.id_prefix = id_prefix
        self.rules = rules
        self.timezone = timezone
        self.pinned = pinned
        self.grace = grace
        self.leftover_grace = leftover_grace
        self.delete_damaged = delete_damaged
        self.max_delete_fraction = max_delete_fraction
        self.only = only
        self.is_limited = only is not None
        self.fail_on_locked = fail_on_locked
        self.dry_run = dry_run  # type: ignore[method-assign, assignment] # Airflow's own only renders templates

    def execute(self, context: Context) -> dict[str, Any]:
        """Prune the location, and return what was deleted; fail if something could not be."""
        from airflow_provider_vectorbackup.actions.prune import plan_prune, prune
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with airflow_errors(), self.unwinding():
            fail_on_locked = arguments.flag("fail_on_locked", self.fail_on_locked)
            if arguments.flag("dry_run", self.dry_run):
                return plan_prune(self._order(context), open_store).summary()
            report = prune(self._order(context), open_store)
            summary = report.summary()
            if report.failed or report.locked:
                context["ti"].xcom_push(key="report", value=summary)
            report.require_done(fail_on_locked=fail_on_locked)
            return summary

    def _order(self, context: Context) -> PruneOrder:
        from airflow_provider_vectorbackup.actions.prune import PruneOrder
        from airflow_provider_vectorbackup.backups.retention import Retention

        only = arguments.names("only", self.only, example=_IDS)
        single = {name: getattr(self, name) for name in RULE_ARGUMENTS}
        most = self.max_delete_fraction
        pinned = arguments.names("pinned", self.pinned, example=_IDS)
        return PruneOrder(
            Location.parse(self.location),
            Retention(
                all_rules_of(single, self.rules, zone("timezone", self.timezone)),
                frozenset(require_legal_id(name) for name in pinned),
                duration("grace", self.grace, _DAY),
                duration("leftover_grace", self.leftover_grace, 7 * _DAY),
                delete_damaged=arguments.flag("delete_damaged", self.delete_damaged),
            ),
            arguments.fraction("max_delete_fraction", _MOST if arguments.text(most) is None else most),
            # A template that renders to nothing allows nothing.
            frozenset(only) if self.is_limited else None,
            owner_of_run(context),
        )


class PlanPruneOperator(WeaviatePruneBackupsOperator):
    """The first step of :func:`airflow_provider_vectorbackup.task_groups.prune_backups`: tell what would be deleted.

    Returns (XCom): as :class:`WeaviatePruneBackupsOperator`, the plan as a page, ``markdown``, and which of the next
    steps are to be taken: ``asks``, ``prunes``.

    :param approval: whether somebody is asked before anything is deleted.
    """

    template_fields: Sequence[str] = (*WeaviatePruneBackupsOperator.template_fields, "approval")

    def __init__(self, *, approval: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approval = approval

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan, and return what would be deleted; fail if that must not be."""
        from airflow_provider_vectorbackup.actions.prune import plan_prune
        from airflow_provider_vectorbackup.exceptions import PruneRefused
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with airflow_errors(), self.unwinding():
            asks = arguments.flag("approval", self.approval)
            is_dry = arguments.flag("dry_run", self.dry_run)
            # It is for the last step: told before somebody is asked.
            arguments.flag("fail_on_locked", self.fail_on_locked)
            report: PruneReport = plan_prune(self._order(context), open_store)
            if report.refused and not is_dry:
                raise PruneRefused(report.refused)
            prunes = bool(report.deleted) and not is_dry
            return report.summary() | {"markdown": report.markdown(), "asks": prunes and asks, "prunes": prunes}
