"""Hooks: from an Airflow connection to a client. The only place that reads connections."""
