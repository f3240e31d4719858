"""The first and the last step of the task group for migrations: what is going to be done, and what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import id_of_run
from airflow_provider_vectorbackup.operators.errors import airflow_errors
from airflow_provider_vectorbackup.operators.killing import UnwindsWhenKilled

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.actions.migration import End, MigrationOrder
    from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


class PlanMigrationOperator(UnwindsWhenKilled, BaseOperator):
    """Look at both clusters, and fail with all that keeps one from being migrated to the other; write nothing.

    Part of :func:`airflow_provider_vectorbackup.task_groups.migrate_environment`, which documents the parameters.

    Returns (XCom): see :meth:`airflow_provider_vectorbackup.backups.migration.MigrationPlan.summary`, and which of the
    next steps are to be taken: ``makes_backup``, ``is_copied``, ``restores``, ``asks``, ``rolls_back``.
    """

    template_fields: Sequence[str] = (
        "source",
        "target",
        "source_backend",
        "target_backend",
        "source_location",
        "target_location",
        "include",
        "exclude",
        "node_mapping",
        "incremental_base",
        "compression",
        "roles_options",
        "users_options",
        "ignore_mismatch",
        "overwrite_alias",
        "inactive_tenants",
        "verify_level",
        "strict",
        "min_recall",
        "approval",
        "dry_run",
        "prepare_only",
        "rollback",
    )
    template_fields_renderers = dict.fromkeys(("include", "exclude", "node_mapping"), "json")
    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        source: str,
        target: str,
        source_backend: str | None = None,
        target_backend: str | None = None,
        source_location: str | None = None,
        target_location: str | None = None,
        include: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str | None = None,
        node_mapping: Mapping[str, str] | str | None = None,
        incremental_base: str | None = None,
        compression: str | None = None,
        roles_options: str | None = None,
        users_options: str | None = None,
        ignore_mismatch: bool | str = False,
        overwrite_alias: bool | str = False,
        inactive_tenants: str = "warn",
        verify_level: str = "deep",
        strict: bool | str = False,
        min_recall: float | str = 0.95,
        approval: bool | str = False,
        dry_run: bool | str = False,
        prepare_only: bool | str = False,
        rollback: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=True, **kwargs)
        self.source = source
        self.target = target
        self.source_backend = source_backend
        self.target_backend = target_backend
        self.source_location = source_location
        self.target_location = target_location
        self.include = include
        self.exclude = exclude
        self.node_mapping = node_mapping
        self.incremental_base = incremental_base
        self.compression = compression
        self.roles_options = roles_options
        self.users_options = users_options
        self.ignore_mismatch = ignore_mismatch
        self.overwrite_alias = overwrite_alias
        self.inactive_tenants = inactive_tenants
        self.verify_level = verify_level
        self.strict = strict
        self.min_recall = min_recall
        self.approval = approval
        self.dry_run = dry_run  # type: ignore[method-assign, assignment] # Airflow's own only renders templates
        self.prepare_only = prepare_only
        self.rollback = rollback

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan the migration, and return the plan."""
        from airflow_provider_vectorbackup.actions.migration import plan_migration
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with airflow_errors(), self.unwinding():
            makes_backup = not arguments.flag("dry_run", self.dry_run)
            restores = makes_backup and not arguments.flag("prepare_only", self.prepare_only)
            asks = restores and arguments.flag("approval", self.approval)
            rolls_back = restores and arguments.flag("rollback", self.rollback)
            order = self._order(context)
            self._require_meant()
            source, target = WeaviateBackupHook(self.source), WeaviateBackupHook(self.target)
            with source.open_client() as one, target.open_client() as other:
                plan = plan_migration(
                    self._end(source, one, self.source_backend, self.source_location),
                    self._end(target, other, self.target_backend, self.target_location),
                    order,
                    open_store,
                )
        self.log.info("The plan:\n%s", plan.in_markdown())
        steps = {"makes_backup": makes_backup, "restores": restores, "asks": asks, "rolls_back": rolls_back}
        return plan.summary() | steps

    def _require_meant(self) -> None:
        """Raise for what a later step would not take."""
        from airflow_provider_vectorbackup.backups.verification import Level

        arguments.choice("verify_level", self.verify_level, Level)
        arguments.flag("strict", self.strict)
        arguments.fraction("min_recall", self.min_recall)

    def _order(self, context: Context) -> MigrationOrder:
        from airflow_provider_vectorbackup.actions.migration import MigrationOrder
        from airflow_provider_vectorbackup.actions.tenants import InactiveTenants

        inactive = arguments.choice("inactive_tenants", self.inactive_tenants, InactiveTenants)
        return MigrationOrder(
            id_of_run(context),
            include=arguments.names("include", self.include),
            exclude=arguments.names("exclude", self.exclude),
            node_mapping=arguments.mapping("node_mapping", self.node_mapping),
            incremental_base=arguments.text(self.incremental_base),
            compression=arguments.text(self.compression),
            overwrite_alias=arguments.flag("overwrite_alias", self.overwrite_alias),
            roles_options=arguments.text(self.roles_options),
            users_options=arguments.text(self.users_options),
            ignore_mismatch=arguments.flag("ignore_mismatch", self.ignore_mismatch),
            forbids_inactive=inactive is InactiveTenants.FAIL,
        )

    @staticmethod
    def _end(hook: WeaviateBackupHook, client: WeaviateClient, backend: str | None, location: str | None) -> End:
        from airflow_provider_vectorbackup.actions.migration import End
        from airflow_provider_vectorbackup.backups.locations import Location

        chosen = hook.backend(arguments.text(backend))
        uri = hook.location(chosen, arguments.text(location))
        return End(client, chosen, Location.parse(uri) if uri else None)
