"""Sensors: wait for backups and restores that something else started."""

from airflow_provider_vectorbackup.sensors.weaviate import WeaviateBackupSensor, WeaviateRestoreSensor

__all__ = ["WeaviateBackupSensor", "WeaviateRestoreSensor"]
