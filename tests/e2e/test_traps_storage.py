"""Backups that the server's own answers tell nothing about, or too much: only what lies in storage shows them."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.catalogue import read_catalogue
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.hooks.storage import open_store
from airflow_provider_vectorbackup.operators import WeaviateVerifyBackupOperator
from tests.e2e.traps_lab import (
    COLLECTIONS,
    LOCATION,
    PREFIX,
    TEMPLATE,
    VERSIONS,
    Server,
    both_servers,
    connect_server,
    on_worker,
    start,
)
from tests.operators.contexts import TaskRun
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.process import wait_until
from tests.services.weaviate import ApiKeys, weaviate_server

LEVELS = ("quick", "deep")
KEYS = ApiKeys({"root": "root-key-of-the-secretive"}, rbac_root="root")
POLICY = "VaultOfSecrets"


def _verify(backup_id: str, level: str = "deep", **fields: Any) -> WeaviateVerifyBackupOperator:
    return WeaviateVerifyBackupOperator(task_id="verify", location=LOCATION, backup_id=backup_id, level=level, **fields)


@both_servers
def test_trap_02_object_that_is_deleted_while_a_backup_runs(server: Server) -> None:
    """Trap 2: the server ends with SUCCESS all the same, and so does the task; a verification finds what is gone."""
    server.fill()
    backup_id = f"emptied-{server.name}"
    chunk = f"{backup_id}/w1/Barley/chunk-1"
    server.line.mode = "delayput:backup.json"  # the node's own descriptor, which comes after its chunks
    with ThreadPoolExecutor(1) as aside:
        task = start(aside, on_worker, server.create(backup_id, include=["Barley"]))
        wait_until(lambda: chunk in server.bucket.keys(chunk), 60, "the chunk")
        server.bucket.delete(chunk)
        assert server.bucket.read(f"{backup_id}/backup_config.json")["status"] == "STARTED"
        assert task.result()["status"] == "SUCCESS"
    assert (server.status(backup_id), server.bucket.keys(chunk)) == ("SUCCESS", set())
    for level in LEVELS:
        run = TaskRun()
        with pytest.raises(AirflowFailException, match=rf"{backup_id} can't be restored whole.*\n- {chunk} is not"):
            _verify(backup_id, level).execute(run.context)
        assert run.xcoms["report"]["damage"] == [f"{chunk} is not there"]


@pytest.mark.parametrize("content", [[], {"startedAt": "yesterday"}], ids=["list", "date"])
@both_servers
def test_trap_20_broken_descriptor_hides_all_others(server: Server, content: Any) -> None:
    """Trap 20: the server can't list anything any more; the catalogue shows all, and which one is broken."""
    before = {entry["id"]: entry["status"] for entry in server.do("GET", "/backups/s3")}
    assert TEMPLATE in before
    server.bucket.write("broken/backup_config.json", content)
    try:
        assert server.ask("GET", "/backups/s3").status_code == 500
        with closing(open_store(Location.parse(LOCATION))) as store:
            catalogue = read_catalogue(store)
        run = TaskRun()
        with pytest.raises(AirflowFailException, match=r"\n- broken/backup_config\.json can't be read"):
            _verify("broken", "quick").execute(run.context)
    finally:
        server.bucket.delete("broken/backup_config.json")
    assert server.ask("GET", "/backups/s3").ok
    broken = catalogue.get("broken")
    assert broken
    assert (broken.status, broken.is_usable) == (None, False)
    assert "broken/backup_config.json can't be read" in broken.problems[0]
    seen = {entry.backup_id: str(entry.status) for entry in catalogue.entries}
    assert before.items() <= seen.items()
    template = catalogue.get(TEMPLATE)
    assert template
    assert (template.is_usable, list(template.collections)) == (True, COLLECTIONS)


@both_servers
def test_trap_23_contents_without_a_checksum(server: Server) -> None:
    """Trap 23: the ETag of a chunk is none of its bytes; without compression nothing can tell that a file changed."""
    server.fill()
    backup_id = f"plain-{server.name}"
    server.create(backup_id, compression="NoCompression", include=["Barley"]).execute(TaskRun().context)
    key, client = f"{PREFIX}/{backup_id}/w1/Barley/chunk-1", server.bucket.client
    chunk = client.get_object(Bucket=BUCKET, Key=key)
    content = bytearray(chunk["Body"].read())
    assert re.fullmatch(r'"[0-9a-f]{32}-\d+"', chunk["ETag"])
    assert hashlib.md5(content).hexdigest() not in chunk["ETag"]
    content[content.index(b"Crookston")] ^= 1
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(content))
    result = _verify(backup_id).execute(TaskRun().context)
    assert result["is_whole"] is True
    assert re.match(r"\d+ of the objects have no checksum, .*contents could not be\.", result["unchecked"])
    assert _verify(TEMPLATE).execute(TaskRun().context)["unchecked"] == ""


@pytest.fixture(params=["new", "old"])
def guarded(
    request: pytest.FixtureRequest, services_folder: Path, minio: S3Settings, trap_servers: dict[str, Server]
) -> Iterator[Server]:
    """A server with a database user, and a role whose policy names what stands nowhere else."""
    name, other = f"secretive_{request.param}", trap_servers[request.param]
    store, version = minio.weaviate_env(BUCKET, PREFIX), VERSIONS[request.param]
    with weaviate_server(services_folder / name, backups=[store], version=version, api_keys=KEYS) as node:
        server = connect_server(Server(name, node, other.line, other.bucket, KEYS.header()), token=KEYS.keys["root"])
        server.do("POST", "/schema", {"class": "Open"})
        policy = {"action": "read_data", "data": {"collection": POLICY, "tenant": "*", "object": "*"}}
        server.do("POST", "/authz/roles", {"name": "reader", "permissions": [policy]})
        server.do("POST", "/users/db/alice")
        yield server


def test_trap_25_backup_holds_secrets(
    guarded: Server, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trap 25: hashes of keys and the access policy lie in every descriptor, and get no further, whole or broken."""
    caplog.set_level(logging.DEBUG, logger="airflow_provider_vectorbackup")
    backup_id, run = guarded.name.replace("_", "-"), TaskRun()
    key = f"{backup_id}/w1/backup.json"
    shown: list[Any] = [guarded.create(backup_id, location=LOCATION).execute(run.context)]
    descriptor = guarded.bucket.read(key)
    for level in LEVELS:
        shown.append(_verify(backup_id, level, store_report=True).execute(run.context))
        shown.append(guarded.bucket.read(f"{backup_id}/_vectorbackup/verify-{level}.json"))
    for field in ("userBackups", "rbacBackups"):
        guarded.bucket.write(key, descriptor | {field: descriptor[field][:-5] + "!"})
        shown += _shown_of_damage(backup_id, run)
        shown.append(guarded.bucket.read(f"{backup_id}/_vectorbackup/verify-deep.json"))
    guarded.bucket.write(key, descriptor)
    guarded.do("DELETE", "/schema/Open")
    shown += [guarded.restore(backup_id, location=LOCATION).execute(TaskRun().context), run.xcoms]
    logs = caplog.text + capsys.readouterr().out
    assert f"{backup_id}: whole, by a deep look" in logs
    assert f"{key} can't be read" in json.dumps(shown)
    assert [secret for secret in _secrets(descriptor) if secret in json.dumps(shown) + logs] == []


def _shown_of_damage(backup_id: str, run: TaskRun) -> list[str]:
    """Return the message of a verification that fails, and what the catalogue says."""
    with pytest.raises(AirflowFailException) as caught:
        _verify(backup_id, store_report=True).execute(run.context)
    with closing(open_store(Location.parse(LOCATION))) as store:
        return [str(caught.value), repr(read_catalogue(store))]


def _secrets(descriptor: Any) -> list[str]:
    """Return what a node's descriptor keeps of users and roles: as it stands there, and what it means."""
    fields = [descriptor["userBackups"], descriptor["rbacBackups"]]
    users, roles = (base64.b64decode(field).decode() for field in fields)
    hashes = re.findall(r"\$argon2[^\"]+", users)
    assert hashes
    assert POLICY in roles
    return [*(field[:40] for field in fields), *hashes, "argon2", POLICY]
