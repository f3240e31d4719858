"""The steps of a copy that several workers share, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_vectorbackup.actions.copy_ends import CopyOrder, opened
from airflow_provider_vectorbackup.actions.copy_plan import read_plan
from airflow_provider_vectorbackup.actions.copying import begin, ended, finish, move
from airflow_provider_vectorbackup.actions.evidence import OpenStore
from airflow_provider_vectorbackup.actions.leases import Release
from airflow_provider_vectorbackup.backups.copies import CopyResult, Method
from airflow_provider_vectorbackup.transfer.moving import Moved

_BETWEEN_TASKS_SECONDS = 3600.0
"""How long leases hold where no task of the copy runs: the next one may have to wait for a worker."""


def begin_shared(order: CopyOrder, open_store: OpenStore, workers: int) -> dict[str, Any]:
    """Plan a copy for several workers, and return what the other steps need, as JSON.

    The number of ``shares`` is 0 where there is nothing to move.

    :raises VectorBackupError: as :func:`~airflow_provider_vectorbackup.actions.copying.copy_backup`.
    """
    with opened(order, open_store, keep_seconds=_BETWEEN_TASKS_SECONDS, release=Release.ON_ERROR) as ends:
        plans, result = begin(ends)
        chunks = sum(len(plan.chunks) for plan in plans)
        return {
            "ids": [plan.backup_id for plan in plans],
            "chain": list(result.chain),
            "bytes_skipped": result.bytes_skipped,
            "method": result.method.value,
            "shares": min(workers, chunks),
        }


def move_shared(order: CopyOrder, open_store: OpenStore, plan: Mapping[str, Any], share: int) -> dict[str, int]:
    """Move a share, and return ``objects``, ``bytes_moved`` and ``bytes_skipped``.

    :raises VectorBackupError: as :func:`~airflow_provider_vectorbackup.actions.copying.copy_backup`.
    """
    with opened(order, open_store, keep_seconds=_BETWEEN_TASKS_SECONDS, release=Release.NEVER) as ends:
        ends.hold_chain(plan["chain"], changed=plan["ids"])
        moved, _ = move(ends, [read_plan(ends.target, name) for name in plan["ids"]], share, plan["shares"])
    return {"objects": moved.objects, "bytes_moved": moved.bytes_moved, "bytes_skipped": moved.bytes_skipped}


def finish_shared(
    order: CopyOrder,
    open_store: OpenStore,
    plan: Mapping[str, Any],
    moved: Iterable[Mapping[str, int]],
    seconds: float,
) -> CopyResult:
    """Check that all shares are in the target, and make the copies backups.

    :param moved: what the shares returned.
    :param seconds: since the copy began.
    :raises CopyIncomplete: something is missing.
    :raises VectorBackupError: as :func:`~airflow_provider_vectorbackup.actions.copying.copy_backup`.
    """
    told = list(moved)
    sums = Moved(*(sum(each[key] for each in told) for key in ("objects", "bytes_moved", "bytes_skipped")))
    with opened(order, open_store) as ends:
        ends.hold_chain(plan["chain"], changed=plan["ids"])
        plans = [read_plan(ends.target, name) for name in plan["ids"]]
        manifests = finish(ends, plans, {})
    result = CopyResult(
        order.backup_id,
        order.source.uri_of(order.backup_id),
        order.target.uri_of(order.backup_id),
        str(order.target),
        Method(plan["method"]),
        tuple(plan["chain"]),
        copied=tuple(plan["ids"]),
        bytes_skipped=plan["bytes_skipped"],
    )
    return ended(result, plans, sums, manifests, seconds)
