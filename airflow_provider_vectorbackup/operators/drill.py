"""The first step of the task group for restore drills: which backup is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context


class PickRestorePointOperator(BaseOperator):
    """Pick a backup to try: one that can be restored, and has content records to compare with.

    Part of :func:`airflow_provider_vectorbackup.task_groups.restore_drill`, which documents the parameters.

    Returns (XCom): see :func:`airflow_provider_vectorbackup.actions.drill.pick_restore_point`.
    """

    template_fields: Sequence[str] = ("location", "scratch_conn_id", "pick", "backend", "id_prefix")
    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        location: str,
        scratch_conn_id: str,
        pick: str = "latest",
        backend: str | None = None,
        id_prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=True, **kwargs)
        self.location = location
        self.scratch_conn_id = scratch_conn_id
        self.pick = pick
        self.backend = backend
        self.id_prefix = id_prefix

    def execute(self, context: Context) -> dict[str, Any]:
        """Pick a backup, and return it."""
        from airflow_provider_vectorbackup.actions.drill import DrillOrder, pick_restore_point
        from airflow_provider_vectorbackup.backups.locations import SCHEME_BY_BACKEND
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with airflow_errors():
            location, hook = Location.parse(self.location), WeaviateBackupHook(self.scratch_conn_id)
            of_scheme = {scheme: backend for backend, scheme in SCHEME_BY_BACKEND.items()}
            order = DrillOrder(
                location,
                hook.backend(arguments.text(self.backend) or of_scheme[location.scheme]),
                arguments.text(self.pick) or "latest",
                seed=f"{context['ti'].dag_id} {context['ti'].run_id}",
                id_prefix=arguments.text(self.id_prefix) or "",
            )
            with hook.open_client() as client:
                return pick_restore_point(client, order, open_store) | {"backend": order.backend}
