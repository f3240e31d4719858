"""Copies that end in the midst, anywhere: never seen half, gone on with, and nothing moved twice."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.exceptions import BackupInUse, StorageError
from tests import trees
from tests.actions.copies import REPLACE, At, Copying, Killed, change_byte, is_chunk, journals
from tests.services.process import wait_until
from tests.transfer.acting_store import Call, Faults

ROOT = Path(trees.__file__).parent.parent.parent


@contextmanager
def copied_by_another_process(copying: Copying, folder: Path, tree: str, backup_id: str, chunks: int) -> Iterator[None]:
    """Have a process copy so many chunks and tell them in the journal; kill it."""
    command = [sys.executable, "-m", "tests.actions.copies", str(folder), tree, backup_id, str(chunks)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            wait_until(lambda: told(copying, backup_id) >= chunks, 60, "the journal of the other process", 0.02)
            yield
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def told(copying: Copying, backup_id: str) -> int:
    """Return of how many objects the journal tells."""
    contents = (copying.target.root / key for key in journals(copying, backup_id))
    return sum(path.read_text().count('"sha256"') for path in contents)


def end_lease(copying: Copying, seconds: float) -> None:
    """Have the leases in the target be older."""
    for path in copying.target.root.glob("*/_vectorbackup/lease-*"):
        modified = path.stat().st_mtime - seconds
        os.utime(path, (modified, modified))


@pytest.mark.parametrize("once", [True, False], ids=["unwinds", "dies"])
def test_anywhere_and_again(tmp_path: Path, *, once: bool) -> None:
    for number in itertools.count(1):
        copying = Copying(tmp_path / str(number))
        copying.target.before = end = At(number, once=once)
        copying.watch_for_halves()
        try:
            copying.copy("first")
        except Killed:
            pass
        else:
            assert not end.was_reached or once  # what is left behind at the end may stay
        copying.require_never_half()
        copying.target.before = lambda _: None
        copying.copy("first")
        copying.require_whole("first")
        if not end.was_reached:
            break
    assert number > 12


@pytest.mark.parametrize("number", range(5, 160, 13))
def test_chain_anywhere_and_again(tmp_path: Path, number: int) -> None:
    copying = Copying(tmp_path, "three-nodes-1.39.2")
    copying.target.before = At(number)
    copying.target.after = lambda call: copying.require_never_half() if "backup" in call.key and call.changes else None
    with pytest.raises(Killed) if number < 80 else suppress(Killed):
        copying.copy("second")
    copying.require_never_half()
    copying.target.before = lambda _: None
    copying.copy("second")
    copying.require_whole("full", "second")


def test_replacement_anywhere_and_again(tmp_path: Path) -> None:
    for number in itertools.count(1):
        copying = Copying(tmp_path / str(number))
        copying.copy("first")
        change_byte(copying.target.root / "first/w1/Article/chunk-1")
        copying.target.before = end = At(number)
        with suppress(Killed):
            copying.copy("first", on_conflict=REPLACE)
        copying.require_never_half()
        copying.target.before = lambda _: None
        copying.copy("first", on_conflict=REPLACE)
        copying.require_whole("first")
        if not end.was_reached:
            break


def test_what_the_journal_tells_is_not_moved_again(tmp_path: Path) -> None:
    copying = Copying(tmp_path, "three-nodes-1.39.2")
    copying.target.before = Faults(Killed, lambda call: is_chunk(call) and len(moved(copying)) > 20)
    with pytest.raises(Killed):
        copying.copy("second", threads=1)
    first = set(moved(copying)[:20])
    copying.target.before = lambda _: None
    copying.forget_calls()
    result = copying.copy("second", threads=1)
    assert not first & set(moved(copying))
    assert not first & set(copying.source.called("stream"))
    assert result.bytes_skipped == sum(copying.source.stored()[key].size_bytes for key in first)
    assert result.objects == len(copying.source.stored()) - 20
    copying.require_whole("full", "second")


def test_chunk_that_was_changed_between_two_tries_is_moved_again(tmp_path: Path) -> None:
    copying = Copying(tmp_path)
    copying.target.before = Faults(Killed, lambda call: is_chunk(call) and len(moved(copying)) > 1)
    with pytest.raises(Killed):
        copying.copy("first", threads=1)
    copying.target.before = lambda _: None
    change_byte(copying.target.root / moved(copying)[0])
    copying.copy("first")
    copying.require_whole("first")


def test_chunk_that_was_changed_after_it_was_moved_is_found(tmp_path: Path) -> None:
    copying = Copying(tmp_path)

    def change(call: Call) -> None:
        if is_chunk(call):
            change_byte(copying.target.root / call.key)

    copying.target.after = change
    with pytest.raises(Exception, match="was written anew by somebody else") as caught:
        copying.copy("first")
    assert "not whole in the target" in str(caught.value)
    assert copying.backups() == set()


def test_refusal_in_the_midst_is_told_and_gone_on_from(tmp_path: Path) -> None:
    copying = Copying(tmp_path)
    copying.target.before = Faults(lambda: StorageError("The disk is full."), is_chunk, 1)
    with pytest.raises(StorageError, match="The disk is full"):
        copying.copy("first")
    copying.require_never_half()
    copying.copy("first")
    copying.require_whole("first")


def test_journal_that_can_not_be_deleted_is_deleted_by_the_next_run(tmp_path: Path) -> None:
    copying = Copying(tmp_path)
    copying.target.before = Faults(
        lambda: StorageError("No."), lambda call: call.name == "delete" and "/copy/journal-" in call.key
    )
    assert copying.copy("first").copied == ("first",)
    assert copying.backups() == {"first"}
    copying.target.before = lambda _: None
    assert copying.copy("first").copied == ()
    copying.require_whole("first")


class TestKilledProcess:
    def test_same_owner_goes_on_at_once(self, tmp_path: Path) -> None:
        copying = Copying(tmp_path, "three-nodes-1.39.2")
        with copied_by_another_process(copying, tmp_path, "three-nodes-1.39.2", "full", 10):
            copying.require_never_half()
        result = copying.copy("full")
        assert len(moved(copying)) == len(copying.source.stored("full/")) - 10 - len(descriptors(copying))
        assert result.bytes_skipped > 0
        copying.require_whole("full")

    def test_another_owner_waits_for_the_lease_to_end(self, tmp_path: Path) -> None:
        copying = Copying(tmp_path, "three-nodes-1.39.2")
        with (
            copied_by_another_process(copying, tmp_path, "three-nodes-1.39.2", "full", 3),
            pytest.raises(BackupInUse, match="full is in use: Dag nightly holds a lease on it"),
        ):
            copying.copy("full", owner="Dag other")
        for _ in range(2):
            with pytest.raises(BackupInUse, match="if it was killed, the lease ends in"):
                copying.copy("full", owner="Dag other")
        end_lease(copying, 121)
        assert copying.copy("full", owner="Dag other").bytes_skipped > 0
        assert copying.backups() == {"full"}


def moved(copying: Copying) -> list[str]:
    """Return the keys of the chunks whose move has begun."""
    return [call.key for call in copying.target.calls if is_chunk(call)]


def descriptors(copying: Copying) -> list[str]:
    return [key for key in copying.source.stored("full/") if key.endswith(".json")]
