"""Operators: back up, restore, cancel, verify."""

from airflow_provider_vectorbackup.operators.cancel import WeaviateCancelBackupOperator
from airflow_provider_vectorbackup.operators.create import WeaviateCreateBackupOperator
from airflow_provider_vectorbackup.operators.restore import WeaviateRestoreBackupOperator
from airflow_provider_vectorbackup.operators.verify import WeaviateVerifyBackupOperator

__all__ = [
    "WeaviateCancelBackupOperator",
    "WeaviateCreateBackupOperator",
    "WeaviateRestoreBackupOperator",
    "WeaviateVerifyBackupOperator",
]
