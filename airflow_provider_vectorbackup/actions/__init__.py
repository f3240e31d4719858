"""Use cases, without Airflow: back up, restore, cancel, wait."""
