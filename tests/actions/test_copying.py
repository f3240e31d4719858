"""Copies that nothing disturbs: what is copied, in which order, what stays behind, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.copying import named
from airflow_provider_vectorbackup.actions.memory import NoMemory
from airflow_provider_vectorbackup.actions.verify import verify_backup
from airflow_provider_vectorbackup.backups.bases import LATEST
from airflow_provider_vectorbackup.backups.copies import Method
from airflow_provider_vectorbackup.backups.verification import Level
from airflow_provider_vectorbackup.exceptions import (
    BackupDamaged,
    InvalidRequest,
    ObjectChanged,
    PreflightFailed,
    StorageError,
    VectorBackupError,
)
from airflow_provider_vectorbackup.transfer.manifest import Manifest, ManifestEntry, manifest_key
from tests.actions.copies import CHAIN, Copying, at, change_byte, copied, date, is_chunk, own
from tests.actions.damage import GLOBAL
from tests.transfer.acting_store import Call, Faults


@pytest.fixture
def copying(tmp_path: Path) -> Copying:
    """Of one backup of few objects."""
    return Copying(tmp_path)


@pytest.fixture
def chain(tmp_path: Path) -> Copying:
    return Copying(tmp_path, "chain-1.39.2")


@pytest.mark.parametrize(
    ("tree", "backup_id", "ids"),
    [
        ("chain-1.39.2", "fourth", CHAIN),
        ("chain-1.39.2", "second", ("full", "second")),
        ("chain-1.39.2", "full", ("full",)),
        ("three-nodes-1.39.2", "second", ("full", "second")),
        ("zstd-1.39.2", "second", ("full", "second")),
        ("none-1.39.2", "second", ("full", "second")),
        ("pair-1.34.18", "second", ("full", "second")),
        ("old-1.30.22", "second", ("second",)),
        ("old-1.24.26", "second", ("second",)),
        ("old-1.20.6", "second", ("second",)),
    ],
)
def test_backup_with_its_bases_and_nothing_else(
    tmp_path: Path, tree: str, backup_id: str, ids: tuple[str, ...]
) -> None:
    copying = Copying(tmp_path, tree)
    before = copying.source.contents()
    result = copying.copy(backup_id)
    copying.require_whole(*ids)
    assert copying.source.contents() == before
    sizes = [len(content) for name in ids for content in copied(copying.source, name).values()]
    assert (result.chain, result.copied, result.backup_id) == (ids, ids, backup_id)
    assert (result.objects, result.bytes_moved, result.bytes_skipped) == (len(sizes), sum(sizes), 0)
    assert (result.method, result.dry_run) == (Method.STREAMED, False)
    assert result.manifests == tuple(map(manifest_key, ids))
    assert (result.source, result.target) == (
        at(copying.source).uri_of(backup_id),
        at(copying.target).uri_of(backup_id),
    )


def test_never_seen_half_and_bases_first(chain: Copying) -> None:
    chain.watch_for_halves()
    chain.copy("third", threads=1)
    assert [key for key in chain.target.called("create", "write") if key.endswith(GLOBAL)] == [
        f"{name}/{GLOBAL}" for name in ("full", "second", "third")
    ]
    chain.require_whole("full", "second", "third")


def test_seen_only_once_it_survives_the_machine(copying: Copying) -> None:
    copying.target.before = Faults(
        lambda: StorageError("Input/output error."),
        lambda call: call.name == "settle" and manifest_key("first") in copying.target.stored(),
    )
    with pytest.raises(StorageError, match="Input/output error"):
        copying.copy("first")
    assert copying.backups() == set()
    copying.target.before = lambda _: None
    copying.copy("first")
    seen = copying.target.calls.index(Call("create", f"first/{GLOBAL}"))
    assert copying.target.calls[seen - 2 : seen] == [Call("write", manifest_key("first")), Call("settle", "")]
    copying.require_whole("first")


def test_manifest_tells_what_every_object_holds(copying: Copying) -> None:
    copying.copy("first")
    manifest = copying.manifest("first")
    assert (manifest.source, manifest.method) == (at(copying.source).uri_of("first"), "streamed")
    there, sources = copying.target.stored("first/"), copying.source.stored("first/")
    assert {f"first/{name}" for name in manifest.objects} == sources.keys()
    for name, entry in manifest.objects.items():
        key = f"first/{name}"
        assert entry.sha256 == hashlib.sha256((copying.target.root / key).read_bytes()).hexdigest()
        assert (entry.size_bytes, entry.source_etag) == (sources[key].size_bytes, sources[key].etag)
        if name != GLOBAL:  # which is written after the manifest
            assert entry.etag == there[key].etag


def test_what_is_no_part_of_the_backup_stays_behind(copying: Copying) -> None:
    others = {
        "first/restore_config.json": json.dumps({"id": "first", "status": "SUCCESS", "nodes": {}}).encode(),
        "first/access-check-w1": b"x",
        "first/w1/Article/chunk-7.tmp": b"x",
        "first/w1/Article/chunk-99": b"x",
        "first/notes.txt": b"x",
        "first/_vectorbackup/verify-deep.json": b"{}",
        "elsewhere/file": b"x",
    }
    for key, content in others.items():
        copying.source.put(key, content)
    copying.copy("first")
    assert copying.source.contents().items() >= others.items()
    assert not copying.target.contents().keys() & others.keys()
    assert copying.backups() == {"first"}
    assert own(copying.target, "first") == {manifest_key("first")}


def test_restore_that_was_canceled_halfway_stays_behind(copying: Copying) -> None:
    """It would keep a server from restoring the source; the copy is restorable."""
    stuck = {"id": "first", "status": "CANCELLING", "nodes": {}}
    copying.source.put("first/restore_config.json", json.dumps(stuck).encode())
    assert verify_backup(copying.source, at(copying.source), "first", Level.QUICK).damage
    copying.copy("first")
    (copying.source.root / "first/restore_config.json").unlink()
    copying.require_whole("first")


def test_again_moves_and_writes_nothing(chain: Copying) -> None:
    chain.copy("second")
    before = chain.target.stored()
    chain.forget_calls()
    again = chain.copy("second")
    assert (again.copied, again.objects, again.bytes_moved) == ((), 0, 0)
    sizes = [stored.size_bytes for name in ("full", "second") for stored in chain.source.stored(f"{name}/").values()]
    assert again.bytes_skipped == sum(sizes)
    assert (chain.changed(), chain.target.stored()) == ([], before)
    assert not [key for key in chain.source.called("stream") if "/chunk-" in key]


def test_base_that_is_there_is_left_alone(chain: Copying) -> None:
    chain.copy("second")
    before = {**chain.target.stored("full/"), **chain.target.stored("second/")}
    chain.forget_calls()
    result = chain.copy("fourth")
    assert (result.chain, result.copied) == (CHAIN, ("third", "fourth"))
    assert {key for key in chain.changed() if key.startswith(("full/", "second/"))} == set()
    assert {**chain.target.stored("full/"), **chain.target.stored("second/")} == before
    chain.require_whole(*CHAIN)


def test_dry_run_writes_nothing_and_tells_the_bytes(chain: Copying, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    chain.copy("full")
    before = chain.target.stored(), chain.source.stored()
    chain.forget_calls()
    plan = chain.plan("second")
    assert (chain.target.stored(), chain.source.stored()) == before
    assert not [call for call in (*chain.target.calls, *chain.source.calls) if call.changes]
    sizes = [stored.size_bytes for stored in chain.source.stored("second/").values()]
    assert (plan.dry_run, plan.copied, plan.objects, plan.bytes_moved) == (True, ("second",), len(sizes), sum(sizes))
    assert plan.bytes_skipped == sum(stored.size_bytes for stored in chain.source.stored("full/").values())
    assert "full: 66 objects, 85.4 kB: there already, proven equal" in caplog.text
    done = chain.copy("second")
    assert (done.objects, done.bytes_moved, done.copied) == (plan.objects, plan.bytes_moved, plan.copied)


def test_latest(copying: Copying) -> None:
    date(copying, "second", "first")
    for given, found in ((LATEST, "first"), ("second", "second")):
        with named(copying.order(given), copying.open, NoMemory()) as order:
            assert order.backup_id == found
    shutil.rmtree(copying.source.root)
    copying.source.root.mkdir()
    with (
        pytest.raises(PreflightFailed, match="There is no finished backup"),
        named(copying.order(LATEST), copying.open, NoMemory()),
    ):
        pytest.fail("nothing was found")


class TestSourceThatIsNotWhole:
    @pytest.mark.parametrize("plan_only", [True, False])
    @pytest.mark.parametrize(
        ("tree", "backup_id", "key", "content", "error"),
        [
            ("ended-otherwise-1.39.2", "failed", "", None, BackupDamaged),
            ("ended-otherwise-1.39.2", "canceled", "", None, BackupDamaged),
            ("ended-otherwise-1.39.2", "killed", "", None, BackupDamaged),
            ("chain-1.39.2", "fifth", "", None, BackupDamaged),
            ("chain-1.39.2", "../full", "", None, InvalidRequest),
            ("chain-1.39.2", "third", "full/w1/Photo/chunk-1", None, BackupDamaged),
            ("chain-1.39.2", "third", "third/w1/Photo/chunk-1", None, BackupDamaged),
            ("chain-1.39.2", "third", "third/w1/Photo/chunk-1", b"", BackupDamaged),
            ("chain-1.39.2", "third", "full/backup_config.json", None, BackupDamaged),
            ("chain-1.39.2", "third", "second/backup_config.json", b"{", BackupDamaged),
            ("chain-1.39.2", "third", "third/w1/backup.json", b"[]", BackupDamaged),
        ],
    )
    def test_nothing_is_written(  # noqa: PLR0917 - a case and what comes of it
        self,
        tmp_path: Path,
        tree: str,
        backup_id: str,
        key: str,
        content: bytes | None,
        error: type[VectorBackupError],
        *,
        plan_only: bool,
    ) -> None:
        copying = Copying(tmp_path, tree)
        if key and content is None:
            (copying.source.root / key).unlink()
        elif content is not None:
            copying.source.put(key, content)
        before = copying.source.stored()
        with pytest.raises(error):
            (copying.plan if plan_only else copying.copy)(backup_id)
        assert not [call for call in copying.target.calls if call.changes]
        assert copying.target.stored() == {}
        assert copying.source.stored() == before

    def test_manifest_beside_it_is_compared(self, copying: Copying) -> None:
        """A chunk that changed since the source itself was copied there."""
        objects = {
            stored.key.removeprefix("first/"): ManifestEntry(
                stored.size_bytes, (hashlib.sha256((copying.source.root / stored.key).read_bytes()).hexdigest(),)
            )
            for stored in copying.source.stored("first/").values()
        }
        copying.source.put(manifest_key("first"), Manifest(objects).to_json())
        change_byte(copying.source.root / "first/w1/Article/chunk-1")
        with pytest.raises(BackupDamaged, match="first/w1/Article/chunk-1 has another SHA-256 than the manifest"):
            copying.copy("first")
        assert copying.backups() == set()

    def test_copy_of_a_copy_is_compared_and_whole(self, copying: Copying, tmp_path: Path) -> None:
        copying.copy("first")
        onward = Copying(tmp_path / "onward")
        onward.source = copying.target
        onward.copy("first")
        onward.require_whole("first")
        assert onward.manifest("first").source == at(copying.target).uri_of("first")


def test_chunk_of_the_source_that_changes_on_the_way(copying: Copying) -> None:
    def change(call: Call) -> None:
        if is_chunk(call):
            change_byte(copying.source.root / "first/w1/backup.json")

    copying.target.after = change
    with pytest.raises(ObjectChanged):
        copying.copy("first", threads=1)
    assert copying.backups() == set()


def test_the_bytes_in_threads_and_within_bounds(chain: Copying) -> None:
    chain.copy("second", threads=8, buffer_bytes=2**20, bytes_per_second=2**30)
    chain.require_whole("full", "second")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"threads": 17}, "threads is 17"),
        ({"bytes_per_second": 0.0}, "0.0 bytes a second"),
        ({"method": Method.SERVER_SIDE}, "inside the storage"),
    ],
)
def test_orders_that_can_not_be_carried_out(copying: Copying, fields: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        copying.copy("first", **fields)
    assert (copying.source.calls, copying.target.calls) == ([], [])
