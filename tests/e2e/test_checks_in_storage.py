"""What storage tells before a backup or restore is started, on two real servers that share a bucket.

The target has another node name and no modules but the one for backups.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.backup import BackupOrder, begin_backup, finish_backup
from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.actions.waiting import wait
from airflow_provider_vectorbackup.backups.outcome import Outcome
from airflow_provider_vectorbackup.backups.polling import watch_of
from airflow_provider_vectorbackup.backups.status import BackupAddress
from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import PreflightFailed
from airflow_provider_vectorbackup.hooks.storage import open_store
from airflow_provider_vectorbackup.operators import WeaviateRestoreBackupOperator
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint
from tests.e2e.running import context_of
from tests.e2e.traps_lab import connect
from tests.services import dataset, loopback
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.weaviate import WeaviateNode, weaviate_server

PREFIX = "checks"
MOVED = "checks-moved"
STORE_CONN = "checks_store"
TARGET_CONN = "checks_target"
LOCATION = f"s3://{STORE_CONN}@{BUCKET}/{PREFIX}"
MAPPING = {"w1": "x1"}


@dataclass(frozen=True)
class Pair:
    """The servers `w1`, which has collections, and `x1`, which has none, and a client of their bucket."""

    source: WeaviateNode
    target: WeaviateNode
    s3: Any

    def ask(self, node: WeaviateNode, path: str) -> int:
        """Return the code of an answer."""
        with loopback.session() as direct:
            return direct.get(f"{node.url}/v1/backups/s3/{path}", timeout=30).status_code

    def back_up(self, backup_id: str, path: str | None = None, **fields: Any) -> dict[str, Any]:
        """Back the source up, as the operator does."""
        order = BackupOrder(BackupAddress("s3", backup_id, path=path), location=LOCATION, **fields)
        with WeaviateClient(Endpoint(self.source.url)) as client:
            operation = begin_backup(client, order, NoMemory(), None, open_store)
            status = wait(client, watch_of(operation, 1.0), print)
            return finish_backup(client, Outcome(operation, status), NoMemory(), open_store)

    def assert_no_backup(self, text: str, backup_id: str, **fields: Any) -> None:
        """Make sure that a backup is refused and was not begun."""
        with pytest.raises(PreflightFailed, match=text):
            self.back_up(backup_id, **fields)
        assert self.ask(self.source, backup_id) == 404

    def assert_no_restore(self, text: str, backup_id: str, **fields: Any) -> str:
        """Make sure that a restore is refused and was not begun; return what was said."""
        with pytest.raises(AirflowFailException, match=text) as caught:
            restore(backup_id, **fields)
        query = f"?path={fields['path']}" if "path" in fields else ""
        assert self.ask(self.target, f"{backup_id}/restore{query}") == 404
        assert dataset.count(self.target.url) == {}
        return str(caught.value)

    def change(self, key: str, change: Callable[[Any], object]) -> None:
        """Change a descriptor."""
        place = {"Bucket": BUCKET, "Key": f"{PREFIX}/{key}"}
        content = json.loads(self.s3.get_object(**place)["Body"].read())
        change(content)
        self.s3.put_object(**place, Body=json.dumps(content).encode())

    def delete_backup(self, backup_id: str) -> None:
        """Delete a backup without a look at what builds on it."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/{backup_id}/")["Contents"]
        self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": entry["Key"]} for entry in listed]})


def restore(backup_id: str, **fields: Any) -> dict[str, Any]:
    """Restore into the target."""
    operator = WeaviateRestoreBackupOperator(
        task_id="restore", weaviate_conn_id=TARGET_CONN, backup_id=backup_id, poll_interval=1, **fields
    )
    return operator.execute(context_of("restore"))


def _fill(node: WeaviateNode) -> None:
    definitions: list[dict[str, Any]] = [
        {"class": "Article", "vectorizer": "none"},
        {"class": "Author", "vectorizer": "none"},
        {"class": "Chatty", "vectorizer": "none", "moduleConfig": {"generative-openai": {}}},
        {"class": "Smart", "vectorizer": "text2vec-openai"},
    ]
    with loopback.session() as direct:
        for definition in definitions:
            direct.post(f"{node.url}/v1/schema", json=definition, timeout=30).raise_for_status()
            item = {"class": definition["class"], "properties": {"name": "one"}, "vector": [1.0, 2.0]}
            direct.post(f"{node.url}/v1/objects", json=item, timeout=30).raise_for_status()


@pytest.fixture(scope="module")
def servers(services_folder: Path, minio: S3Settings, airflow_db: Path) -> Iterator[Pair]:
    connect(STORE_CONN, **minio.airflow_connection)
    folder, store, bare = services_folder / "checks", minio.weaviate_env(BUCKET, PREFIX), "API_BASED_MODULES_DISABLED"
    with ExitStack() as stack, ThreadPoolExecutor(2) as aside:
        s3 = stack.enter_context(minio.client())
        source, target = aside.map(
            lambda it: stack.enter_context(weaviate_server(folder, name=it[0], backups=[store], env={bare: it[1]})),
            (("w1", "false"), ("x1", "true")),
        )
        _fill(source)
        extra = {"default_backend": "s3", "s3_location": LOCATION}
        connect(TARGET_CONN, conn_type="weaviate_backup", host=target.host, port=target.port, extra=extra)
        pair = Pair(source, target, s3)
        assert pair.back_up("full", include=("A*",))["status"] == "SUCCESS"
        yield pair


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    """Both servers; the target without collections before and after."""
    dataset.drop(servers.target.url)
    yield servers
    dataset.drop(servers.target.url)


def test_base_of_another_codec(pair: Pair) -> None:
    text = (
        r"checks/full: It is compressed by gzip, and the new one would be by zstd\. Set compression to a level of gzip"
    )
    pair.assert_no_backup(text, "zstd", incremental_base="full", compression="ZstdBestSpeed")
    made = pair.back_up("zstd", incremental_base="latest", compression="ZstdBestSpeed", include=("A*",))
    assert (made["status"], made["base_backup_id"]) == ("SUCCESS", None)
    made = pair.back_up("gzip", incremental_base="latest", include=("A*",))
    assert (made["status"], made["base_backup_id"]) == ("SUCCESS", "full")


def test_base_that_was_deleted(pair: Pair) -> None:
    pair.back_up("grandparent", include=("Author",))
    pair.back_up("parent", include=("Author",), incremental_base="grandparent")
    pair.delete_backup("grandparent")
    text = "Its chain is broken: base grandparent is not there"
    pair.assert_no_backup(text, "child", include=("Author",), incremental_base="parent")
    pair.assert_no_restore("It builds on others: base grandparent is not there", "parent", node_mapping=MAPPING)


def test_other_node_name_and_the_mapping_that_is_proposed(pair: Pair) -> None:
    told = pair.assert_no_restore(r"The target has no nodes of the names w1 \(it has x1\)", "full")
    (proposed,) = re.findall(r"node_mapping to (\{.*?\})", told)
    pair.assert_no_restore("names nodes that it does not have: w9", "full", node_mapping={"w1": "x1", "w9": "x1"})
    result = restore("full", node_mapping=proposed)
    assert (result["status"], result["collections"]) == ("SUCCESS", ["Article", "Author"])
    assert dataset.count(pair.target.url) == {"Article": 1, "Author": 1}


def test_modules_that_the_target_lacks(pair: Pair) -> None:
    """Without a vectorizer the server restores no collection, without other modules it does."""
    pair.back_up("smart", include=("Chatty", "Smart"))
    text = r"restores no collection that names them \(Smart: text2vec-openai\)"
    pair.assert_no_restore(text, "smart", node_mapping=MAPPING, ignore_mismatch=True)
    text = r"lacks modules that collections use \(Chatty: generative-openai\)"
    pair.assert_no_restore(text, "smart", node_mapping=MAPPING, exclude=["Smart"])
    result = restore("smart", node_mapping=MAPPING, exclude=["Smart"], ignore_mismatch="True")
    assert result["status"] == "SUCCESS"
    assert dataset.count(pair.target.url) == {"Chatty": 1}


def test_replication_factor_above_the_number_of_nodes(pair: Pair) -> None:
    def replicate(descriptor: Any) -> None:
        (entry,) = descriptor["classes"]
        schema = json.loads(base64.b64decode(entry["schema"])) | {"replicationConfig": {"factor": 3}}
        entry["schema"] = base64.b64encode(json.dumps(schema).encode()).decode()

    pair.back_up("wide", include=("Article",))
    pair.change("wide/w1/backup.json", replicate)
    text = r"above the target's number of nodes, 1 \(Article 3\)"
    pair.assert_no_restore(text, "wide", node_mapping=MAPPING)
    assert restore("wide", node_mapping=MAPPING, ignore_mismatch=True)["status"] == "SUCCESS"


def test_backup_in_another_path(pair: Pair) -> None:
    pair.back_up("moved", MOVED, include=("A*",))
    made = pair.back_up("moved-too", MOVED, include=("A*",), incremental_base="latest")
    assert (made["status"], made["base_backup_id"]) == ("SUCCESS", "moved")
    pair.assert_no_restore("'Z\\*' of include matches no", "moved-too", path=MOVED, include=["Z*"])
    result = restore("moved-too", path=MOVED, include=["*uthor"], node_mapping=MAPPING)
    assert (result["status"], result["collections"]) == ("SUCCESS", ["Author"])
    told = "In the way of the restore: collection Author"
    with pytest.raises(AirflowFailException, match=told):
        restore("moved-too", path=MOVED, node_mapping=MAPPING)
    assert dataset.count(pair.target.url) == {"Author": 1}
