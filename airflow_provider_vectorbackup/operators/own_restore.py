"""Restore with a record of what was restored, and take exactly that back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.actions.memory import FollowedOperation, Memory
from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.operation import Operation, root_of, summary_of
from airflow_provider_vectorbackup.backups.slot import SlotWait
from airflow_provider_vectorbackup.backups.status import OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import InvalidRequest, NothingToRestore
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import OnServer
from airflow_provider_vectorbackup.operators.errors import airflow_errors
from airflow_provider_vectorbackup.operators.killing import UnwindsWhenKilled
from airflow_provider_vectorbackup.operators.restore import WeaviateRestoreBackupOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.backups.outcome import Outcome
    from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


class OwnRestoreOperator(WeaviateRestoreBackupOperator):
    """Restore a backup, and keep on record what that brings; part of the task groups for migrations and drills.

    A try after a failed one restores what has not arrived yet. ``WeaviateRollBackRestoreOperator`` takes all of it
    back.
    """

    def begin(self, client: WeaviateClient, context: Context, memory: Memory) -> Operation:
        """Start the restore of what is not there yet, or attach to it if an earlier try did."""
        from airflow_provider_vectorbackup.actions.own_restore import Own, begin_own_restore
        from airflow_provider_vectorbackup.hooks.storage import open_store

        owner = f"Dag {self.dag_id}, run {context['ti'].run_id}, {self.task_id}"
        return begin_own_restore(client, self._order(), Own(memory, open_store, owner))

    def end(self, client: WeaviateClient, outcome: Outcome, memory: Memory) -> dict[str, Any]:
        """Keep on record what has arrived, and return the result, with the ``seconds`` that the restore took."""
        from airflow_provider_vectorbackup.actions.own_restore import Own, finish_own_restore
        from airflow_provider_vectorbackup.hooks.storage import open_store

        return finish_own_restore(client, outcome, Own(memory, open_store))

    def _run(self, context: Context, slot: SlotWait, followed: FollowedOperation) -> dict[str, Any]:
        try:
            return super()._run(context, slot, followed)
        except NothingToRestore as error:
            self.log.info("%s", error)
            address = self.address(self.backup_id)
            location = self.hook.location(address.backend, arguments.text(self.location))
            operation = Operation(OperationKind.RESTORE, address, location=location)
            done = summary_of(operation, OperationStatus(OperationKind.RESTORE, Status.SUCCESS))
            return done | {"seconds": None}


class WeaviateRollBackRestoreOperator(UnwindsWhenKilled, OnServer, BaseOperator):
    """Delete from a cluster the collections and aliases that a migration or a drill has restored, and nothing else.

    What that is lies on record beside the backup. A restore that still runs is canceled first. Where nothing is on
    record, nothing is deleted, and that is no error. Users and roles that were replaced stay so.

    Returns (XCom): see :func:`airflow_provider_vectorbackup.actions.own_restore.roll_back`.

    :param backup_id: the backup that was restored.
    :param weaviate_conn_id: the connection to the cluster that it was restored into.
    :param backend: as for the restore; the connection's default if not given.
    :param location: where the backup lies, as a worker reaches it; the connection's if not given.
    :param bucket: as for the restore; as ``path``.
    :param multiple_outputs: whether each key of the result is an XCom too.
    """

    template_fields: Sequence[str] = ("backup_id", "weaviate_conn_id", "backend", "location", "bucket", "path")
    ui_color = "#fbe1db"

    def __init__(
        self,
        *,
        backup_id: str,
        weaviate_conn_id: str = WeaviateBackupHook.default_conn_name,
        backend: str | None = None,
        location: str | None = None,
        bucket: str | None = None,
        path: str | None = None,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.backup_id = backup_id
        self.weaviate_conn_id = weaviate_conn_id
        self.backend = backend
        self.location = location
        self.bucket = bucket
        self.path = path

    def execute(self, context: Context) -> dict[str, Any]:
        """Roll back, and return what was deleted."""
        from airflow_provider_vectorbackup.actions.own_restore import roll_back
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with airflow_errors(), self.unwinding():
            if arguments.text(self.backup_id) is None:
                # The group failed before there was a backup.
                self.log.info("There is no backup, so nothing was restored.")
                return {"backup_id": None, "collections": [], "aliases": [], "kept": []}
            address = self.address(require_legal_id(self.backup_id))
            root = root_of(self.hook.location(address.backend, arguments.text(self.location)), address)
            with self.hook.open_client() as client:
                return roll_back(client, self._known(root), address, open_store)

    def _known(self, root: Location | None) -> Location:
        if root is None:
            raise InvalidRequest(
                "Where the backup lies is not known, and with it what was restored.",
                hint="Give location, or a location for the backend in the connection.",
            )
        return root
