"""Copies and others at work on the same backups: who keeps off whom, and what a copy tells them by its leases."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.leases import Hold, Holder, Leases
from airflow_provider_vectorbackup.exceptions import BackupInUse, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.transfer import moving as mover
from airflow_provider_vectorbackup.transfer.moving import Moved
from tests.actions.copies import CHAIN, Copying, is_chunk
from tests.transfer.acting_store import ActingStore, Call, Faults

OTHER = Holder("somebody", "prune")


@pytest.fixture
def chain(tmp_path: Path) -> Copying:
    return Copying(tmp_path, "chain-1.39.2")


def leases_in(store: ActingStore) -> list[str]:
    return [key for key in store.stored() if "/lease-" in key]


def others(store: ActingStore, *backup_ids: str, hold: Hold) -> None:
    """Have somebody else hold backups."""
    Leases(store, OTHER).take(backup_ids, hold)
    store.calls.clear()


def test_backup_that_somebody_deletes_is_not_copied(chain: Copying) -> None:
    others(chain.source, "full", hold=Hold.CHANGE)
    with pytest.raises(BackupInUse, match="full is in use: somebody holds a lease on it"):
        chain.copy("second")
    assert chain.target.contents() == {}
    assert len(leases_in(chain.source)) == 1


@pytest.mark.parametrize("hold", Hold)
def test_target_that_somebody_uses_is_not_changed(chain: Copying, hold: Hold) -> None:
    others(chain.target, "full", hold=hold)
    before = chain.target.contents()
    with pytest.raises(BackupInUse, match="full is in use: somebody holds a lease on it"):
        chain.copy("second")
    assert chain.target.contents() == before
    assert leases_in(chain.source) == []


def test_others_may_read_the_source(chain: Copying) -> None:
    others(chain.source, *CHAIN, hold=Hold.READ)
    chain.copy("second")
    chain.require_whole("full", "second")


def test_other_backups_of_the_location_are_free(chain: Copying) -> None:
    for store in (chain.source, chain.target):
        others(store, "third", hold=Hold.CHANGE)
    chain.copy("second")
    chain.require_whole("full", "second")


def test_what_a_copy_holds_meanwhile(chain: Copying) -> None:
    """The source and a base that is there are only read; nothing is held afterwards."""
    chain.copy("full")
    seen: set[tuple[str, str, str]] = set()

    def look(call: Call) -> None:
        if call.name != "create":
            return
        for end, store in (("source", chain.source), ("target", chain.target)):
            for key in leases_in(store):
                told = json.loads((store.root / key).read_bytes())
                assert (told["owner"], told["purpose"]) == ("Dag nightly", "copy")
                seen.add((end, key.partition("/")[0], told["hold"]))

    chain.target.before = look
    chain.copy("second")
    read = {("source", "full", "read"), ("source", "second", "read"), ("target", "full", "read")}
    assert seen == read | {("target", "second", "change")}
    assert leases_in(chain.source) == leases_in(chain.target) == []


def test_dry_run_holds_nothing_and_minds_nobody(chain: Copying) -> None:
    others(chain.target, "full", hold=Hold.CHANGE)
    assert chain.plan("second").copied == ("full", "second")
    assert [call for call in (*chain.source.calls, *chain.target.calls) if call.changes] == []


def test_source_that_may_not_be_written(chain: Copying, caplog: pytest.LogCaptureFixture) -> None:
    """A copy from a bucket that may only be read must be possible."""
    chain.source.before = Faults(lambda: StorageError("AccessDenied."), lambda call: call.changes)
    chain.copy("second")
    chain.require_whole("full", "second")
    told = "No lease can be left in the source, so nothing keeps others from pruning it: AccessDenied."
    assert told in caplog.text


def test_source_whose_leases_can_not_be_written_just_now(chain: Copying) -> None:
    chain.source.before = Faults(lambda: StorageUnreachable("Away."), lambda call: call.changes)
    with pytest.raises(StorageUnreachable, match="Away"):
        chain.copy("second")
    assert chain.backups() == set()


def lose_leases(monkeypatch: pytest.MonkeyPatch, seen: threading.Event) -> None:
    def lost(_: Leases) -> None:
        seen.set()
        raise StorageUnreachable("The leases could not be renewed.")

    monkeypatch.setattr(Leases, "require_held", lost)


def test_leases_that_are_lost_end_a_copy(chain: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may have begun to change what is copied."""
    seen = threading.Event()
    lose_leases(monkeypatch, seen)
    chain.target.before = lambda call: is_chunk(call) and seen.wait(20)
    with pytest.raises(StorageUnreachable, match="could not be renewed"):
        chain.copy("second")
    assert chain.backups() == set()
    assert len(chain.target.called("write")) < len(chain.source.stored("second/"))


def test_leases_that_are_lost_at_the_end_keep_it_invisible(chain: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*_: object) -> Moved:
        lose_leases(monkeypatch, threading.Event())
        return Moved(0, 0, 0)

    monkeypatch.setattr(mover.Mover, "move", moved)
    with pytest.raises(StorageUnreachable, match="could not be renewed"):
        chain.copy("second")
    assert chain.backups() == set()
