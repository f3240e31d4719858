"""Bad input: one clear error each, before anything has started."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import requests

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import Unreachable
from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator, WeaviateRestoreBackupOperator
from tests.e2e.conftest import Lab, set_connection
from tests.e2e.running import context_of

CREATE: list[tuple[dict[str, Any], str]] = [
    ({"backup_id": "Nightly"}, "'Nightly' is not a backup id. Use lowercase letters"),
    ({"backup_id": "x" * 101}, "has 101 characters. Use at most 100"),
    ({"backend": "tape"}, "'tape' is not a backend. Use one of s3, gcs, azure, filesystem"),
    ({"backend": "azure"}, "Backend 'azure' is not enabled on this server (enabled: s3)"),
    ({"include": ["airport"]}, "There is no collection 'airport'. Did you mean 'Airport'?"),
    ({"include": ["Zz*"]}, "The pattern 'Zz*' of include matches no collection"),
    ({"include": ["Car"], "exclude": ["Barley"]}, "include and exclude are both given"),
    ({"exclude": ["*"]}, "There is no collection left to work on"),
    ({"include": '["Car"'}, "include is '[\"Car\"', which is not of the form"),
    ({"include": "['Car']"}, "render it with '| tojson'"),
    ({"include": '{"Car": 1}'}, "which is not of the form"),
    ({"cpu_percentage": 99}, "cpu_percentage is 99. Use a whole number from 1 to 80"),
    ({"compression": "Best"}, "compression is 'Best'. Use one of DefaultCompression"),
    ({"incremental_base_backup_id": "nothing"}, "The base 'nothing' is not there"),
    ({"location": "s3://elsewhere/lab"}, "is not where the server writes: bucket 'vectorbackup'"),
    ({"location": "gs://vectorbackup/lab"}, "can't be where backend 's3' writes"),
    ({"location": "s3://key:secret@vectorbackup/lab"}, "carries a password"),
    ({"inactive_tenants": "drop"}, "inactive_tenants is 'drop'. Use one of warn, fail, activate"),
    ({"inactive_tenants": "activate", "wait_for_completion": False}, "wait_for_completion is off"),
    ({"timeout": 0}, "timeout is 0"),
    ({"bucket": "no-such-bucket"}, "look at the bucket's name"),
]

RESTORE: list[tuple[dict[str, Any], str]] = [
    ({"backup_id": "../etc"}, "is not a backup id"),
    ({"backup_id": "nothing"}, "Backup 'nothing' on s3 is not there"),
    ({"backup_id": "x", "node_mapping": "w1=w2"}, "node_mapping is 'w1=w2', which is not of the form"),
    ({"backup_id": "x", "if_collection_exists": "replace"}, "Set allow_replace=True as well"),
    ({"backup_id": "x", "overwrite_alias": "maybe"}, "overwrite_alias is 'maybe'"),
]


def _listed(lab: Lab) -> list[Any]:
    answer = requests.get(f"{lab.source.url}/v1/backups/s3", timeout=10)
    answer.raise_for_status()
    entries: list[Any] = answer.json()
    return entries


@pytest.mark.parametrize(("arguments", "message"), CREATE, ids=[message[:40] for _, message in CREATE])
def test_create_says_what_is_wrong(lab: Lab, arguments: dict[str, Any], message: str) -> None:
    before = _listed(lab)
    operator = WeaviateCreateBackupOperator(task_id="backup", **arguments)
    with pytest.raises(AirflowFailException) as caught:
        operator.execute(context_of("bad"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(_listed(lab)) == len(before)


@pytest.mark.parametrize(("arguments", "message"), RESTORE, ids=[message[:40] for _, message in RESTORE])
def test_restore_says_what_is_wrong(lab: Lab, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException) as caught:
        WeaviateRestoreBackupOperator(task_id="restore", **arguments).execute(context_of("bad"))
    assert message in str(caught.value)


def test_host_down_is_left_to_a_retry(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    set_connection(monkeypatch, "gone", host="127.0.0.1", port=port, extra={"default_backend": "s3"})
    with pytest.raises(Unreachable, match=f"No answer from http://127.0.0.1:{port} to GET /meta.*refused"):
        WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="gone").execute(context_of("gone"))


def test_https_to_a_server_without_tls(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"default_backend": "s3", "http_secure": True}
    set_connection(monkeypatch, "tls", host="127.0.0.1", port=lab.source.port, extra=extra)
    with pytest.raises(AirflowFailException, match=r"does not speak TLS. Switch off http_secure"):
        WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="tls").execute(context_of("tls"))


def test_something_else_answers_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = lab.s3.endpoint.split(":")
    set_connection(monkeypatch, "other", host=host, port=int(port), extra={"default_backend": "s3"})
    with pytest.raises(AirflowFailException, match="Something else than Weaviate's REST API answers there"):
        WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="other").execute(context_of("other"))


def test_connection_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(Exception, match="no_such_connection"):
        WeaviateCreateBackupOperator(task_id="backup", weaviate_conn_id="no_such_connection").execute(
            context_of("none")
        )
