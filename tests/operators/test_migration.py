"""The first step of a migration as a task; what is planned is tested in tests/actions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.ids import is_legal_id
from airflow_provider_vectorbackup.compat import AirflowFailException, AirflowNotFoundException
from airflow_provider_vectorbackup.exceptions import ServerNotReady
from airflow_provider_vectorbackup.operators.migration import PlanMigrationOperator
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from tests.operators.contexts import Log, TaskRun

STEPS = ("makes_backup", "restores", "asks", "rolls_back")
STATUS = "/backups/filesystem/([a-z0-9_-]+)"


class Pair:
    """Two servers that write to directories, and the connections ``from`` and ``to``."""

    def __init__(self, source: WeaviateStandIn, target: WeaviateStandIn, folder: Path) -> None:
        self.source = source
        self.target = target
        self.folder = folder
        for name in ("from", "to", "elsewhere"):
            (folder / name).mkdir()
        for name in ("Article", "Author"):
            source.add_collection(name)

    def location(self, name: str) -> str:
        return f"file://{self.folder / name}"

    def plan(self, run: TaskRun, **fields: Any) -> dict[str, Any]:
        operator = PlanMigrationOperator(task_id="preflight", **({"source": "from", "target": "to"} | fields))
        return operator.execute(run.context)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    with WeaviateStandIn() as source, WeaviateStandIn() as target:
        found = Pair(source, target, tmp_path)
        for name, server in (("from", source), ("to", target)):
            extra = {"default_backend": "filesystem", "filesystem_location": found.location(name)}
            monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", server.connection_json(**extra))
        yield found


def test_returns_the_plan(pair: Pair, run: TaskRun, log: Log) -> None:
    result = pair.plan(run)
    assert json.loads(json.dumps(result)) == result
    assert (result["source_url"], result["target_url"]) == (pair.source.url, pair.target.url)
    assert (result["source_location"], result["target_location"]) == (pair.location("from"), pair.location("to"))
    assert (result["collections"], result["is_copied"]) == (["Article", "Author"], True)
    assert {name: result[name] for name in STEPS} == {
        "makes_backup": True,
        "restores": True,
        "asks": False,
        "rolls_back": False,
    }
    assert "The plan:\n| | |" in (text := log())
    assert "| Collections | 2: Article, Author |" in text


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({}, ["makes_backup", "restores"]),
        ({"approval": "True", "rollback": "True"}, STEPS),
        ({"approval": "None", "rollback": "", "dry_run": "None"}, ["makes_backup", "restores"]),
        ({"approval": True, "rollback": True, "dry_run": "True"}, []),
        ({"approval": True, "rollback": True, "prepare_only": "true"}, ["makes_backup"]),
        ({"dry_run": "False", "prepare_only": "False", "approval": "False"}, ["makes_backup", "restores"]),
        ({"dry_run": True, "prepare_only": True}, []),
    ],
)
def test_says_which_steps_are_taken(pair: Pair, run: TaskRun, fields: dict[str, Any], taken: list[str]) -> None:
    result = pair.plan(run, **fields)
    assert [name for name in STEPS if result[name]] == list(taken)


def test_templated_texts(pair: Pair, run: TaskRun) -> None:
    pair.target.nodes = {"x1": "HEALTHY"}
    fields = {
        "source_backend": "filesystem",
        "target_backend": "None",
        "source_location": "",
        "target_location": pair.location("elsewhere"),
        "include": '["Aut*"]',
        "exclude": "[]",
        "node_mapping": '{"node1": "x1"}',
        "incremental_base": "latest",
        "compression": "None",
        "roles_options": "None",
        "users_options": "all",
        "ignore_mismatch": "True",
    }
    assert set(fields) | {"source", "target"} < set(PlanMigrationOperator.template_fields)
    result = pair.plan(run, **fields)
    assert (result["collections"], result["node_mapping"], result["base"]) == (["Author"], {"node1": "x1"}, "latest")
    assert result["target_location"] == pair.location("elsewhere")
    assert "| Users and roles | users, in place of the target's |" in result["markdown"]


WITH_DEFAULTS = ("inactive_tenants", "verify_level", "min_recall")


@pytest.mark.parametrize("name", WITH_DEFAULTS)
def test_what_a_later_step_would_not_take_fails_at_once(pair: Pair, run: TaskRun, name: str) -> None:
    with pytest.raises(AirflowFailException, match=f"{name} is 'perhaps'"):
        pair.plan(run, **{name: "perhaps"})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"compression": "Zstd"}, "Source: compression is 'Zstd'"),
        ({"roles_options": "some"}, "Target: roles_options is 'some'"),
        ({"users_options": "ALL"}, "Target: users_options is 'ALL'"),
    ],
)
def test_options_that_are_none_fail_at_once(pair: Pair, run: TaskRun, fields: dict[str, str], text: str) -> None:
    with pytest.raises(AirflowFailException, match=text):
        pair.plan(run, **fields)


@pytest.mark.parametrize("given", ["None", "", None])
def test_what_is_not_given(pair: Pair, run: TaskRun, given: str | None) -> None:
    names = set(PlanMigrationOperator.template_fields) - {"source", "target", *WITH_DEFAULTS}
    result = pair.plan(run, **dict.fromkeys(names, given))
    assert result == pair.plan(run)
    assert (result["base"], result["collections"]) == (None, ["Article", "Author"])


def test_nothing_is_made_on_the_way(pair: Pair, run: TaskRun) -> None:
    pair.plan(run)
    assert {seen.method for server in (pair.source, pair.target) for seen in server.requests} == {"GET"}
    assert [path for path in pair.folder.rglob("*") if path.is_file()] == []


def test_target_is_asked_for_a_backup_that_nobody_has(pair: Pair, run: TaskRun) -> None:
    """Its id is the task run's own."""
    pair.plan(run)
    (asked,) = pair.target.sent("GET", STATUS)
    backup_id = asked.path.rpartition("/")[2]
    assert is_legal_id(backup_id)
    assert backup_id.startswith("nightly-backup-manual-2026-11-22")


def test_all_that_is_in_the_way_fails_the_task(pair: Pair, run: TaskRun) -> None:
    pair.target.add_collection("article")
    pair.source.nodes = dict.fromkeys(("w1", "w2"), "HEALTHY")
    (pair.folder / "to").rmdir()
    with pytest.raises(AirflowFailException) as caught:
        pair.plan(run)
    for text in (
        f"{pair.source.url} can't be migrated to {pair.target.url}: The target has already: collection article.",
        "The collections lie on 2 nodes (w1, w2) and the target has 1 (node1)",
        f"The worker can't list the target's location: {pair.location('to')}",
        "Delete them there, or migrate others",
    ):
        assert text in str(caught.value)


@pytest.mark.parametrize(("side", "name"), [("source", "Source"), ("target", "Target")])
def test_what_may_pass_is_left_to_retries(pair: Pair, run: TaskRun, side: str, name: str) -> None:
    getattr(pair, side).nodes["node1"] = "UNHEALTHY"
    with pytest.raises(ServerNotReady, match=f"^{name}: Not all nodes"):
        pair.plan(run)


def test_location_that_nobody_gave(pair: Pair, run: TaskRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TO", pair.target.connection_json(default_backend="filesystem"))
    with pytest.raises(AirflowFailException, match=r"^Target: Where the backups of backend 'fi"):
        pair.plan(run)
    given = pair.location("elsewhere")
    assert pair.plan(run, target_location=given)["target_location"] == given


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"include": "Article"}, "include is 'Article', which is not of the form"),
        ({"include": ["Articel"]}, "Source: There is no collection 'Articel'"),
        ({"include": ["Article"], "exclude": ["Author"]}, "include and exclude are both given"),
        ({"node_mapping": '["node1"]'}, "node_mapping is "),
        ({"node_mapping": {"gone": "node1"}}, "names nodes that it does not have: gone"),
        ({"dry_run": "maybe"}, "dry_run is 'maybe'"),
        ({"prepare_only": "2"}, "prepare_only is '2'"),
        ({"approval": "yes"}, "approval is 'yes'"),
        ({"rollback": "no"}, "rollback is 'no'"),
        ({"ignore_mismatch": "x"}, "ignore_mismatch is 'x'"),
        ({"source_backend": "disk"}, "'disk' is not a backend"),
        ({"target_backend": "gcs", "target_location": "gs://b"}, "Target: Backend 'gcs' is not enabled"),
        ({"source_location": "from/here"}, "'from/here' is not a location"),
        ({"target_location": "s3://bucket"}, "can't be where backend 'filesystem' writes"),
        ({"target": "from", "target_location": "file:///"}, "Source and target are the same cluster"),
    ],
)
def test_bad_input(pair: Pair, run: TaskRun, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException) as caught:
        pair.plan(run, **fields)
    assert text in str(caught.value)


def test_connection_that_there_is_none_of(pair: Pair, run: TaskRun) -> None:
    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        pair.plan(run, target="nowhere")
    assert pair.source.requests == []
