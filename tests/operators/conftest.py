from __future__ import annotations

import pytest

from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.operators.contexts import TaskRun


@pytest.fixture
def server(weaviate_stand_in: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch) -> WeaviateStandIn:
    """One that the default connection names; it wants a key, which must never be seen."""
    weaviate_stand_in.api_keys.add("kEy-0123456789")
    for name in ("Article", "Author"):
        weaviate_stand_in.add_collection(name)
    connection = weaviate_stand_in.connection_json(default_backend="s3")
    monkeypatch.setenv("AIRFLOW_CONN_WEAVIATE_DEFAULT", connection)
    return weaviate_stand_in


@pytest.fixture
def run() -> TaskRun:
    return TaskRun()
