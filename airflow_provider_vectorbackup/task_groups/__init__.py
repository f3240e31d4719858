"""Task groups: ready-made chains of tasks."""

from airflow_provider_vectorbackup.task_groups.copy import copy_backup

__all__ = ["copy_backup"]
