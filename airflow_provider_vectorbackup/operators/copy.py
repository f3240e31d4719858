"""Copy a backup from one location to another: in one task, or in three steps that several workers share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.backups.bases import LATEST
from airflow_provider_vectorbackup.backups.copies import Method, OnConflict
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.compat import memory_of
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import owner_of_run
from airflow_provider_vectorbackup.operators.errors import airflow_errors
from airflow_provider_vectorbackup.operators.killing import UnwindsWhenKilled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

    from airflow_provider_vectorbackup.actions.copy_ends import CopyOrder

_MEBIBYTE = 2**20


class CopyTask(UnwindsWhenKilled, BaseOperator):
    """What every task of a copy can be told.

    :param backup_id: the backup, or ``latest``: the newest of the source that says SUCCESS.
    :param source: the location that it lies in, such as ``s3://aws_default@bucket/path``.
    :param target: the location that it goes to, under the same id.
    :param method: ``streamed`` through the worker, ``server_side`` inside the storage, or ``auto``: server-side where
        both locations are of one scheme and one connection.
    :param on_conflict: what to do where the target holds something else under the id: ``fail``, or ``replace`` it.
    :param threads: how many objects, or parts of them, are on their way at a time.
    :param buffer_mib: the most memory, in MiB, for what is on its way.
    :param max_mib_per_second: a bound on the rate, in MiB a second; none if not given.
    :param dry_run: whether to tell only what would be done.
    :param multiple_outputs: whether each key of the result is an XCom too.
    """

    template_fields: Sequence[str] = (
        "backup_id",
        "source",
        "target",
        "method",
        "on_conflict",
        "threads",
        "buffer_mib",
        "max_mib_per_second",
        "dry_run",
    )
    ui_color = "#dbe9f6"

    is_shared = False
    """Whether other tasks of the same group take part, and hold the same leases."""

    def __init__(
        self,
        *,
        source: str,
        target: str,
        backup_id: str = LATEST,
        method: str = "auto",
        on_conflict: str = "fail",
        threads: int | str = 8,
        buffer_mib: int | str = 128,
        max_mib_per_second: float | str | None = None,
        dry_run: bool | str = False,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.backup_id = backup_id
        self.source = source
        self.target = target
        self.method = method
        self.on_conflict = on_conflict
        self.threads = threads
        self.buffer_mib = buffer_mib
        self.max_mib_per_second = max_mib_per_second
        self.dry_run = dry_run  # type: ignore[method-assign, assignment] # Airflow's own only renders templates

    @contextmanager
    def copying(self, context: Context) -> Iterator[CopyOrder]:
        """Yield what is to be copied, and how; in there, errors become Airflow's, and a kill unwinds."""
        with airflow_errors(), self.unwinding():
            yield self._order(context)

    def _order(self, context: Context) -> CopyOrder:
        from airflow_provider_vectorbackup.actions.copy_ends import CopyOrder

        rate = self.max_mib_per_second
        return CopyOrder(
            arguments.text(self.backup_id) or LATEST,
            Location.parse(self.source),
            Location.parse(self.target),
            arguments.choice("method", self.method, Method),
            arguments.choice("on_conflict", self.on_conflict, OnConflict),
            threads=arguments.whole_number("threads", self.threads) or 0,
            buffer_bytes=arguments.positive("buffer_mib", self.buffer_mib) * _MEBIBYTE,
            bytes_per_second=arguments.number("max_mib_per_second", rate) * _MEBIBYTE if arguments.text(rate) else None,
            owner=self._owner(context),
        )

    def _owner(self, context: Context) -> str:
        """Return the same for every try, and for all tasks that share a copy."""
        ti = context["ti"]
        if not self.is_shared:
            return owner_of_run(context)
        return f"Dag {ti.dag_id}, run {ti.run_id}, {ti.task_id.rpartition('.')[0]}".strip(", ")


class WeaviateCopyBackupOperator(CopyTask):
    """Copy a backup with all of its bases to another location, where a server can restore it from.

    What the target has already, and is proven equal, is left alone. Weaviate sees the copy once it is whole, and not
    before. A task that was killed goes on where it was when it runs again. The checksum of each object lies beside the
    copy, in ``_vectorbackup/manifest.json``.

    Returns (XCom): see :meth:`airflow_provider_vectorbackup.backups.copies.CopyResult.summary`.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Copy the backup, and return what was done."""
        from airflow_provider_vectorbackup.actions.copying import copy_backup, named, plan_copy
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with self.copying(context) as given, named(given, open_store, memory_of(context)) as order:
            run = plan_copy if arguments.flag("dry_run", self.dry_run) else copy_backup
            return run(order, open_store).summary()


class PlanCopyOperator(CopyTask):
    """The first step of :func:`airflow_provider_vectorbackup.task_groups.copy_backup`: find out what is to be moved.

    Returns (XCom) the shares, one number a worker: only over what is returned can a task be mapped. What else the other
    steps need is under the XCom keys ``backup_id`` and ``plan``.

    :param workers: how many workers are to share the copy.
    """

    template_fields: Sequence[str] = (*CopyTask.template_fields, "workers")
    is_shared = True

    def __init__(self, *, workers: int | str = 1, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=False, **kwargs)
        self.workers = workers

    def execute(self, context: Context) -> list[int]:
        """Plan the copy, and return its shares."""
        from airflow_provider_vectorbackup.actions.copying import named, plan_copy
        from airflow_provider_vectorbackup.actions.shared_copying import begin_shared
        from airflow_provider_vectorbackup.hooks.storage import open_store

        began_at = time.time()
        with self.copying(context) as given, named(given, open_store, memory_of(context)) as order:
            workers = arguments.positive("workers", self.workers)
            if arguments.flag("dry_run", self.dry_run):
                plan: dict[str, Any] = {"shares": 0, "summary": plan_copy(order, open_store).summary()}
            else:
                plan = begin_shared(order, open_store, workers) | {"began_at": began_at}
        context["ti"].xcom_push("backup_id", order.backup_id)
        context["ti"].xcom_push("plan", plan)
        return list(range(plan["shares"]))


class CopyShareOperator(CopyTask):
    """The second step: move a share of the chunks. Mapped over the shares; a try does only what is left of its share.

    :param share: its number.
    :param plan: the first step's XCom ``plan``.
    """

    template_fields: Sequence[str] = (*CopyTask.template_fields, "share", "plan")
    is_shared = True

    def __init__(self, *, share: int, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share = share
        self.plan = plan

    def execute(self, context: Context) -> dict[str, Any]:
        """Move the share, and return how much that was."""
        from airflow_provider_vectorbackup.actions.shared_copying import move_shared
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with self.copying(context) as order:
            return move_shared(order, open_store, _mapping(self.plan), int(self.share))


class FinishCopyOperator(CopyTask):
    """The last step: check that all shares are there, and make the copy a backup.

    Returns (XCom): as :class:`WeaviateCopyBackupOperator`.

    :param plan: the first step's XCom ``plan``.
    :param moved: what the second ones returned.
    """

    template_fields: Sequence[str] = (*CopyTask.template_fields, "plan", "moved")
    is_shared = True

    def __init__(self, *, plan: Any, moved: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.moved = moved

    def execute(self, context: Context) -> dict[str, Any]:
        """Finish the copy, and return what was done."""
        from airflow_provider_vectorbackup.actions.shared_copying import finish_shared
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with self.copying(context) as order:
            plan = _mapping(self.plan)
            if "summary" in plan:
                return dict(plan["summary"])
            moved: Iterable[Mapping[str, int]] = [each for each in self.moved or () if each]
            return finish_shared(order, open_store, plan, moved, time.time() - plan["began_at"]).summary()


def _mapping(plan: Any) -> dict[str, Any]:
    if not isinstance(plan, Mapping):
        raise InvalidRequest("There is no plan to go by.", hint="Clear the task that planned the copy, with the rest.")
    return dict(plan)
