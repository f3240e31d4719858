"""A server with roles: wrong keys, and a user who may back up one collection only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator
from tests.e2e.conftest import set_connection
from tests.e2e.running import context_of
from tests.services import dataset
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.process import wait_until
from tests.services.weaviate import ApiKeys, WeaviateNode, weaviate_server

KEYS = ApiKeys({"root": "root-key", "limited": "limited-key"}, rbac_root="root")


@pytest.fixture(scope="module")
def guarded(services_folder: Path, minio: S3Settings, airflow_db: Path) -> Iterator[WeaviateNode]:
    """A server whose user "limited" sees all collections and may back up Airport."""
    backups = [minio.weaviate_env(BUCKET, "guarded")]
    with weaviate_server(services_folder / "guarded", backups=backups, api_keys=KEYS) as node:
        dataset.load(node.url, KEYS.header())
        with _as_root(node) as root:
            permissions = [
                {"action": "manage_backups", "backups": {"collection": "Airport"}},
                {"action": "read_collections", "collections": {"collection": "*"}},
                {"action": "read_nodes", "nodes": {"verbosity": "minimal"}},
                {"action": "read_cluster"},
            ]
            role = {"name": "airports", "permissions": permissions}
            root.post(f"{node.url}/v1/authz/roles", json=role, timeout=10).raise_for_status()
            assign = {"roles": ["airports"], "userType": "db"}
            root.post(f"{node.url}/v1/authz/users/limited/assign", json=assign, timeout=10).raise_for_status()
        yield node


@contextmanager
def _as_root(node: WeaviateNode) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers.update(KEYS.header())
        yield session


def _connect(monkeypatch: pytest.MonkeyPatch, node: WeaviateNode, key: str | None) -> None:
    extra = {"default_backend": "s3"} | ({"token": key} if key else {})
    set_connection(monkeypatch, "guarded", host=node.host, port=node.port, extra=extra)


@pytest.mark.parametrize("key", [None, "wrong-key-of-somebody"])
def test_wrong_key(guarded: WeaviateNode, monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    _connect(monkeypatch, guarded, key)
    with pytest.raises(AirflowFailException, match=r"Weaviate answered 401 .* Look at the API key or token") as caught:
        WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="guarded").execute(context_of("wrong"))
    assert "wrong-key" not in str(caught.value)


def test_key_of_root(guarded: WeaviateNode, monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, guarded, "root-key")
    operator = WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="guarded", poll_interval=0.5)
    assert operator.execute(context_of("root"))["status"] == "SUCCESS"


def test_permitted_part(guarded: WeaviateNode, monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, guarded, "limited-key")
    operator = WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="guarded", include=["Air*"])
    assert operator.execute(context_of("part"))["collections"] == ["Airport"]


def test_forbidden_part(guarded: WeaviateNode, monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, guarded, "limited-key")
    operator = WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="guarded", include=["Car"])
    with pytest.raises(AirflowFailException, match=r"Weaviate answered 403 .*create_backups.* manage_backups"):
        operator.execute(context_of("forbidden"))


def test_narrowed_whole_fails_and_is_canceled(guarded: WeaviateNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 21: the server narrows "everything" to what the user may back up, and answers 200."""
    _connect(monkeypatch, guarded, "limited-key")
    operator = WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="guarded", backup_id="narrowed")
    with pytest.raises(AirflowFailException, match=r"Missing: Barley, Car.* lacks manage_backups"):
        operator.execute(context_of("narrowed"))
    with _as_root(guarded) as root:
        url = f"{guarded.url}/v1/backups/s3/narrowed"
        # A backup that small may be done before the cancellation reaches it; running on is what it must not do.
        ended = ("CANCELED", "SUCCESS")
        wait_until(lambda: root.get(url, timeout=10).json()["status"] in ended, 30, "the end of the narrowed backup")


def test_connection_test_says_what_is_enabled(guarded: WeaviateNode, monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, guarded, "root-key")
    ok, text = WeaviateBackupHook("guarded").test_connection()
    assert ok, text
    assert text == "Weaviate 1.39.2; backends enabled: s3; nodes: w1 HEALTHY."
    _connect(monkeypatch, guarded, "wrong-key-of-somebody")
    ok, text = WeaviateBackupHook("guarded").test_connection()
    assert not ok
    assert "401" in text
