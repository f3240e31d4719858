"""A prune that is killed, or meets an error, at any call of the store: another one finishes it."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions import prune_work
from airflow_provider_vectorbackup.actions.prune_mark import mark_key
from airflow_provider_vectorbackup.exceptions import StorageError, StorageUnreachable
from tests.actions.copies import Killed
from tests.actions.prunes import GONE, KEPT, Nth, Pruning, raising, small_chains

FOREIGN = {"third/notes.txt", "gone/notes.txt"}


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_work, "SETTLE_SECONDS", 0)


def mixed(folder: Path) -> Pruning:
    """Return a place with two chains, a backup as of 1.15, and all kinds of leftovers."""
    pruning = small_chains(folder)
    pruning.put_single("x1")
    for key in FOREIGN:
        pruning.put(key)
    pruning.put_node("gone")
    pruning.put("gone/w1/Article/chunk-1")
    pruning.put("newest/access-check-1")
    pruning.put("third/_vectorbackup/verify-quick.json")
    for name in ("gone", "newest"):
        pruning.put_upload(f"{name}/w1/Article/chunk-9")
    return pruning


def kept_of(pruning: Pruning) -> dict[str, bytes]:
    """Return what lies there of the backups that are kept, but for leases and leftovers."""
    contents = {key: content for name in KEPT for key, content in pruning.store.contents(f"{name}/").items()}
    return {key: content for key, content in contents.items() if "_vectorbackup" not in key and "access" not in key}


def test_killed_anywhere(tmp_path: Path) -> None:
    for number in itertools.count(1):
        pruning = mixed(tmp_path / str(number))
        kept = kept_of(pruning)
        end = Nth(number, raising(Killed()), lasts=True)  # so that nothing can be cleaned up
        pruning.store.before = end
        with suppress(Killed):
            pruning.prune()
        assert pruning.damage(*pruning.backups()) == {}, number
        assert pruning.backups() >= set(KEPT)
        pruning.prune_undisturbed()
        # A lease in a backup that stays ends by itself.
        assert pruning.keys() - pruning.leases("newest") == kept.keys() | FOREIGN, number
        assert kept_of(pruning) == kept
        assert not list(pruning.store.list_unfinished_uploads())
        if not end.was_reached:
            break
    assert number > 90


def test_killed_anywhere_without_marks(tmp_path: Path) -> None:
    """Where nothing new can be deleted for a time: what is left is known by the nodes' descriptors, to the end."""
    for number in itertools.count(1):
        pruning = small_chains(tmp_path / str(number))
        kept = kept_of(pruning)
        pruning.store.policy = "a retention policy of 86400 seconds"
        pruning.store.before = end = Nth(number, raising(Killed()), lasts=True)
        with suppress(Killed):
            pruning.prune()
        assert pruning.damage(*pruning.backups()) == {}, number
        pruning.prune_undisturbed()
        assert pruning.keys() == kept.keys(), number
        if not end.was_reached:
            break
    assert number > 25


@pytest.mark.parametrize(
    ("when", "error"),
    [("before", StorageError), ("before", StorageUnreachable), ("before", Killed), ("after", StorageUnreachable)],
)
def test_error_anywhere(tmp_path: Path, when: str, error: type[BaseException]) -> None:
    """Or the answer to any call is lost; all of which nothing may be gone is back."""
    for number in itertools.count(1):
        pruning = small_chains(tmp_path / str(number))
        kept = kept_of(pruning)
        end = Nth(number, raising(error("No.")))
        setattr(pruning.store, when, end)
        with suppress(StorageError, Killed):
            pruning.prune()
        assert pruning.damage(*pruning.backups()) == {}, number
        assert pruning.backups() >= set(KEPT)
        written = pruning.store.called("write")
        begun = {name for name in GONE if written.count(mark_key(name)) > 1}
        if error is not Killed:
            assert pruning.backups() == {*GONE, *KEPT} - begun, number
        pruning.prune_undisturbed()
        assert pruning.keys() == kept.keys(), number
        if not end.was_reached:
            break
    assert number > 50
