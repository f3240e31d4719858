"""Backups of the Weaviate vector database, run by Apache Airflow."""

__version__ = "0.1.0"
