"""Create a backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_vectorbackup.actions.memory import Memory
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import WeaviateOperationOperator, id_of_run

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.actions.backup import BackupOrder
    from airflow_provider_vectorbackup.actions.tenants import InactiveTenants
    from airflow_provider_vectorbackup.backups.outcome import Outcome
    from airflow_provider_vectorbackup.triggers.weaviate import WeaviateBackupTrigger
    from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


class WeaviateCreateBackupOperator(WeaviateOperationOperator):
    """Back up a Weaviate server, whole or in part, and follow the backup to its end.

    Everything is checked before the server is told to start: backend enabled, nodes healthy, collections there, base
    finished, tenants that would be left out. A retry attaches to the backup that an earlier try started; if that one
    failed, it starts another under an id with an attempt suffix. The id in use is the XCom ``backup_id``.

    Returns (XCom): see :func:`airflow_provider_vectorbackup.backups.operation.summary_of`.

    :param backup_id: the id; if not given, a function of Dag, task, run and map index, the same for every try.
    :param include: the collections to back up; wildcards ``*`` and ``?`` are expanded against the schema. A list, or
        the JSON text of one. If neither ``include`` nor ``exclude`` is given: all.
    :param exclude: the collections to leave out; not together with ``include``.
    :param include_users: the database users to back up, wildcards allowed (Weaviate 1.38.3 and later).
    :param include_roles: the custom roles to back up, wildcards allowed (Weaviate 1.38.10 and later).
    :param incremental_base_backup_id: a finished backup to build on, or ``latest`` for the newest
        one that shares most collections (a full backup if there is none). Weaviate 1.37 and later.
    :param compression: such as ``DefaultCompression``, ``BestSpeed``, ``ZstdDefaultCompression``, ``NoCompression``.
    :param inactive_tenants: about tenants that this server would leave out: ``warn``, ``fail``, or ``activate`` (and
        put back when the backup has ended).
    :param content_record: whether what the server holds is recorded just before the backup and just after it, and
        stored beside it: what a restore can be compared with, months later. Needs a location. Of tenants that are not
        active it tells nothing, unless they are activated. In the result: ``content``.
    :param if_exists: about a finished backup under an id that you chose and that this run did not make: ``fail`` or
        ``reuse``.

    All other parameters: :class:`~airflow_provider_vectorbackup.operators.base.WeaviateOperationOperator`.
    """

    template_fields: Sequence[str] = (
        "weaviate_conn_id",
        "backend",
        "backup_id",
        "include",
        "exclude",
        "include_users",
        "include_roles",
        "incremental_base_backup_id",
        "compression",
        "cpu_percentage",
        "bucket",
        "path",
        "location",
        "inactive_tenants",
        "content_record",
        "if_exists",
    )
    template_fields_renderers = dict.fromkeys(("include", "exclude", "include_users", "include_roles"), "json")
    ui_color = "#d9f2e3"
    kind = OperationKind.BACKUP

    def __init__(
        self,
        *,
        backup_id: str | None = None,
        include: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str | None = None,
        include_users: Sequence[str] | str | None = None,
        include_roles: Sequence[str] | str | None = None,
        incremental_base_backup_id: str | None = None,
        compression: str | None = None,
        inactive_tenants: str = "warn",
        content_record: bool | str = False,
        if_exists: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_id = backup_id
        self.include = include
        self.exclude = exclude
        self.include_users = include_users
        self.include_roles = include_roles
        self.incremental_base_backup_id = incremental_base_backup_id
        self.compression = compression
        self.inactive_tenants = inactive_tenants
        self.content_record = content_record
        self.if_exists = if_exists

    def begin(self, client: WeaviateClient, context: Context, memory: Memory) -> Operation:
        """Start the backup, or attach to it if an earlier try did."""
        from airflow_provider_vectorbackup.actions.backup import begin_backup
        from airflow_provider_vectorbackup.hooks.storage import open_store

        run_started_at = getattr(context.get("dag_run"), "start_date", None)
        return begin_backup(client, self._order(context), memory, run_started_at, open_store)

    def end(self, client: WeaviateClient, outcome: Outcome, memory: Memory) -> dict[str, Any]:
        """Put back tenants that were activated for the backup, and return the result."""
        from airflow_provider_vectorbackup.actions.backup import finish_backup
        from airflow_provider_vectorbackup.hooks.storage import open_store

        is_recorded = arguments.flag("content_record", self.content_record)
        return finish_backup(
            client, outcome, memory, open_store, content_of=self._inactive_tenants() if is_recorded else None
        )

    def trigger_class(self) -> type[WeaviateBackupTrigger]:
        """Return the trigger that waits for a backup."""
        from airflow_provider_vectorbackup.triggers.weaviate import WeaviateBackupTrigger

        return WeaviateBackupTrigger

    def _order(self, context: Context) -> BackupOrder:
        from airflow_provider_vectorbackup.actions.backup import BackupOrder, IfExists

        chosen_id = arguments.text(self.backup_id)
        address = self.address(chosen_id or id_of_run(context))
        inactive, records_content = self._inactive_tenants(), arguments.flag("content_record", self.content_record)
        if not self.wait_for_completion:
            self._require_no_end(inactive, records_content=records_content)
        return BackupOrder(
            address,
            id_is_chosen=chosen_id is not None,
            include=arguments.names("include", self.include),
            exclude=arguments.names("exclude", self.exclude),
            include_users=arguments.names("include_users", self.include_users),
            include_roles=arguments.names("include_roles", self.include_roles),
            incremental_base=arguments.text(self.incremental_base_backup_id),
            compression=arguments.text(self.compression),
            cpu_percentage=arguments.whole_number("cpu_percentage", self.cpu_percentage),
            location=self.hook.location(address.backend, arguments.text(self.location)),
            if_exists=arguments.choice("if_exists", self.if_exists, IfExists),
            inactive_tenants=inactive,
            records_content=records_content,
            timeout_seconds=arguments.seconds("timeout", self.timeout),
        )

    def _inactive_tenants(self) -> InactiveTenants:
        from airflow_provider_vectorbackup.actions.tenants import InactiveTenants

        return arguments.choice("inactive_tenants", self.inactive_tenants, InactiveTenants)

    @staticmethod
    def _require_no_end(inactive: InactiveTenants, *, records_content: bool) -> None:
        """Raise if something is to be done at the end of a backup that is not waited for."""
        if inactive == "activate":
            raise InvalidRequest(
                "inactive_tenants is 'activate', but wait_for_completion is off.",
                hint="The tenants are put back when the backup has ended, so this task must wait for it.",
            )
        if records_content:
            raise InvalidRequest(
                "content_record is set, but wait_for_completion is off.",
                hint="The second record is taken when the backup has ended, so this task must wait for it.",
            )
