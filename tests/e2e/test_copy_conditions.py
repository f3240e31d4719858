"""Copies between locations that are in use, locked, throttled, not permitted, occupied or damaged; all on real S3."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.leases import Hold, Holder, holding
from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.exceptions import BackupInUse
from airflow_provider_vectorbackup.operators import WeaviateVerifyBackupOperator
from tests.contract.stores import s3_place, s3_session
from tests.e2e.copy_lab import (
    CONNS,
    MIB,
    OTHER_S3,
    BigBackup,
    Places,
    connected,
    copy_task,
    opened,
    refusing_proxy,
    sizes,
)
from tests.e2e.traps_lab import connect
from tests.operators.contexts import TaskRun
from tests.services.fixtures import BUCKET
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings

SOURCE = "conditions-source"
SMALL = BigBackup("small", files=2, file_bytes=MIB)
LARGE = BigBackup("large", files=1, file_bytes=20 * MIB)
"""Goes in parts."""

SIZES = {key: len(content) for key, content in SMALL.objects.items()}
Log = Callable[[], str]


@pytest.fixture(scope="module")
def places(services_folder: Path, minio: S3Settings, airflow_db: Path) -> Iterator[Places]:
    with connected(Places(minio, GCSSettings(""), AzureSettings("", "", ""), services_folder)) as found:
        for backup in (SMALL, LARGE):
            backup.put(minio, SOURCE)
        yield found


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Of the test's own target."""
    return f"conditions-{request.node.name.partition('[')[0].removeprefix('test_').replace('_', '-')}"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.INFO, logger="airflow_provider_vectorbackup")
    return lambda: caplog.text


def _copy(places: Places, prefix: str, conn_id: str = OTHER_S3, backup: BigBackup = SMALL, **fields: Any) -> Any:
    fields = {"source": places.uri("s3", SOURCE), "target": places.uri("s3", prefix, conn_id)} | fields
    return copy_task(backup_id=backup.backup_id, **fields).execute(TaskRun().context)


def _verified(places: Places, prefix: str, backup: BigBackup = SMALL) -> Any:
    verify: dict[str, Any] = {"location": places.uri("s3", prefix), "backup_id": backup.backup_id, "level": "deep"}
    return WeaviateVerifyBackupOperator(task_id="verify", **verify).execute(TaskRun().context)


def _names(places: Places, prefix: str) -> set[str]:
    """Return all that lies in a target, ours included."""
    with opened(places.uri("s3", prefix)) as store:
        return {stored.key for stored in store.list_objects()}


def test_storage_that_is_asked_too_often_is_waited_for(places: Places, prefix: str, log: Log) -> None:
    """Longer than the vendor's library tries by itself."""

    def refuses(method: str, path: str) -> bool:
        return method == "PUT" and "/chunk-" in path and "All wait" not in log()

    with refusing_proxy(places.minio, refuses) as proxy:
        connect("copy_throttled", **proxy.airflow_connection)
        result = _copy(places, prefix, "copy_throttled", LARGE)
    assert "then try again" in log()
    assert "SlowDown" in log()
    assert result["bytes_moved"] == LARGE.size_bytes
    assert _verified(places, prefix, LARGE)["is_whole"] is True


def test_rate_can_be_bounded(places: Places, prefix: str) -> None:
    """The bytes take at least as long as the rate says, less what passes at once."""
    result = _copy(places, prefix, backup=LARGE, max_mib_per_second=10)
    assert result["seconds"] > 1.5


def test_copy_inside_the_storage(places: Places, prefix: str, log: Log) -> None:
    """What is copied by S3 itself has S3's word only: no SHA-256 of ours."""
    result = _copy(places, prefix, CONNS["s3"], LARGE)
    assert (result["method"], result["bytes_moved"]) == ("server_side", LARGE.size_bytes)
    assert f"{LARGE.backup_id}: {len(LARGE.objects)} objects, 21.0 MB: copied inside the storage" in log()
    with opened(places.uri("s3", prefix)) as store:
        manifest = json.loads(store.read(result["manifests"][0]) or b"")
    assert manifest["method"] == "server_side"
    for key, entry in manifest["objects"].items():
        assert (entry["sha256"] is None) is ("chunk-" in key)
        assert entry["etag"] or key == "backup_config.json"  # what is written last, after the manifest
    report = _verified(places, prefix, LARGE)
    assert (report["is_whole"], report["damage"], report["warnings"]) == (True, [], [])
    assert report["unchecked"].startswith("2 of the objects have no checksum")


@pytest.mark.parametrize("lack", ["s3:PutObject", "s3:DeleteObject"])
def test_target_that_must_not_be_used(places: Places, prefix: str, log: Log, lack: str) -> None:
    """Nothing of the backup is moved before that is known."""
    prefix = f"{prefix}-{lack[3:].lower()}"
    actions = {"s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:DeleteObject"} - {lack}
    some = s3_session(s3_place(places.minio, prefix), places.minio, sorted(actions), BUCKET, f"{BUCKET}/*")
    connect("copy_some", **some.connection)
    with pytest.raises(AirflowFailException, match=rf"/{prefix}.* can't be .*AccessDenied.*{lack}"):
        _copy(places, prefix, "copy_some")
    assert {key for key in _names(places, prefix) if not key.startswith(SMALL.own)} == set()
    assert "copied through" not in log()


def test_source_that_lacks_a_chunk(places: Places, prefix: str) -> None:
    broken = f"{prefix}-source"
    SMALL.put(places.minio, broken)
    with places.minio.client() as client:
        client.delete_object(Bucket=BUCKET, Key=f"{broken}/{SMALL.large[0]}")
    with pytest.raises(AirflowFailException, match=f"can't be restored whole.*\n- {SMALL.large[0]} is not there"):
        _copy(places, prefix, source=places.uri("s3", broken))
    assert _names(places, prefix) == set()


def test_target_that_holds_another_backup(places: Places, prefix: str, log: Log) -> None:
    other = BigBackup(SMALL.backup_id, files=3, file_bytes=MIB, made=1)
    other.put(places.minio, prefix)
    with pytest.raises(AirflowFailException, match=f"{prefix}/small holds another backup of this id"):
        _copy(places, prefix)
    assert sizes(places.uri("s3", prefix)) == {key: len(content) for key, content in other.objects.items()}
    result = _copy(places, prefix, on_conflict="replace")
    assert "small is replaced: holds another backup of this id" in log()
    assert (result["copied"], result["bytes_skipped"]) == (["small"], 0)
    assert sizes(places.uri("s3", prefix)) == SIZES
    assert _verified(places, prefix)["is_whole"] is True


def test_abandoned_copy_of_another_backup(places: Places, prefix: str) -> None:
    """Trap 22: its objects and its uploads, which no listing shows, go with it, and not before that is asked for."""
    upload = {"Bucket": BUCKET, "Key": f"{prefix}/{SMALL.large[1]}"}
    with places.minio.client() as client:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{SMALL.large[0]}", Body=b"of another")
        upload_id = client.create_multipart_upload(**upload)["UploadId"]
        client.upload_part(**upload, UploadId=upload_id, PartNumber=1, Body=b"part")
        told = f"small holds 1 objects of an unfinished backup or copy, such as {SMALL.large[0]}"
        with pytest.raises(AirflowFailException, match=told):
            _copy(places, prefix)
        assert len(client.list_multipart_uploads(**_by_prefix(upload))["Uploads"]) == 1
        assert _copy(places, prefix, on_conflict="replace")["copied"] == ["small"]
        assert "Uploads" not in client.list_multipart_uploads(**_by_prefix(upload))
    assert sizes(places.uri("s3", prefix)) == SIZES
    assert _verified(places, prefix)["is_whole"] is True


def _by_prefix(upload: dict[str, str]) -> dict[str, str]:
    return {"Bucket": upload["Bucket"], "Prefix": upload["Key"]}


@pytest.mark.parametrize("end", ["source", "target"])
def test_backup_that_another_holds(places: Places, prefix: str, end: str) -> None:
    """A retry may find it free: the task fails, but not for good."""
    prefix = f"{prefix}-{end}"
    location = places.uri("s3", SOURCE if end == "source" else prefix)
    told = "small is in use: Dag gc, run 7 holds a lease on it .prune"
    with _held(location), pytest.raises(BackupInUse, match=told) as caught:
        _copy(places, prefix)
    assert (caught.value.retryable, isinstance(caught.value, AirflowFailException)) == (True, False)
    assert {key for key in _names(places, prefix) if "/lease-" not in key} == set()
    assert _copy(places, prefix)["copied"] == ["small"]


@contextmanager
def _held(location: str) -> Iterator[None]:
    with opened(location) as store, holding(store, Holder("Dag gc, run 7", "prune")) as leases:
        leases.take([SMALL.backup_id], Hold.CHANGE)
        yield


def test_bucket_that_keeps_what_is_written(places: Places, prefix: str, log: Log) -> None:
    """Object Lock: the log says that nothing can be deleted for a day, and all else is as ever."""
    with places.minio.client() as client:
        client.create_bucket(Bucket=prefix, ObjectLockEnabledForBucket=True)
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
        lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        client.put_object_lock_configuration(Bucket=prefix, ObjectLockConfiguration=lock)
    target = f"s3://{OTHER_S3}@{prefix}/copies"
    result = _copy(places, prefix, backup=LARGE, target=target)
    assert "/copies is locked: " in log()
    assert "GOVERNANCE" in log()
    assert (result["copied"], result["bytes_moved"]) == (["large"], LARGE.size_bytes)
    again = _copy(places, prefix, backup=LARGE, target=target)
    assert (again["copied"], again["skipped"], again["bytes_moved"]) == ([], ["large"], 0)
    assert sizes(target) == {key: len(content) for key, content in LARGE.objects.items()}
