"""Operators: back up, restore, cancel, verify, copy, prune; record and compare contents, roll back."""

from airflow_provider_vectorbackup.operators.cancel import WeaviateCancelBackupOperator
from airflow_provider_vectorbackup.operators.content import (
    WeaviateCompareContentOperator,
    WeaviateContentRecordOperator,
)
from airflow_provider_vectorbackup.operators.copy import WeaviateCopyBackupOperator
from airflow_provider_vectorbackup.operators.create import WeaviateCreateBackupOperator
from airflow_provider_vectorbackup.operators.own_restore import WeaviateRollBackRestoreOperator
from airflow_provider_vectorbackup.operators.prune import WeaviatePruneBackupsOperator
from airflow_provider_vectorbackup.operators.restore import WeaviateRestoreBackupOperator
from airflow_provider_vectorbackup.operators.verify import WeaviateVerifyBackupOperator

__all__ = [
    "WeaviateCancelBackupOperator",
    "WeaviateCompareContentOperator",
    "WeaviateContentRecordOperator",
    "WeaviateCopyBackupOperator",
    "WeaviateCreateBackupOperator",
    "WeaviatePruneBackupsOperator",
    "WeaviateRestoreBackupOperator",
    "WeaviateRollBackRestoreOperator",
    "WeaviateVerifyBackupOperator",
]
