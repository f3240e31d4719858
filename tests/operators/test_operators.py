"""The operators with a stand-in server; with real ones, and in real Dag runs, in tests/e2e."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.compat import AirflowFailException, AirflowSkipException
from airflow_provider_vectorbackup.exceptions import OperationFailed, OperationLost, ServerFault, ServerNotReady
from airflow_provider_vectorbackup.operators import (
    WeaviateCancelBackupOperator,
    WeaviateCreateBackupOperator,
    WeaviateRestoreBackupOperator,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.operators.contexts import TaskRun, deferred, fire

CREATE = "/backups/s3"


def create(**fields: Any) -> WeaviateCreateBackupOperator:
    return WeaviateCreateBackupOperator(task_id="backup", poll_interval=0.01, **fields)


def restore(**fields: Any) -> WeaviateRestoreBackupOperator:
    return WeaviateRestoreBackupOperator(task_id="restore", backup_id="x1", poll_interval=0.01, **fields)


@pytest.mark.usefixtures("server")
class TestCreate:
    def test_waiting(self, run: TaskRun) -> None:
        result = create(backup_id="x1").execute(run.context)
        assert (result["status"], result["collections"]) == ("SUCCESS", ["Article", "Author"])
        assert (result["backup_id"], run.xcoms["backup_id"]) == ("x1", "x1")
        assert json.loads(json.dumps(result)) == result

    def test_deferring_returns_the_same(self, run: TaskRun) -> None:
        operator = create(backup_id="x1", deferrable=True)
        trigger = deferred(operator, run)
        assert "kEy-0123456789" not in json.dumps(trigger.serialize())
        result = operator.execute_complete(run.context, fire(trigger).to_json())
        assert list(result) == list(create(backup_id="x2").execute(TaskRun().context))
        assert (result["status"], result["collections"]) == ("SUCCESS", ["Article", "Author"])

    def test_not_waiting(self, server: WeaviateStandIn, run: TaskRun) -> None:
        result = create(backup_id="x1", wait_for_completion=False).execute(run.context)
        assert (result["status"], result["uri"]) == ("STARTED", "s3://backups/x1")
        assert server.sent("GET", "/backups/s3/x1")[1:] == []

    def test_id_of_its_own_is_the_same_for_every_try(self, server: WeaviateStandIn, run: TaskRun) -> None:
        first, again = (create().execute(run.context) for _ in range(2))
        assert require_legal_id(first["backup_id"]).startswith("nightly-backup-manual-2026-11-22t03-00-00-00-00-")
        assert first == again
        assert len(server.sent("POST", CREATE)) == 1

    def test_mapped_tasks_have_ids_of_their_own(self) -> None:
        ids = {create().execute(TaskRun(map_index=index).context)["backup_id"] for index in (None, 0, 1)}
        assert len(ids) == 3

    def test_retry_after_a_failure(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.end_next("FAILED", "disk full")
        with pytest.raises(OperationFailed, match="disk full"):
            create(backup_id="x1").execute(run.context)
        result = create(backup_id="x1").execute(run.context)
        assert (result["backup_id"], result["attempts"], run.xcoms["backup_id"]) == ("x1-a2", 2, "x1-a2")

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"include": "Article"}, "include is 'Article', which is not of the form"),
            ({"include": ["Z*"]}, "matches no collection"),
            ({"backend": "gcs"}, "'gcs' is not enabled"),
            ({"backend": "S3"}, "'S3' is not a backend"),
            ({"backup_id": "Bad Id"}, "'Bad Id' is not a backup id"),
            ({"cpu_percentage": "lots"}, "cpu_percentage is 'lots'"),
            ({"if_exists": "replace"}, "if_exists is 'replace'"),
            ({"inactive_tenants": "ignore"}, "inactive_tenants is 'ignore'"),
            ({"inactive_tenants": "activate", "wait_for_completion": False}, "wait_for_completion is off"),
            ({"timeout": 0}, "timeout is 0"),
            ({"location": "gs://bucket"}, "can't be where backend 's3' writes"),
        ],
    )
    def test_what_can_not_pass_by_itself_fails_at_once(
        self, server: WeaviateStandIn, run: TaskRun, fields: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(AirflowFailException) as caught:
            create(**fields).execute(run.context)
        assert text in str(caught.value)
        assert server.sent("POST", CREATE) == []

    def test_what_may_pass_is_left_to_retries(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.nodes["node1"] = "UNHEALTHY"
        with pytest.raises(ServerNotReady):
            create().execute(run.context)
        server.nodes["node1"] = "HEALTHY"
        server.fail_next("POST", CREATE, status=500)
        with pytest.raises(ServerFault):
            create().execute(run.context)

    def test_missing_backend(self, server: WeaviateStandIn, run: TaskRun, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_WEAVIATE_DEFAULT", server.connection_json())
        with pytest.raises(AirflowFailException, match=r"No backend is given\. Set backend, or default_backend"):
            create().execute(run.context)

    def test_templated_texts_where_lists_are_meant(self, server: WeaviateStandIn, run: TaskRun) -> None:
        fields = {"include": '["Au*"]', "exclude": "[]", "cpu_percentage": "10", "bucket": "None", "path": ""}
        result = create(backup_id="x1", **fields).execute(run.context)
        assert result["collections"] == ["Author"]
        assert server.sent("POST", CREATE)[0].body["config"] == {"CPUPercentage": 10}

    def test_tenants_are_put_back_when_the_trigger_gives_up(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.version = "1.36.0"
        server.add_collection("Shop", {"a": "COLD"})
        operator = create(backup_id="x1", inactive_tenants="activate", deferrable=True)
        trigger = deferred(operator, run)
        assert server.collections["Shop"].tenants == {"a": "HOT"}
        outcome = fire(trigger).to_json() | {
            "status": None,
            "error": {"type": "OperationLost", "message": "Gone.", "hint": "", "backup_id": "x1"},
        }
        with pytest.raises(OperationLost):
            operator.execute_complete(run.context, outcome)
        assert server.collections["Shop"].tenants == {"a": "COLD"}


class TestRestore:
    @pytest.fixture(autouse=True)
    def backup(self, server: WeaviateStandIn) -> None:
        server.add_backup("x1", ["Article", "Author"])
        server.collections.clear()

    def test_waiting(self, server: WeaviateStandIn, run: TaskRun) -> None:
        result = restore().execute(run.context)
        assert (result["status"], result["collections"]) == ("SUCCESS", ["Article", "Author"])
        assert set(server.collections) == {"Article", "Author"}
        assert run.memory.kept == {}

    def test_deferring(self, server: WeaviateStandIn, run: TaskRun) -> None:
        operator = restore(deferrable=True)
        result = operator.execute_complete(run.context, fire(deferred(operator, run)).to_json())
        assert result["status"] == "SUCCESS"
        assert set(server.collections) == {"Article", "Author"}

    def test_nothing_to_restore_skips_the_task(self, server: WeaviateStandIn, run: TaskRun) -> None:
        for name in ("Article", "Author"):
            server.add_collection(name)
        with pytest.raises(AirflowSkipException, match="are there already"):
            restore(if_collection_exists="skip").execute(run.context)

    def test_failed_restore_is_retried(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.end_next("FAILED", "disk full")
        with pytest.raises(OperationFailed, match="disk full"):
            restore().execute(run.context)
        assert restore().execute(run.context)["attempts"] == 2

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"node_mapping": "old=new"}, "node_mapping is 'old=new'"),
            ({"if_collection_exists": "overwrite"}, "if_collection_exists is 'overwrite'"),
            ({"if_collection_exists": "replace"}, "Set allow_replace=True as well"),
            ({"overwrite_alias": "maybe"}, "overwrite_alias is 'maybe'"),
            ({"include": ["Nope"]}, "There is no collection 'Nope'"),
        ],
    )
    def test_what_can_not_be(self, server: WeaviateStandIn, run: TaskRun, fields: dict[str, Any], text: str) -> None:
        with pytest.raises(AirflowFailException, match=text):
            restore(**fields).execute(run.context)
        assert server.sent("POST", ".*") == []


class TestCancel:
    def test_running_backup(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.running_polls = None
        create(backup_id="x1", wait_for_completion=False).execute(run.context)
        operator = WeaviateCancelBackupOperator(task_id="cancel", backup_id="x1", poll_interval=0.01)
        assert operator.execute(run.context)["status"] == "CANCELED"

    def test_unknown_backup(self, server: WeaviateStandIn, run: TaskRun) -> None:
        with pytest.raises(AirflowFailException, match="404"):
            WeaviateCancelBackupOperator(task_id="cancel", backup_id="x1").execute(run.context)
        assert server.sent("DELETE", ".*") == []

    def test_unknown_operation(self, server: WeaviateStandIn, run: TaskRun) -> None:
        operator = WeaviateCancelBackupOperator(task_id="cancel", backup_id="x1", operation="copy")
        with pytest.raises(AirflowFailException, match=r"operation is 'copy'\. Use one of backup, restore"):
            operator.execute(run.context)
        assert server.requests == []
