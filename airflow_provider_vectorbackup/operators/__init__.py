"""Operators: back up, restore, cancel."""

from airflow_provider_vectorbackup.operators.cancel import WeaviateCancelBackupOperator
from airflow_provider_vectorbackup.operators.create import WeaviateCreateBackupOperator
from airflow_provider_vectorbackup.operators.restore import WeaviateRestoreBackupOperator

__all__ = ["WeaviateCancelBackupOperator", "WeaviateCreateBackupOperator", "WeaviateRestoreBackupOperator"]
