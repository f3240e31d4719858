"""Restore a backup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_vectorbackup.actions.memory import Memory
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import WeaviateOperationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.actions.restore import RestoreOrder
    from airflow_provider_vectorbackup.backups.outcome import Outcome
    from airflow_provider_vectorbackup.triggers.weaviate import WeaviateRestoreTrigger
    from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


class WeaviateRestoreBackupOperator(WeaviateOperationOperator):
    """Restore a backup into a Weaviate server, whole or in part, and follow the restore to its end.

    Everything is checked before the server is told to start: backend enabled, nodes healthy, backup finished,
    collections in the way; and, where a location is known, by the backup's descriptors: bases, nodes, modules, aliases,
    versions. A retry attaches to the restore that an earlier try started.

    Returns (XCom): see :func:`airflow_provider_vectorbackup.backups.operation.summary_of`. The server tells no times
    of a restore.

    :param backup_id: the backup to restore.
    :param include: the collections to restore; wildcards ``*`` and ``?`` are expanded against the backup's list. A
        list, or the JSON text of one. If neither ``include`` nor ``exclude`` is given: all.
    :param exclude: the collections to leave out; not together with ``include``.
    :param node_mapping: names of the backup's nodes -> names of this cluster's nodes, where they differ. A mapping, or
        the JSON text of one.
    :param map_nodes: whether nodes of the backup that this cluster lacks, and ``node_mapping`` does not name, go to
        nodes that are free. Needs a location, to know the backup's nodes.
    :param overwrite_alias: whether an alias that exists is pointed to the restored collection.
    :param roles_options: ``noRestore`` (the server's default), or ``all``: replace the server's roles by the backup's.
    :param users_options: the same for database users.
    :param if_collection_exists: about collections that are there already: ``fail``, ``skip``, or ``replace`` (delete
        them first; needs ``allow_replace``).
    :param allow_replace: must be True as well for ``replace``.
    :param ignore_mismatch: whether to restore although the server lacks modules that collections use (generative ones,
        rerankers), or nodes for their replication factors. What needs them fails later. A vectorizer that it lacks is
        an obstacle in any case: the server can't restore the collection without.

    All other parameters: :class:`~airflow_provider_vectorbackup.operators.base.WeaviateOperationOperator`.
    """

    template_fields: Sequence[str] = (
        "weaviate_conn_id",
        "backend",
        "backup_id",
        "include",
        "exclude",
        "node_mapping",
        "map_nodes",
        "cpu_percentage",
        "overwrite_alias",
        "roles_options",
        "users_options",
        "bucket",
        "path",
        "location",
        "if_collection_exists",
        "allow_replace",
        "ignore_mismatch",
    )
    template_fields_renderers = dict.fromkeys(("include", "exclude", "node_mapping"), "json")
    ui_color = "#dbe9fb"
    kind = OperationKind.RESTORE

    def __init__(
        self,
        *,
        backup_id: str,
        include: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str | None = None,
        node_mapping: Mapping[str, str] | str | None = None,
        map_nodes: bool | str = False,
        overwrite_alias: bool | str = False,
        roles_options: str | None = None,
        users_options: str | None = None,
        if_collection_exists: str = "fail",
        allow_replace: bool | str = False,
        ignore_mismatch: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_id = backup_id
        self.include = include
        self.exclude = exclude
        self.node_mapping = node_mapping
        self.map_nodes = map_nodes
        self.overwrite_alias = overwrite_alias
        self.roles_options = roles_options
        self.users_options = users_options
        self.if_collection_exists = if_collection_exists
        self.allow_replace = allow_replace
        self.ignore_mismatch = ignore_mismatch

    def begin(self, client: WeaviateClient, context: Context, memory: Memory) -> Operation:
        """Start the restore, or attach to it if an earlier try did."""
        from airflow_provider_vectorbackup.actions.restore import begin_restore
        from airflow_provider_vectorbackup.hooks.storage import open_store

        return begin_restore(client, self._order(), memory, open_store)

    def end(self, client: WeaviateClient, outcome: Outcome, memory: Memory) -> dict[str, Any]:
        """Make sure that the end is this restore's own, and return the result."""
        from airflow_provider_vectorbackup.actions.restore_end import finish_restore
        from airflow_provider_vectorbackup.hooks.storage import open_store

        return finish_restore(client, outcome, memory, open_store)

    def trigger_class(self) -> type[WeaviateRestoreTrigger]:
        """Return the trigger that waits for a restore."""
        from airflow_provider_vectorbackup.triggers.weaviate import WeaviateRestoreTrigger

        return WeaviateRestoreTrigger

    def _order(self) -> RestoreOrder:
        from airflow_provider_vectorbackup.actions.obstacles import IfCollectionExists
        from airflow_provider_vectorbackup.actions.restore import RestoreOrder

        address = self.address(self.backup_id)
        return RestoreOrder(
            address,
            include=arguments.names("include", self.include),
            exclude=arguments.names("exclude", self.exclude),
            node_mapping=arguments.mapping("node_mapping", self.node_mapping),
            maps_nodes=arguments.flag("map_nodes", self.map_nodes),
            cpu_percentage=arguments.whole_number("cpu_percentage", self.cpu_percentage),
            overwrite_alias=arguments.flag("overwrite_alias", self.overwrite_alias),
            roles_options=arguments.text(self.roles_options),
            users_options=arguments.text(self.users_options),
            location=self.hook.location(address.backend, arguments.text(self.location)),
            if_collection_exists=arguments.choice(
                "if_collection_exists", self.if_collection_exists, IfCollectionExists
            ),
            allow_replace=arguments.flag("allow_replace", self.allow_replace),
            ignore_mismatch=arguments.flag("ignore_mismatch", self.ignore_mismatch),
            timeout_seconds=arguments.seconds("timeout", self.timeout),
        )
