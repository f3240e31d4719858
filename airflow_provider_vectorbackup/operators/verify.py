"""Verify a backup, offline."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.backups.bases import LATEST
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.verification import Level
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import owner_of_run
from airflow_provider_vectorbackup.operators.errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.backups.verification import Report
    from airflow_provider_vectorbackup.storage.store import Store


class WeaviateVerifyBackupOperator(BaseOperator):
    """Verify from what lies in storage that a backup can be restored; without a server. Else fail with a list why not.

    ``quick`` compares one listing with the descriptors: every object of the backup and of all its bases is there, with
    a size that it can have. ``deep`` also reads, decompresses and unpacks, in memory, every chunk that a restore would
    read: every file that the descriptors list is there, with its size, and the codec's checksums hold; where a checksum
    manifest lies beside the backup, its checksums do, too. A backup made with NoCompression has none of its own: then
    the result says so (``unchecked``).

    Returns (XCom): see :meth:`airflow_provider_vectorbackup.backups.verification.Report.summary`. A task that fails for
    damage leaves the same as XCom ``report``.

    :param location: where the backup lies, such as ``s3://aws_default@bucket/path``.
    :param backup_id: the backup, or ``latest``: the newest that says SUCCESS.
    :param level: ``quick`` or ``deep``.
    :param store_report: whether the whole report is stored as JSON beside the backup, in its folder ``_vectorbackup``.
    :param threads: how many chunks are read side by side by ``deep``; each takes some 10 MB of memory.
    :param multiple_outputs: whether each key of the result is an XCom too.
    """

    template_fields: Sequence[str] = ("location", "backup_id", "level", "store_report", "threads")
    ui_color = "#e2f0d9"

    def __init__(
        self,
        *,
        location: str,
        backup_id: str = LATEST,
        level: str = "quick",
        store_report: bool | str = False,
        threads: int | str = 4,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.location = location
        self.backup_id = backup_id
        self.level = level
        self.store_report = store_report
        self.threads = threads

    def execute(self, context: Context) -> dict[str, Any]:
        """Verify the backup, and return the report's summary; fail if it is damaged."""
        from airflow_provider_vectorbackup.actions.verify import require_threads
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with airflow_errors():
            location = Location.parse(self.location)
            level = arguments.choice("level", self.level, Level)
            threads = require_threads(arguments.whole_number("threads", self.threads) or 0)
            is_stored = arguments.flag("store_report", self.store_report)
            with closing(open_store(location)) as store:
                report, summary = self._verified(context, store, location, level, threads, is_stored=is_stored)
            if report.damage:
                context["ti"].xcom_push(key="report", value=summary)
            report.require_whole()
            return summary

    def _verified(
        self, context: Context, store: Store, location: Location, level: Level, threads: int, *, is_stored: bool
    ) -> tuple[Report, dict[str, Any]]:
        from airflow_provider_vectorbackup.actions.freshness import find_latest
        from airflow_provider_vectorbackup.actions.leases import Holder
        from airflow_provider_vectorbackup.actions.verify import store_report, verify_held

        backup_id = arguments.text(self.backup_id)
        if backup_id == LATEST:
            backup_id = find_latest(store, location)
        holder = Holder(owner_of_run(context), "verify")
        report = verify_held(store, location, backup_id or "", level, holder, threads=threads)
        for finding in report.warnings:
            self.log.warning("%s", finding)
        self.log.info("%s", report.in_words())
        stored_at = store_report(store, report) if is_stored else None
        return report, report.summary() | {"report_key": stored_at}
