"""Copies whose chunks several workers share, each step in a process of its own."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.shared_copying import begin_shared, finish_shared, move_shared
from airflow_provider_vectorbackup.backups.copies import CopyResult
from airflow_provider_vectorbackup.exceptions import BackupInUse, CopyIncomplete, TargetOccupied
from tests.actions.copies import SMALL, Copying, Killed, change_byte, is_chunk
from tests.transfer.acting_store import Faults


class Sharing(Copying):
    """A copy of ``second`` and its base, shared out; what steps give passes through JSON."""

    def begin(self, workers: int = 3, backup_id: str = "second", **fields: Any) -> dict[str, Any]:
        return passed_on(begin_shared(self.order(backup_id, **fields), self.open, workers))

    def move(self, plan: dict[str, Any], share: int, **fields: Any) -> dict[str, int]:
        return passed_on(move_shared(self.order("second", **fields), self.open, plan, share))

    def finish(self, plan: dict[str, Any], moved: list[dict[str, int]], backup_id: str = "second") -> CopyResult:
        return finish_shared(self.order(backup_id), self.open, plan, moved, 2.0)

    def leases(self) -> list[str]:
        return [key for key in self.target.stored() if "/lease-" in key]


def passed_on(value: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(value))
    return read


@pytest.fixture
def sharing(tmp_path: Path) -> Sharing:
    return Sharing(tmp_path, "chain-1.39.2")


def test_three_at_the_same_time(sharing: Sharing) -> None:
    sharing.watch_for_halves()
    plan = sharing.begin()
    assert (plan["ids"], plan["chain"], plan["shares"]) == (["full", "second"], ["full", "second"], 3)
    with ThreadPoolExecutor(3) as pool:
        moved = list(pool.map(lambda share: sharing.move(plan, share), range(3)))
    assert sharing.backups() == set()
    result = sharing.finish(plan, moved)
    sharing.require_whole("full", "second")
    objects = [*sharing.source.stored("full/").values(), *sharing.source.stored("second/").values()]
    assert (result.objects, result.bytes_moved) == (len(objects), sum(stored.size_bytes for stored in objects))
    assert (result.seconds, result.copied, result.bytes_skipped) == (2.0, ("full", "second"), 0)


def test_every_chunk_is_moved_by_one_share_and_shares_are_alike(sharing: Sharing) -> None:
    plan = sharing.begin()
    moved = [sharing.move(plan, share) for share in range(3)]
    chunks = [call.key for call in sharing.target.calls if is_chunk(call)]
    assert len(chunks) == len(set(chunks)) == sum(each["objects"] for each in moved)
    counts = [each["objects"] for each in moved]
    assert max(counts) - min(counts) <= 1


def test_share_that_is_moved_twice(sharing: Sharing) -> None:
    plan = sharing.begin()
    first = [sharing.move(plan, share) for share in range(3)]
    sharing.forget_calls()
    again = sharing.move(plan, 1)
    assert (again["objects"], again["bytes_moved"], again["bytes_skipped"]) == (0, 0, first[1]["bytes_moved"])
    assert not [call for call in sharing.target.calls if is_chunk(call)]
    sharing.finish(plan, first)
    sharing.require_whole("full", "second")


def test_share_whose_worker_was_lost(sharing: Sharing) -> None:
    plan = sharing.begin()
    sharing.move(plan, 0)
    sharing.target.before = Faults(Killed, lambda call: is_chunk(call) and "Product" in call.key)
    with pytest.raises(Killed):
        sharing.move(plan, 1)
    sharing.target.before = lambda _: None
    moved = [sharing.move(plan, share) for share in (1, 2)]
    sharing.finish(plan, moved)
    sharing.require_whole("full", "second")


def test_share_that_is_missing(sharing: Sharing) -> None:
    plan = sharing.begin()
    moved = [sharing.move(plan, share) for share in (0, 2)]
    with pytest.raises(CopyIncomplete, match=r"full is not whole in the target: full/w1/\S+ was not copied"):
        sharing.finish(plan, moved)
    assert sharing.backups() == set()
    sharing.move(plan, 1)
    sharing.finish(plan, moved)
    sharing.require_whole("full", "second")


@pytest.mark.parametrize("delete", [True, False])
def test_chunk_that_is_lost_before_the_end(sharing: Sharing, *, delete: bool) -> None:
    plan = sharing.begin(workers=1)
    moved = [sharing.move(plan, 0)]
    path = sharing.target.root / "second/w1/Photo/chunk-1"
    path.unlink() if delete else change_byte(path)
    with pytest.raises(CopyIncomplete, match="second/w1/Photo/chunk-1"):
        sharing.finish(plan, moved)
    assert "second" not in sharing.backups()


def test_more_workers_than_chunks(tmp_path: Path) -> None:
    sharing = Sharing(tmp_path, SMALL)
    plan = sharing.begin(workers=50)
    assert plan["shares"] == 2  # chunks, beside two descriptors
    moved = [sharing.move(plan, share) for share in range(plan["shares"])]
    sharing.finish(plan, moved)
    sharing.require_whole("second")


def test_nothing_to_move(sharing: Sharing) -> None:
    sharing.copy("second")
    before = sharing.target.stored()
    plan = sharing.begin()
    assert (plan["shares"], plan["ids"]) == (0, [])
    result = sharing.finish(plan, [])
    assert (result.copied, result.objects, result.bytes_moved) == ((), 0, 0)
    assert result.bytes_skipped > 0
    assert sharing.target.stored() == before


def test_leases_hold_between_the_steps(sharing: Sharing) -> None:
    plan = sharing.begin()
    assert len(sharing.leases()) == 2
    for path in sharing.target.root.rglob("lease-*"):
        state = path.stat()
        os.utime(path, (state.st_atime, state.st_mtime - 600))
    with pytest.raises(BackupInUse, match=r"(second|full) is in use"):
        sharing.copy("second", owner="Dag other")
    moved = [sharing.move(plan, share) for share in range(3)]
    with pytest.raises(BackupInUse):
        sharing.move(plan, 0, owner="Dag other")
    sharing.finish(plan, moved)
    assert sharing.leases() == []


def test_leases_end_where_no_copy_was_planned(sharing: Sharing) -> None:
    sharing.target.put("full/w1/Photo/chunk-1", b"x")
    with pytest.raises(TargetOccupied):
        sharing.begin()
    assert sharing.leases() == []


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"version": 2}'])
def test_plan_that_is_not_there_any_more(sharing: Sharing, content: bytes | None) -> None:
    plan = sharing.begin()
    key = "full/_vectorbackup/copy/plan.json"
    (sharing.target.root / key).unlink()
    if content is not None:
        sharing.target.put(key, content)
    for step in (lambda: sharing.move(plan, 0), lambda: sharing.finish(plan, [])):
        with pytest.raises(CopyIncomplete, match=key):
            step()
    assert sharing.backups() == set()
