"""Copies to where something lies already: what is left alone, what is refused, and what is replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.exceptions import TargetOccupied, VectorBackupError
from airflow_provider_vectorbackup.transfer.manifest import manifest_key
from tests.actions.copies import REPLACE, SMALL, Copying, change_byte
from tests.actions.damage import GLOBAL
from tests.transfer.acting_store import Call

CHUNK = "first/w1/Article/chunk-1"


@pytest.fixture
def copying(tmp_path: Path) -> Copying:
    return Copying(tmp_path, SMALL)


@pytest.fixture
def chain(tmp_path: Path) -> Copying:
    return Copying(tmp_path, "chain-1.39.2")


def placed(copying: Copying, *backup_ids: str) -> None:
    """Have somebody copy backups by other means."""
    for backup_id in backup_ids:
        shutil.copytree(copying.source.root / backup_id, copying.target.root / backup_id)


def require_refused(copying: Copying, backup_id: str, text: str) -> None:
    """Check that a copy, and a dry run of one, is refused and nothing is changed by it."""
    before = copying.target.contents()
    for run in (copying.plan, copying.copy):
        with pytest.raises(TargetOccupied, match=text):
            run(backup_id)
        assert copying.target.contents() == before


def become_another(copying: Copying, backup_id: str) -> None:
    """Have the target hold another backup under this id: as whole, and begun at another time."""
    placed(copying, backup_id)
    path = copying.target.root / backup_id / GLOBAL
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"startedAt": "2020-01-01T00:00:00Z"}))


class TestRefused:
    def test_another_backup(self, copying: Copying) -> None:
        become_another(copying, "first")
        require_refused(copying, "first", "first holds another backup of this id")

    def test_another_backup_as_a_base(self, chain: Copying) -> None:
        become_another(chain, "full")
        require_refused(chain, "second", "full holds another backup of this id")

    @pytest.mark.parametrize("is_copied", [True, False])
    def test_one_byte_of_a_chunk(self, copying: Copying, *, is_copied: bool) -> None:
        if is_copied:
            copying.copy("first")
        else:
            placed(copying, "first")
        change_byte(copying.target.root / CHUNK)
        require_refused(copying, "first", f"holds other bytes as {CHUNK}")

    def test_one_byte_of_a_nodes_descriptor(self, copying: Copying) -> None:
        copying.copy("first")
        change_byte(copying.target.root / "first/w1/backup.json")
        require_refused(copying, "first", "holds other bytes as first/w1/backup.json")

    def test_chunk_that_is_missing(self, copying: Copying) -> None:
        copying.copy("first")
        (copying.target.root / CHUNK).unlink()
        require_refused(copying, "first", f"holds it without {CHUNK}")

    def test_chunk_of_another_size(self, copying: Copying) -> None:
        copying.copy("first")
        copying.target.put(CHUNK, b"short")
        require_refused(copying, "first", f"holds {CHUNK} with 5 bytes, not ")

    def test_unfinished_backup(self, copying: Copying) -> None:
        copying.target.put(CHUNK, b"of a backup that a server writes just now")
        require_refused(copying, "first", f"holds 1 objects of an unfinished backup or copy, such as {CHUNK}")

    def test_begun_copy_of_another_backup(self, copying: Copying) -> None:
        copying.target.put(CHUNK, b"x")
        copying.target.put("first/_vectorbackup/copy/plan.json", b'{"descriptor_sha256": "of another"}')
        require_refused(copying, "first", "objects of an unfinished backup or copy")

    def test_descriptor_that_appears_meanwhile(self, copying: Copying) -> None:
        """Somebody who knows nothing of leases writes there."""
        copying.target.before = lambda call: (
            (copying.target.root / "first" / GLOBAL).write_bytes(b"theirs")
            if call == Call("create", f"first/{GLOBAL}")
            else None
        )
        with pytest.raises(TargetOccupied, match=f"first/{GLOBAL} is in the target already"):
            copying.copy("first")
        assert (copying.target.root / "first" / GLOBAL).read_bytes() == b"theirs"

    def test_hint_says_what_to_do(self, copying: Copying) -> None:
        become_another(copying, "first")
        with pytest.raises(TargetOccupied, match="set on_conflict to 'replace'"):
            copying.copy("first")


class TestLeftAlone:
    def test_what_was_copied_by_other_means_is_proven_once(self, chain: Copying) -> None:
        placed(chain, "full", "second")
        result = chain.copy("second")
        assert (result.copied, result.bytes_moved) == ((), 0)
        chain.require_whole("full", "second")
        assert chain.changed() == [manifest_key("full"), manifest_key("second")]
        for entry in chain.manifest("full").objects.values():
            assert entry.sha256
        chain.forget_calls()
        assert chain.copy("second").copied == ()
        assert chain.changed() == []
        assert not [key for key in chain.target.called("stream") if "/chunk-" in key]

    def test_dry_run_proves_it_and_writes_no_manifest(self, copying: Copying) -> None:
        placed(copying, "first")
        before = copying.target.stored()
        assert copying.plan("first").copied == ()
        assert copying.target.stored() == before

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 99, "objects": {}}'])
    def test_manifest_that_can_not_be_read_is_written_anew(self, copying: Copying, content: bytes) -> None:
        copying.copy("first")
        before = copying.manifest("first").objects
        copying.target.put(manifest_key("first"), content)
        assert copying.copy("first").copied == ()
        again = copying.manifest("first").objects
        assert all(again[name].parts == before[name].parts for name in before if name != GLOBAL)

    def test_what_a_server_leaves_of_its_access_check(self, copying: Copying) -> None:
        copying.target.put("first/access-check", b"x")
        result = copying.copy("first")
        assert result.copied == ("first",)

    def test_other_backups(self, copying: Copying) -> None:
        placed(copying, "second")
        before = copying.target.contents("second/")
        copying.copy("first")
        assert copying.target.contents("second/") == before


class TestReplaced:
    def test_descriptor_goes_first(self, copying: Copying) -> None:
        become_another(copying, "first")
        copying.target.put("first/w1/Article/chunk-99", b"of the other backup")
        copying.watch_for_halves()
        assert copying.copy("first", on_conflict=REPLACE).copied == ("first",)
        assert copying.target.called("delete")[1] == f"first/{GLOBAL}"  # after the probe
        copying.require_whole("first")

    def test_unfinished_backup(self, copying: Copying) -> None:
        copying.target.put(CHUNK, b"x")
        copying.copy("first", on_conflict=REPLACE)
        copying.require_whole("first")

    def test_what_builds_on_it_goes_before_it_and_is_copied_anew(self, chain: Copying) -> None:
        chain.copy("second")
        change_byte(chain.target.root / "full/w1/Photo/chunk-1")
        chain.forget_calls()
        chain.watch_for_halves()
        assert chain.copy("second", on_conflict=REPLACE).copied == ("full", "second")
        deleted = [key for key in chain.target.called("delete") if key.endswith(GLOBAL)]
        assert deleted == [f"second/{GLOBAL}", f"full/{GLOBAL}"]
        chain.require_whole("full", "second")

    def test_base_of_what_stays_is_refused(self, chain: Copying) -> None:
        chain.copy("third")
        change_byte(chain.target.root / "full/w1/Photo/chunk-1")
        before = chain.target.contents()
        with pytest.raises(TargetOccupied, match="can't be replaced: third build on it"):
            chain.copy("second", on_conflict=REPLACE)
        assert chain.target.contents() == before

    @pytest.mark.parametrize("status", ["STARTED", "TRANSFERRING", "CANCELLING", "FINALIZING", "of a later version"])
    def test_what_is_being_restored_is_refused(self, copying: Copying, status: str) -> None:
        become_another(copying, "first")
        copying.target.put("first/restore_config.json", json.dumps({"id": "first", "status": status}).encode())
        before = copying.target.contents()
        with pytest.raises(VectorBackupError, match="first"):
            copying.copy("first", on_conflict=REPLACE)
        assert copying.target.contents() == before

    @pytest.mark.parametrize("status", ["SUCCESS", "FAILED", "CANCELED"])
    def test_restore_that_has_ended_is_no_obstacle(self, copying: Copying, status: str) -> None:
        become_another(copying, "first")
        copying.target.put("first/restore_config.json", json.dumps({"id": "first", "status": status}).encode())
        copying.copy("first", on_conflict=REPLACE)
        copying.require_whole("first")

    def test_dry_run_replaces_nothing(self, copying: Copying) -> None:
        become_another(copying, "first")
        before = copying.target.stored()
        assert copying.plan("first", on_conflict=REPLACE).copied == ("first",)
        assert copying.target.stored() == before

    def test_what_is_equal_is_not_replaced(self, copying: Copying) -> None:
        copying.copy("first")
        before = copying.target.stored()
        assert copying.copy("first", on_conflict=REPLACE).copied == ()
        assert copying.target.stored() == before
