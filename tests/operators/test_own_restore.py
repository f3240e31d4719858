"""Restores that are kept on record, and their roll-back, as tasks; what they do is tested in tests/actions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from airflow.sdk import DAG, Context

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import OperationFailed, ServerNotReady
from airflow_provider_vectorbackup.operators import WeaviateRestoreBackupOperator
from airflow_provider_vectorbackup.operators.own_restore import OwnRestoreOperator, WeaviateRollBackRestoreOperator
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.triggers.weaviate import WeaviateRestoreTrigger
from tests.meanwhile import started_when
from tests.operators.contexts import Log, TaskRun, deferred, fire, trigger_of

RESTORE = "/backups/filesystem/x1/restore"
NOTHING: dict[str, Any] = {"collections": [], "aliases": [], "kept": []}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, server: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where backups of the default connection lie: a directory, with a backup of what the server had."""
    extra = {"default_backend": "filesystem", "filesystem_location": f"file://{tmp_path}"}
    monkeypatch.setenv("AIRFLOW_CONN_WEAVIATE_DEFAULT", server.connection_json(**extra))
    server.aliases["Story"] = "Article"
    server.add_backup("x1", ["Article", "Author"], backend="filesystem").aliases["Story"] = "Article"
    server.collections.clear()
    server.aliases.clear()
    return tmp_path


def records(place: Path) -> list[Path]:
    return list(place.glob("x1/_vectorbackup/restored-*.json"))


def restore(**fields: Any) -> OwnRestoreOperator:
    with DAG("migrations", schedule=None):
        return OwnRestoreOperator(task_id="restore", backup_id="x1", poll_interval=0.01, **fields)


def roll_back(**fields: Any) -> WeaviateRollBackRestoreOperator:
    return WeaviateRollBackRestoreOperator(task_id="roll_back", **({"backup_id": "x1"} | fields))


class TestRestore:
    def test_returns_what_a_restore_does_and_the_seconds(
        self, server: WeaviateStandIn, place: Path, run: TaskRun
    ) -> None:
        result = restore().execute(run.context)
        assert json.loads(json.dumps(result)) == result
        assert (result["status"], result["collections"]) == ("SUCCESS", ["Article", "Author"])
        assert (result["location"], result["uri"]) == (f"file://{place}", f"file://{place}/x1")
        assert 0 < result["seconds"] < 60
        assert run.xcoms == {"backup_id": "x1"}
        assert len(records(place)) == 1
        server.collections.clear()
        plain = WeaviateRestoreBackupOperator(task_id="plain", backup_id="x1", poll_interval=0.01)
        assert set(result) - set(plain.execute(TaskRun().context)) == {"seconds"}

    def test_on_the_triggerer_does_the_same(self, server: WeaviateStandIn, place: Path, run: TaskRun) -> None:
        operator = restore(deferrable=True)
        trigger = deferred(operator, run)
        assert len(records(place)) == 1
        result = operator.execute_complete(run.context, fire(trigger).to_json())
        waited = {key: value for key, value in result.items() if key != "seconds"}
        server.collections.clear()
        roll_back().execute(run.context)
        on_worker = restore().execute(TaskRun().context)
        assert list(on_worker) == list(result)
        assert {key: value for key, value in on_worker.items() if key != "seconds"} == waited
        assert result["seconds"] > 0

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_what_has_arrived_already_is_a_success(
        self, server: WeaviateStandIn, place: Path, run: TaskRun, log: Log, *, deferrable: bool
    ) -> None:
        first = restore().execute(run.context)
        again = restore(deferrable=deferrable).execute(run.context)
        assert json.loads(json.dumps(again)) == again
        assert set(again) == set(first)
        assert (again["status"], again["backup_id"], again["uri"]) == ("SUCCESS", "x1", f"file://{place}/x1")
        assert again["seconds"] is None
        assert len(server.sent("POST", RESTORE)) == 1
        assert "All collections of 'x1' have arrived already" in log()

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_retry_restores_the_rest(self, server: WeaviateStandIn, run: TaskRun, *, deferrable: bool) -> None:
        server.running_polls = None

        def interfere() -> None:
            server.add_collection("Author")
            server.finish()

        operator = restore(deferrable=deferrable)
        if deferrable:
            trigger = deferred(operator, run)
            interfere()
            outcome = fire(trigger).to_json()
            with pytest.raises(OperationFailed, match=r"Arrived: Article\. Not arrived: Author\."):
                operator.execute_complete(run.context, outcome)
        else:
            thread = started_when(lambda: bool(server.running), "a restore", interfere)
            with pytest.raises(OperationFailed, match=r"Arrived: Article\. Not arrived: Author\."):
                operator.execute(run.context)
            thread.join()
        del server.collections["Author"]
        server.running_polls = 1
        assert restore().execute(run.context)["collections"] == ["Author"]
        assert [seen.body["include"] for seen in server.sent("POST", RESTORE)] == [["Article", "Author"], ["Author"]]

    def test_retry_attaches_also_where_airflow_remembers_nothing(self, server: WeaviateStandIn, run: TaskRun) -> None:
        """Below Airflow 3.3."""
        context = cast("Context", {key: value for key, value in run.context.items() if key != "task_state_store"})
        for _ in range(2):
            trigger = trigger_of(lambda: restore(deferrable=True).execute(context))
        assert isinstance(trigger, WeaviateRestoreTrigger)
        assert restore().execute_complete(context, fire(trigger).to_json())["status"] == "SUCCESS"
        assert len(server.sent("POST", RESTORE)) == 1

    def test_of_another_run_is_told_whose_it_is(self, server: WeaviateStandIn, run: TaskRun) -> None:
        restore().execute(run.context)
        server.collections.clear()
        owner = f"Dag migrations, run {run.run_id}, restore"
        with pytest.raises(AirflowFailException, match=re.escape(f"restored into this cluster already, by {owner}.")):
            restore().execute(TaskRun(run_id="manual__another").context)
        assert len(server.sent("POST", RESTORE)) == 1

    def test_templated_texts(self, server: WeaviateStandIn, run: TaskRun) -> None:
        fields = {"include": '["Au*"]', "node_mapping": "{}", "map_nodes": "True", "overwrite_alias": "True"}
        fields |= {"backend": "filesystem", "location": "None", "bucket": "None", "path": ""}
        fields |= {"ignore_mismatch": "False", "roles_options": "None", "users_options": "None"}
        assert set(fields) < set(OwnRestoreOperator.template_fields)
        assert restore(**fields).execute(run.context)["collections"] == ["Author"]
        (seen,) = server.sent("POST", RESTORE)
        assert seen.body == {"include": ["Author"], "overwriteAlias": True}

    def test_place_that_is_not_known(
        self, server: WeaviateStandIn, run: TaskRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = server.connection_json(default_backend="filesystem")
        monkeypatch.setenv("AIRFLOW_CONN_WEAVIATE_DEFAULT", connection)
        with pytest.raises(AirflowFailException, match="can't be kept on record"):
            restore().execute(run.context)
        assert server.sent("POST", RESTORE) == []


class TestRollBack:
    def test_deletes_what_was_restored(self, server: WeaviateStandIn, place: Path, run: TaskRun) -> None:
        server.add_collection("Other")
        restore().execute(run.context)
        result = roll_back().execute(TaskRun(task_id="roll_back").context)
        assert json.loads(json.dumps(result)) == result
        assert result == {"backup_id": "x1", "collections": ["Article", "Author"], "aliases": ["Story"], "kept": []}
        assert (set(server.collections), server.aliases, records(place)) == ({"Other"}, {}, [])
        assert roll_back().execute(run.context) == NOTHING | {"backup_id": "x1"}

    def test_tells_what_it_left_alone(self, server: WeaviateStandIn, run: TaskRun, log: Log) -> None:
        server.end_next("FAILED", "disk full")
        with pytest.raises(OperationFailed):
            restore().execute(run.context)
        server.add_collection("Author")
        assert roll_back().execute(run.context) == NOTHING | {"backup_id": "x1", "kept": ["Author"]}
        assert "Left alone, as somebody else has made them: Author" in log()

    @pytest.mark.parametrize("backup_id", ["None", ""])
    def test_where_no_backup_was_ever_made(
        self, server: WeaviateStandIn, run: TaskRun, log: Log, backup_id: str
    ) -> None:
        server.add_collection("Article")
        assert roll_back(backup_id=backup_id).execute(run.context) == NOTHING | {"backup_id": None}
        assert "There is no backup, so nothing was restored." in log()
        assert (server.requests, set(server.collections)) == ([], {"Article"})

    def test_needs_no_server_where_nothing_is_on_record(self, server: WeaviateStandIn, run: TaskRun) -> None:
        server.stop()
        assert roll_back().execute(run.context) == NOTHING | {"backup_id": "x1"}

    def test_templated_texts(self, place: Path, run: TaskRun) -> None:
        restore().execute(run.context)
        fields = {"weaviate_conn_id": "weaviate_default", "backend": "None", "bucket": "None", "path": "None"}
        fields["location"] = f"file://{place}"
        assert set(fields) | {"backup_id"} == set(WeaviateRollBackRestoreOperator.template_fields)
        assert roll_back(**fields).execute(run.context)["collections"] == ["Article", "Author"]

    def test_looks_where_the_restore_did(self, place: Path, run: TaskRun) -> None:
        other = place / "other"
        other.mkdir()
        restore(location=f"file://{other}").execute(run.context)
        assert roll_back().execute(run.context)["collections"] == []
        assert roll_back(location=f"file://{other}").execute(run.context)["collections"] == ["Article", "Author"]

    def test_what_may_pass_is_left_to_retries(self, server: WeaviateStandIn, run: TaskRun) -> None:
        restore().execute(run.context)
        server.nodes["node1"] = "UNHEALTHY"
        with pytest.raises(ServerNotReady):
            roll_back().execute(run.context)
        assert set(server.collections) == {"Article", "Author"}

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"backup_id": "Bad Id"}, "'Bad Id' is not a backup id"),
            ({"backup_id": "../x"}, "'../x' is not a backup id"),
            ({"backend": "disk"}, "'disk' is not a backend"),
            ({"backend": "s3"}, "Where the backup lies is not known, and with it what was restored."),
            ({"location": "x1"}, "'x1' is not a location"),
            ({"location": "s3://bucket"}, "can't be where backend 'filesystem' writes"),
        ],
    )
    def test_bad_input(self, server: WeaviateStandIn, run: TaskRun, fields: dict[str, Any], text: str) -> None:
        with pytest.raises(AirflowFailException) as caught:
            roll_back(**fields).execute(run.context)
        assert text in str(caught.value)
        assert server.requests == []
