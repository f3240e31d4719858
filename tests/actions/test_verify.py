"""Verification of whole backups, and of what is none; of storage that refuses or fails; and what a report says."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.verify import store_report, verify_backup
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.verification import Finding, Level, Report
from airflow_provider_vectorbackup.exceptions import BackupDamaged, InvalidRequest, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import StoredObject
from airflow_provider_vectorbackup.transfer import reading
from tests.actions.damage import GLOBAL, Tree, Trees, damaged, parts
from tests.trees import NAMES

both_levels = pytest.mark.parametrize("level", Level)
in_each_tree = pytest.mark.parametrize("name", NAMES)


class Refusing(FilesystemStore):
    """Refuses to read one object, or can't be reached for it."""

    def __init__(self, location: Location, key: str, error: StorageError) -> None:
        super().__init__(location)
        self._key = key
        self._error = error

    def read(self, key: str) -> bytes | None:
        return super().read(self._let_through(key))

    def stream(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> Generator[bytes]:
        return super().stream(self._let_through(key), start=start, end=end, etag=etag)

    def list_objects(self, prefix: str = "") -> Generator[StoredObject]:
        return super().list_objects(self._let_through(prefix))

    def _let_through(self, key: str) -> str:
        if key == self._key:
            raise self._error
        return key


class TestWholeBackups:
    @in_each_tree
    def test_nothing_is_found(self, trees: Trees, name: str) -> None:
        tree = trees[name]
        for backup_id in tree.backups:
            chain = tree.chain(backup_id)
            for level in Level:
                report = tree.verify(backup_id, level)
                assert report.damage == ()
                assert report.chain == tuple(chain)
                assert [str(finding) for finding in report.warnings] == [
                    f"{base}/w1/backup.json has no data of tenants of Product: west"
                    for base in chain
                    if name == "pair-1.34.18"
                ]

    @in_each_tree
    def test_every_object_is_needed_and_counted(self, trees: Trees, name: str) -> None:
        tree = trees[name]
        for backup_id, told in tree.backups.items():
            keys = [key for base in tree.chain(backup_id) for key in tree.keys(base) if "restore_config" not in key]
            report = tree.verify(backup_id)
            assert report.objects == len(keys)
            assert report.stored_bytes == sum(len(tree.read(key)) for key in keys)
            assert report.collections == tuple(sorted({c for n in told["nodes"].values() for c in n["classes"]}))

    @in_each_tree
    def test_read_is_what_a_restore_reads(self, trees: Trees, name: str) -> None:
        tree = trees[name]
        for backup_id in tree.backups:
            own = [chunk for chunk in tree.chunks if chunk.backup_id == backup_id]
            referred = {key for child, key in tree.references if child == backup_id}
            report, quick = tree.verify(backup_id), tree.verify(backup_id, Level.QUICK)
            assert report.read_bytes == sum(len(tree.read(key)) for key in referred | {chunk.key for chunk in own})
            files = [part for chunk in own if chunk.codec for part in parts(chunk.codec, tree.read(chunk.key))]
            assert report.unpacked_bytes == sum(part.size for part in files)
            assert (quick.read_bytes, quick.unpacked_bytes, quick.unchecked) == (0, 0, "")

    @pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("old-")])
    def test_full_backup_unpacks_to_what_the_server_counted(self, trees: Trees, name: str) -> None:
        (first, told), *_ = trees[name].backups.items()
        assert trees[name].verify(first).unpacked_bytes == told["preCompressionSizeBytes"] > 0

    @in_each_tree
    def test_unchecked_says_how_many_objects_have_no_checksum(self, trees: Trees, name: str) -> None:
        tree = trees[name]
        report = tree.verify(tree.tip)
        if name in ("none-1.39.2", "old-1.20.6"):
            read = {key for child, key in tree.references if child == tree.tip}
            read |= {chunk.key for chunk in tree.chunks if chunk.backup_id == tree.tip}
            assert report.unchecked.startswith(f"{len(read)} of the objects have no checksum")
        else:
            assert report.unchecked == ""

    @pytest.mark.parametrize("threads", [1, 16])
    def test_number_of_threads_changes_nothing(self, trees: Trees, threads: int) -> None:
        tree = trees["three-nodes-1.39.2"]
        report = verify_backup(tree.store, tree.location, "second", Level.DEEP, threads=threads)
        assert _without_time(report) == _without_time(tree.verify("second"))


def _without_time(report: Report) -> dict[str, Any]:
    return {key: value for key, value in report.to_json().items() if key != "seconds"}


class TestWhatIsNoBackup:
    @both_levels
    @pytest.mark.parametrize(
        ("backup_id", "told"),
        [
            ("failed", "failed/backup_config.json says FAILED: producer: "),
            ("canceled", "canceled/backup_config.json says CANCELED: producer: "),
            ("killed", "killed/backup_config.json says STARTED"),
        ],
    )
    def test_not_a_success(self, trees: Trees, backup_id: str, told: str, level: Level) -> None:
        report = trees["ended-otherwise-1.39.2"].verify(backup_id, level)
        assert str(report.damage[0]).startswith(told)
        assert report.read_bytes == 0

    @both_levels
    def test_unknown_id(self, trees: Trees, level: Level) -> None:
        report = trees["chain-1.39.2"].verify("nowhere", level)
        assert report.damage == (Finding(f"nowhere/{GLOBAL}", "is not there"),)
        assert (report.objects, report.chain) == (0, ("nowhere",))
        with pytest.raises(
            BackupDamaged, match=r"(?s)nowhere can't be restored whole; .* no such backup: .*\n- nowhere"
        ):
            report.require_whole()

    @both_levels
    def test_empty_location(self, tmp_path: Path, level: Level) -> None:
        location = Location.parse(f"file://{tmp_path}")
        report = verify_backup(FilesystemStore(location), location, "nightly", level)
        assert report.damage == (Finding(f"nightly/{GLOBAL}", "is not there"),)

    @both_levels
    def test_chunks_without_descriptors(self, trees: Trees, level: Level) -> None:
        tree = trees["pair-1.37.0"]
        with tree.undone():
            tree.delete(*(key for key in tree.keys("full") if key.endswith(".json")))
            assert damaged(tree, "full", level) == {f"full/{GLOBAL}"}

    @both_levels
    def test_descriptor_without_nodes(self, trees: Trees, level: Level) -> None:
        tree = trees["pair-1.37.0"]
        with tree.undone():
            with tree.edited(f"full/{GLOBAL}") as descriptor:
                descriptor.update(nodes={}, preCompressionSizeBytes=0)
            assert Finding(f"full/{GLOBAL}", "names no nodes") in tree.verify("full", level).damage

    @pytest.mark.parametrize("backup_id", ["", "..", "../chain-1.39.2", "Full", "full/w1", "full\n"])
    def test_no_id(self, trees: Trees, backup_id: str) -> None:
        with pytest.raises(InvalidRequest):
            trees["chain-1.39.2"].verify(backup_id)

    @pytest.mark.parametrize("threads", [0, -1, 17])
    def test_no_number_of_threads(self, trees: Trees, threads: int) -> None:
        tree = trees["chain-1.39.2"]
        with pytest.raises(InvalidRequest, match=f"threads is {threads}"):
            verify_backup(tree.store, tree.location, "full", Level.DEEP, threads=threads)


class TestStorageThatRefuses:
    """What can't be read may be anything: it never counts as fine."""

    @pytest.mark.parametrize(
        ("name", "backup_id"), [("old-1.24.26", "first"), ("three-nodes-1.39.2", "second"), ("old-1.20.6", "first")]
    )
    def test_each_object_that_may_not_be_read_is_damage(self, trees: Trees, name: str, backup_id: str) -> None:
        tree = trees[name]
        read = {chunk.key for chunk in tree.chunks if chunk.backup_id == backup_id}
        read |= {key for child, key in tree.references if child == backup_id}
        read |= {key for base in tree.chain(backup_id) for key in tree.keys(base) if key.endswith(".json")}
        for key in read:
            found = [finding for finding in _refused(tree, backup_id, key).damage if finding.key == key]
            assert "not allowed" in str(found)

    @pytest.mark.parametrize("below", ["restore_config.json", "_vectorbackup/manifest.json"])
    @both_levels
    def test_what_lies_beside_it(self, trees: Trees, below: str, level: Level) -> None:
        tree = trees["pair-1.37.0"]
        with tree.undone():
            tree.write(f"full/{below}", b"{}")
            (found,) = _refused(tree, "full", f"full/{below}", level).damage
            assert found.key == f"full/{below}"
            assert "not allowed" in found.problem

    @both_levels
    def test_listing(self, trees: Trees, level: Level) -> None:
        with pytest.raises(StorageError, match="not allowed"):
            _refused(trees["pair-1.37.0"], "full", "full/", level)

    @pytest.mark.parametrize("key", [GLOBAL, "w1/backup.json", "w1/Article/chunk-1"])
    def test_what_can_not_be_reached_is_no_damage(
        self, trees: Trees, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "_PAUSES_SECONDS", ())
        with pytest.raises(StorageUnreachable, match="no route"):
            _refused(trees["pair-1.37.0"], "full", f"full/{key}", error=StorageUnreachable("no route"))


def _refused(
    tree: Tree, backup_id: str, key: str, level: Level = Level.DEEP, error: StorageError | None = None
) -> Report:
    """Verify a backup one of whose objects can't be read."""
    store = Refusing(tree.location, key, error or StorageError(f"{key} can't be read: not allowed."))
    return verify_backup(store, tree.location, backup_id, level)


class TestReport:
    @both_levels
    def test_is_stored_beside_the_backup(self, trees: Trees, level: Level) -> None:
        tree = trees["pair-1.37.0"]
        key = f"full/_vectorbackup/verify-{level}.json"
        with tree.undone():
            tree.write(key, b"an earlier one")
            report = tree.verify("full", level)
            assert store_report(tree.store, report) == key
            stored = json.loads(tree.read(key))
            again = tree.verify("full", level)
        assert stored == json.loads(json.dumps(report.to_json()))
        assert (stored["is_whole"], stored["level"], stored["uri"]) == (True, level, f"{tree.location}/full")
        assert _without_time(again) == _without_time(report)

    def test_summary_and_error_show_some_and_count_all(self, trees: Trees) -> None:
        tree = trees["chain-1.39.2"]
        chunks = [chunk.key for chunk in tree.chunks if chunk.backup_id == "full"][:25]
        with tree.undone():
            tree.delete(*chunks)
            report = tree.verify("full", Level.QUICK)
        summary = report.summary()
        assert json.loads(json.dumps(summary)) == summary
        assert (summary["is_whole"], summary["damage_count"], len(summary["damage"])) == (False, 25, 20)
        assert set(summary["damage"]) < {f"{key} is not there" for key in chunks}
        with pytest.raises(
            BackupDamaged, match=r"25 found wrong\. .*(\n- full/w1/\S+ is not there){20}\n- and 5 more$"
        ):
            report.require_whole()
        assert report.in_words().startswith(f"{tree.location}/full: 25 found wrong, by a quick look at 66 objects")

    def test_holds_no_secret(self, trees: Trees) -> None:
        """The descriptors hold hashes of keys and the access policy, in base64; also where they are broken."""
        tree = trees["users-roles-1.39.2"]
        key = "whole/w1/backup.json"
        (node,) = (node for at, node in tree.nodes.items() if at == key)
        with tree.undone():
            for field in ("userBackups", "rbacBackups"):
                secret = node[field]
                for broken in (secret[:-3] + "!", secret[: len(secret) // 2]):
                    with tree.edited(key) as descriptor:
                        descriptor[field] = broken
                    report = tree.verify("whole")
                    assert [found.key for found in report.damage][:1] == [key]
                    assert secret[:20] not in json.dumps(report.to_json()) + report.in_words()
                    assert "argon2" not in json.dumps(report.to_json())
