"""What a move leaves where the machine crashes: journals tell of nothing that may be lost."""

from __future__ import annotations

import ctypes
import errno
import json
import threading
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.exceptions import StorageUnreachable
from airflow_provider_vectorbackup.storage import folders
from airflow_provider_vectorbackup.transfer import moving as mover
from airflow_provider_vectorbackup.transfer import threads
from airflow_provider_vectorbackup.transfer.moving import Moved
from tests.services.process import wait_until
from tests.transfer.acting_store import Call, small
from tests.transfer.movings import Moving, is_of_journal

LIMITS = small(10, 4)


@pytest.fixture
def journals_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_NOTE_SECONDS", "_LAST_NOTE_SECONDS"):
        monkeypatch.setattr(mover, name, 0.0)
    monkeypatch.setattr(threads, "_MEANWHILE_SECONDS", 0.01)


def test_settled_before_it_is_told(tmp_path: Path) -> None:
    moving = Moving(tmp_path, {"a": b"0123456789ABCDEF", "b": b"xyz"}, LIMITS)
    moving.move()
    *_, settled, told = moving.target.calls
    assert (settled, told.name, is_of_journal(told)) == (Call("settle", ""), "write", True)
    moving.target.calls.clear()
    moving.move()
    assert moving.target.called("settle", "write") == []
    moving.require_moved()


@pytest.mark.usefixtures("journals_at_once")
def test_what_is_whole_only_while_others_are_settled_is_told_later(tmp_path: Path) -> None:
    moving = Moving(tmp_path, {"a": b"xx", "b": b"y"}, LIMITS)
    settling = threading.Event()

    def before(call: Call) -> None:
        if call == Call("write", "x1/b"):
            settling.wait(20)
        if call.name == "settle" and not settling.is_set():
            settling.set()
            wait_until(lambda: len(moving.mover._whole) == 2, 20, "the other object", 0.005)

    moving.target.before = before
    moving.move(threads=2)
    told = moving.target.contents("x1/_vectorbackup/").values()
    assert [list(json.loads(content)["objects"]) for content in told] == [["x1/a"], ["x1/b"]]
    moving.require_moved()


@pytest.mark.usefixtures("journals_at_once")
def test_what_is_lost_ends_it_and_is_moved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: the operating system tells it one time, and of all that it holds."""
    moving = Moving(tmp_path, {"a": b"xx", "b": b"y"}, LIMITS)
    moving.target.before = lambda call: call == Call("write", "x1/b") and moving.mover._stop.wait(20)
    codes = [errno.EIO]

    def failing_once(_: int) -> int:
        return ctypes.set_errno(codes.pop()) or -1 if codes else 0

    monkeypatch.setattr(folders, "_syncfs", failing_once)
    with pytest.raises(StorageUnreachable, match="can't be written: Input/output error"):
        moving.move(threads=2)
    assert moving.journal().objects == {}
    again = Moving(tmp_path, {}, LIMITS)
    assert again.move() == Moved(2, 3, 0)
    again.require_moved()
