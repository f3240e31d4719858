"""Copies of objects in parts, and inside the storage, as of object stores: by directories with small parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.copy_ends import CopyOrder
from airflow_provider_vectorbackup.actions.copying import copy_backup
from airflow_provider_vectorbackup.actions.verify import verify_backup
from airflow_provider_vectorbackup.backups.copies import CopyResult, Method
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.verification import Level
from airflow_provider_vectorbackup.exceptions import BackupDamaged, TargetOccupied
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import StoredObject
from tests.actions.copies import Copying, Killed, at, change_byte, is_chunk
from tests.actions.damage import GLOBAL
from tests.transfer.acting_store import ActingStore, Call, Faults, small

TREE = "none-1.39.2"
LIMITS = small(3000, 1000)


@pytest.fixture
def copying(tmp_path: Path) -> Copying:
    """Of backups without compression, whose chunks have no checksums of their own, to a store of small parts."""
    found = Copying(tmp_path, TREE)
    found.target.part_limits = LIMITS
    return found


def largest(store: ActingStore) -> StoredObject:
    """Return the largest chunk."""
    chunks = [stored for key, stored in store.stored("full/").items() if "/chunk-" in key]
    return max(chunks, key=lambda stored: stored.size_bytes)


class TestParts:
    def test_large_chunks_go_in_parts(self, copying: Copying) -> None:
        copying.watch_for_halves()
        copying.copy("second", threads=4)
        copying.require_whole("full", "second")
        assert largest(copying.source).key in copying.target.called("finish_upload")
        assert list(copying.target.list_unfinished_uploads()) == []

    def test_changed_byte_of_any_part_is_found(self, copying: Copying) -> None:
        """By the SHA-256 of parts in the manifest alone."""
        copying.copy("full")
        key = largest(copying.target).key
        entry = copying.manifest("full").objects[key.removeprefix("full/")]
        assert (entry.part_bytes, len(entry.parts)) == (1000, -(-entry.size_bytes // 1000))
        path = copying.target.root / key
        content = path.read_bytes()
        for position in (0, 999, 1000, len(content) - 1):
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            report = verify_backup(FilesystemStore(at(copying.target)), at(copying.target), "full", Level.DEEP)
            assert key in {finding.key for finding in report.damage}, position

    @pytest.mark.parametrize("limits", [LIMITS, small(10**9, 10**9)], ids=["same parts", "whole"])
    def test_byte_that_changed_in_a_copy_is_not_copied_on(
        self, copying: Copying, tmp_path: Path, limits: object
    ) -> None:
        """Nor if the next store wants other parts than the last one did."""
        copying.copy("full")
        key = largest(copying.target).key
        change_byte(copying.target.root / key)
        copying.source = copying.target
        copying.target = ActingStore(tmp_path / "next", limits)  # type: ignore[arg-type]
        with pytest.raises(BackupDamaged, match=f"{key} "):
            copying.copy("full")
        assert copying.backups() == set()

    def test_parts_that_are_there_are_not_moved_again(self, copying: Copying) -> None:
        key = largest(copying.source).key
        copying.target.before = Faults(Killed, lambda call: call == Call("put_part", f"{key}#3"))
        with pytest.raises(Killed):
            copying.copy("full", threads=1)
        copying.target.before = lambda _: None
        copying.forget_calls()
        result = copying.copy("full", threads=1)
        assert not {f"{key}#1", f"{key}#2"} & set(copying.target.called("put_part"))
        assert result.bytes_skipped == 2000
        copying.require_whole("full")

    def test_uploads_that_came_to_nothing_are_aborted(self, copying: Copying) -> None:
        """Of an earlier try whose journal is lost, and of one whose parts are of no use any more."""
        key = largest(copying.source).key
        copying.target.begin_upload(key, 10, "")
        copying.target.before = Faults(Killed, lambda call: call == Call("put_part", f"{key}#2"))
        with pytest.raises(Killed):
            copying.copy("full", threads=1)
        copying.target.before = lambda _: None
        copying.target.part_limits = small(3000, 1001)
        assert len(list(copying.target.list_unfinished_uploads())) >= 2
        copying.copy("full")
        copying.require_whole("full")
        assert list(copying.target.list_unfinished_uploads()) == []

    def test_upload_that_is_gone_begins_anew(self, copying: Copying) -> None:
        key = largest(copying.source).key
        copying.target.before = Faults(Killed, lambda call: call == Call("put_part", f"{key}#3"))
        with pytest.raises(Killed):
            copying.copy("full", threads=1)
        copying.target.before = lambda _: None
        for upload in list(copying.target.list_unfinished_uploads()):
            copying.target.abort(upload)
        copying.copy("full")
        copying.require_whole("full")


class _Bucket(ActingStore):
    """Copies from its neighbour by itself."""

    neighbour: ActingStore

    def copy(self, _source: Location, key: str, target_key: str, *, listed: StoredObject | None = None) -> str:
        return super().copy(at(self.neighbour), key, target_key, listed=listed)


class Inside(Copying):
    """Copies between two buckets of one storage, each of which is a directory."""

    ends = Location.parse("s3://here@one"), Location.parse("s3://here@other/copies")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, TREE)
        self.target = _Bucket(folder / "bucket")
        self.target.neighbour = self.source

    def run(self, backup_id: str, method: Method = Method.AUTO) -> CopyResult:
        order = CopyOrder(backup_id, *self.ends, method, owner="Dag nightly", threads=2)
        return copy_backup(order, lambda location: self.source if location == self.ends[0] else self.target)


def is_moved(call: Call) -> bool:
    return call.name == "copy" or is_chunk(call)


def moved(copying: Copying) -> list[str]:
    """Return the keys of the chunks whose move has begun."""
    return [call.key for call in copying.target.calls if is_moved(call)]


class TestInsideTheStorage:
    @pytest.fixture
    def inside(self, tmp_path: Path) -> Inside:
        return Inside(tmp_path)

    def test_no_bytes_of_chunks_pass(self, inside: Inside) -> None:
        inside.watch_for_halves()
        result = inside.run("second")
        assert result.method is Method.SERVER_SIDE
        assert [key for key in inside.source.called("stream", "read") if "/chunk-" in key] == []
        assert [call for call in inside.target.calls if is_chunk(call)] == []
        for name in ("full", "second"):
            chunks = {key for key in inside.source.stored(f"{name}/") if "/chunk-" in key}
            assert {key: inside.target.contents()[key] for key in chunks} == {
                key: inside.source.contents()[key] for key in chunks
            }
        assert inside.backups() == {"full", "second"}

    def test_manifest_holds_what_the_storage_says(self, inside: Inside) -> None:
        inside.run("full")
        manifest, there = inside.manifest("full"), inside.target.stored()
        assert (manifest.method, manifest.source) == ("server_side", "s3://here@one/full")
        for name, entry in manifest.objects.items():
            if "/chunk-" in name:
                assert (entry.sha256, entry.etag) == (None, there[f"full/{name}"].etag)
            else:
                assert entry.sha256

    def test_again_moves_and_reads_nothing(self, inside: Inside) -> None:
        inside.run("second")
        inside.forget_calls()
        assert inside.run("second").copied == ()
        assert inside.changed() == []
        assert [key for key in inside.target.called("stream") if "/chunk-" in key] == []

    def test_changed_byte_is_found(self, inside: Inside) -> None:
        inside.run("full")
        change_byte(inside.target.root / "full/w1/Article/chunk-1")
        with pytest.raises(TargetOccupied, match="holds other bytes as full/w1/Article/chunk-1"):
            inside.run("full")

    def test_streamed_goes_on_from_it_and_the_other_way_round(self, inside: Inside) -> None:
        """What is in the target is as good, however it came there."""
        for method in (Method.SERVER_SIDE, Method.STREAMED):
            inside.forget_calls()
            inside.target.before = Faults(Killed, lambda call: is_moved(call) and len(moved(inside)) > 5)
            with pytest.raises(Killed):
                inside.run("full", method)
        inside.target.before = lambda _: None
        inside.forget_calls()
        inside.run("full")
        contents = inside.source.contents("full/")
        assert {key: inside.target.contents()[key] for key in contents} == contents
        assert inside.backups() == {"full"}
        assert 0 < len(moved(inside)) < len(contents) - 7

    def test_killed_copy_is_gone_on_with(self, inside: Inside) -> None:
        inside.target.before = Faults(Killed, lambda call: call.key == f"full/{GLOBAL}")
        with pytest.raises(Killed):
            inside.run("full")
        inside.target.before = lambda _: None
        inside.forget_calls()
        assert inside.run("full").objects == 2
        assert inside.target.called("copy") == []
