"""Task groups: ready-made chains of tasks."""

from airflow_provider_vectorbackup.task_groups.copy import copy_backup
from airflow_provider_vectorbackup.task_groups.drill import restore_drill
from airflow_provider_vectorbackup.task_groups.migrate import migrate_environment
from airflow_provider_vectorbackup.task_groups.prune import prune_backups

__all__ = ["copy_backup", "migrate_environment", "prune_backups", "restore_drill"]
