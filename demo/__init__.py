"""The demo: Airflow backs up a real Weaviate to a real S3 server and restores it into a second, empty one."""
