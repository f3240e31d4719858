"""For users' tests: a Weaviate stand-in with fault injection.

As a fixture, opted into in a conftest.py: ``pytest_plugins = ["airflow_provider_vectorbackup.testing.fixtures"]``.
"""

from airflow_provider_vectorbackup.testing.stand_in import WeaviateStandIn

__all__ = ["WeaviateStandIn"]
