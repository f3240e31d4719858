"""pytest fixtures: ``pytest_plugins = ["airflow_provider_vectorbackup.testing.fixtures"]`` in a conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_vectorbackup.testing.stand_in import WeaviateStandIn


@pytest.fixture
def weaviate_stand_in() -> Iterator[WeaviateStandIn]:
    """Run an empty server of the newest version known here.

    To make it Airflow's connection: ``monkeypatch.setenv("AIRFLOW_CONN_WEAVIATE_DEFAULT", server.connection_json())``.
    """
    with WeaviateStandIn() as server:
        yield server
