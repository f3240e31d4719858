"""Sensors: wait for backups and restores that something else started, and watch that backups stay fresh."""

from airflow_provider_vectorbackup.sensors.freshness import WeaviateBackupFreshnessSensor
from airflow_provider_vectorbackup.sensors.weaviate import WeaviateBackupSensor, WeaviateRestoreSensor

__all__ = ["WeaviateBackupFreshnessSensor", "WeaviateBackupSensor", "WeaviateRestoreSensor"]
