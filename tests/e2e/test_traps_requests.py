"""What servers would ignore, or take for something else, in a request; nothing of that is sent to them."""

from __future__ import annotations

import pytest

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import ServerFault
from airflow_provider_vectorbackup.operators import WeaviateCreateBackupOperator
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.e2e.traps_lab import LOCATION, TEMPLATE, Server, Way, both_servers, both_ways
from tests.operators.contexts import TaskRun

ANSWERS_TO_UNKNOWN_NODE = {
    "old": "Weaviate answered 200 with nothing to POST /backups/s3/unmapped-old",
    "new": "restorer cannot validate: metadata not found",
}


@both_servers
@both_ways
@pytest.mark.parametrize("include", [["Zz*"], ["Barley", "Zz*"], ["air*"]])
def test_trap_01_pattern_without_a_match(server: Server, way: Way, include: list[str]) -> None:
    """Trap 1: a server takes wildcards that match nothing for "all", and drops one that stands with others."""
    server.fill()
    before, expected = server.listed(), f"The pattern '{include[-1]}' of include matches no collection"
    with pytest.raises(AirflowFailException) as caught:
        way(server.create("matches-nothing", include=include), TaskRun())
    assert expected in str(caught.value)
    assert "The server has: Airport, Barley, Car" in str(caught.value)
    assert server.listed() == before
    assert server.bucket.keys("matches-nothing") == set()
    with pytest.raises(AirflowFailException) as caught:
        way(server.restore(TEMPLATE, include=include), TaskRun())
    assert expected in str(caught.value)
    assert f"Backup {TEMPLATE} has: Airport, Barley, Car" in str(caught.value)
    assert server.bucket.read(f"{TEMPLATE}/restore_config.json") is None


@pytest.mark.parametrize("field", ["include_users", "include_roles"])
def test_trap_13_users_and_roles(old: Server, field: str) -> None:
    """Trap 13: 1.37.0 ignores includeUsers and includeRoles, and answers 200."""
    old.fill()
    before = old.listed()
    with pytest.raises(AirflowFailException, match=rf"\(Weaviate 1.37.0\) does not know {field} and would ignore it"):
        old.create("ignored", **{field: ["*"]}).execute(TaskRun().context)
    assert old.listed() == before


@pytest.mark.parametrize("base", ["latest", "base"])
def test_trap_13_incremental_on_an_older_server(
    weaviate_stand_in: WeaviateStandIn, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    """Trap 13: servers below 1.34.18, 1.35.13, 1.36.3 make a full backup instead. A stand-in: none is at hand."""
    weaviate_stand_in.version = "1.36.2"
    weaviate_stand_in.add_collection("Article")
    weaviate_stand_in.add_backup("base", ["Article"])
    connection = weaviate_stand_in.connection_json(default_backend="s3")
    monkeypatch.setenv("AIRFLOW_CONN_TRAPS_STAND_IN", connection)
    operator = WeaviateCreateBackupOperator(
        task_id="backup", weaviate_conn_id="traps_stand_in", incremental_base_backup_id=base
    )
    with pytest.raises(AirflowFailException, match=r"does not know incremental_base_backup_id and would ignore it"):
        operator.execute(TaskRun().context)
    assert weaviate_stand_in.sent("POST", ".*") == []


@both_servers
def test_trap_13_incremental_names_its_base_in_storage(server: Server) -> None:
    """Trap 13: whether a server took the base shows in storage only: the API tells it to the root user alone."""
    server.fill()
    backup_id = f"increment-{server.name}"
    result = server.create(backup_id, incremental_base_backup_id=TEMPLATE).execute(TaskRun().context)
    assert (result["status"], result["base_backup_id"]) == ("SUCCESS", TEMPLATE)
    assert server.bucket.read(f"{backup_id}/backup_config.json")["baseBackupId"] == TEMPLATE


@both_servers
def test_trap_14_empty_answer(server: Server) -> None:
    """Trap 14: 1.37.0 answers 200 with an empty body to an unknown node; the old SUCCESS that stands is not ours.

    Where storage can be read, the server is not even asked.
    """
    server.empty()
    backup_id = server.bucket.add_backup(f"unmapped-{server.name}")
    old_success = server.bucket.read(f"{backup_id}/backup_config.json")
    server.bucket.write(f"{backup_id}/restore_config.json", old_success)
    assert server.status(f"{backup_id}/restore") == "SUCCESS"
    refused = "node_mapping names nodes that it does not have: gone (it has w1)."
    for location, words in ((None, ANSWERS_TO_UNKNOWN_NODE[server.name]), (LOCATION, refused)):
        run = TaskRun()
        for _ in ("try", "retry"):
            with pytest.raises((AirflowFailException, ServerFault)) as caught:
                server.restore(backup_id, node_mapping={"gone": "w1"}, location=location).execute(run.context)
            assert words in str(caught.value)
    assert server.bucket.read(f"{backup_id}/restore_config.json") == old_success
    assert server.collections() == []
    server.restore(backup_id, include=["Barley"]).execute(TaskRun().context)
    assert server.collections() == ["Barley"]
