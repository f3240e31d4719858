"""Moves through stores that fail, for a moment or for good; of objects and uploads that are not there any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorbackup.exceptions import (
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage.store import PIECE_BYTES, UnfinishedUpload
from airflow_provider_vectorbackup.transfer import moving as mover
from airflow_provider_vectorbackup.transfer import reading, threads
from airflow_provider_vectorbackup.transfer.moving import Moved
from tests.services.process import wait_until
from tests.transfer.acting_store import Call, Faults, small
from tests.transfer.movings import Moving, away, is_of_journal

LIMITS = small(10, 4)
LARGE = {"a": b"0123456789ABCDEF", "b": b"xyz"}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny ones, as many as there are."""
    monkeypatch.setattr(mover, "PAUSES_SECONDS", (0.001,) * 4)
    monkeypatch.setattr(reading, "_PAUSES_SECONDS", (0.0,) * 3)
    monkeypatch.setattr(threads, "_MEANWHILE_SECONDS", 0.01)


def of(name: str, key: str = "") -> Faults:
    """Faults that pass after four times: one attempt is left."""
    return Faults(away, lambda call: call.name == name and call.key.startswith(key) and not is_of_journal(call), 4)


class TestPassing:
    @pytest.mark.parametrize("name", ["write", "begin_upload", "put_part", "finish_upload"])
    def test_what_the_target_fails_at_is_tried_again(self, tmp_path: Path, name: str) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        moving.target.before = faults = of(name)
        assert moving.move() == Moved(2, 19, 0)
        assert faults.seen == 4
        moving.require_moved()

    def test_what_the_source_fails_at_is_tried_again(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        moving.source.before = faults = of("stream")
        moving.move()
        assert faults.seen == 4
        moving.require_moved()

    def test_answer_that_is_lost(self, tmp_path: Path) -> None:
        """The store has done it: the same again is no harm."""
        moving = Moving(tmp_path, LARGE, LIMITS)
        lost = Faults(away, lambda call: call.name in ("write", "put_part") and not is_of_journal(call), 4)
        moving.target.after = lost
        moving.move()
        assert lost.seen == 4
        moving.require_moved()

    def test_all_threads_wait(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A store that is asked too often says so to one of them; the others must not go on asking."""
        moving = Moving(tmp_path, {f"{n}": b"x" for n in range(4)}, LIMITS)
        monkeypatch.setattr(mover, "PAUSES_SECONDS", (1000.0,))
        moving.target.before = Faults(away, lambda call: call.key == "x1/0", 1)
        waits = list[float]()
        made = moving.make(threads=1)

        def waited(seconds: float) -> bool:
            waits.append(seconds)
            made._go_on_at = 0.0
            return False

        monkeypatch.setattr(made._stop, "wait", waited)
        made.move(moving.listed)
        (seconds,) = waits
        assert 799 < seconds <= 1200
        moving.require_moved()

    def test_it_gives_up_clearly(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        moving.target.before = faults = Faults(away, lambda call: call.key == "x1/b")
        with pytest.raises(StorageUnreachable, match=r"Given up after 5 attempts\. No answer\.") as caught:
            moving.move(threads=1)
        assert (faults.seen, caught.value.hint) == (5, "Look at the network.")

    @pytest.mark.parametrize("name", ["write", "begin_upload", "put_part", "finish_upload"])
    def test_refusal_is_not_tried_again(self, tmp_path: Path, name: str) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        refused = Faults(
            lambda: StorageError("AccessDenied."), lambda call: call.name == name and not is_of_journal(call)
        )
        moving.target.before = refused
        with pytest.raises(StorageError, match="AccessDenied"):
            moving.move(threads=1)
        assert refused.seen == 1


class TestEnd:
    def test_what_was_moved_before_is_in_the_journal(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, {f"{n}": b"x" * (9 - n) for n in range(9)}, LIMITS)
        moving.target.before = Faults(lambda: StorageError("Full."), lambda call: call.key == "x1/5")
        with pytest.raises(StorageError, match="Full"):
            moving.move(threads=1)
        assert sorted(moving.journal().objects) == [f"x1/{n}" for n in range(5)]
        moving.target.before = lambda _: None
        moving.target.calls.clear()
        assert moving.move() == Moved(4, 10, 0)
        assert sorted(key for key in moving.target.called("write") if "journal" not in key) == [
            f"x1/{n}" for n in range(5, 9)
        ]
        moving.require_moved()

    def test_others_stop_in_the_midst(self, tmp_path: Path) -> None:
        """A thread that is on a large object does not move it to its end when another has failed."""
        moving = Moving(tmp_path, {"a": b"x" * (3 * 2**20), "b": b"y"}, small(2**30, 2**30, is_buffered=False))
        passed = list[int]()

        def piece(call: Call, content: bytes) -> None:
            if call.key == "x1/a":
                passed.append(len(content))
                moving.mover._stop.wait(20)

        moving.target.while_written = piece

        def refused(call: Call) -> None:
            if call.key == "x1/b":
                wait_until(lambda: bool(passed), 20, "a piece of the large object", 0.005)
                raise StorageError("Full.")

        moving.target.before = refused
        with pytest.raises(StorageError, match="Full"):
            moving.move(threads=2, buffer_bytes=2**22)
        assert passed == [PIECE_BYTES]
        assert moving.target.contents() == {}

    def test_what_is_watched_ends_it(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, {f"{n}": b"x" for n in range(3)}, LIMITS)
        moving.target.before = lambda call: is_of_journal(call) or moving.mover._stop.wait(20)

        def lost() -> None:
            raise StorageUnreachable("The leases are lost.")

        with pytest.raises(StorageUnreachable, match="leases are lost"):
            moving.move(threads=1, watch=lost)
        assert len(moving.target.called("write")) < 3


class TestSource:
    def test_object_that_changed_ends_it(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        moving.source.put("x1/a", b"fedcba9876543210")
        with pytest.raises(ObjectChanged):
            moving.move()
        assert "x1/a" not in moving.target.stored()

    @pytest.mark.parametrize("name", ["a", "b"])
    def test_object_that_vanished_ends_it(self, tmp_path: Path, name: str) -> None:
        """In parts or not: that the source has none is not taken for an upload that the target has none of."""
        moving = Moving(tmp_path, LARGE, LIMITS)
        (moving.source.root / "x1" / name).unlink()
        with pytest.raises(ObjectNotFound, match="source"):
            moving.move()
        assert f"x1/{name}" not in moving.target.stored()


def interrupted(moving: Moving, parts: int) -> UnfinishedUpload:
    """Move so many parts of what is large, and be interrupted before the next, or the end."""
    there = tuple(f"#{number}" for number in range(1, parts + 1))
    moving.target.before = Faults(
        lambda: StorageError("Full."),
        lambda call: call.name == "finish_upload" or (call.name == "put_part" and not call.key.endswith(there)),
    )
    with pytest.raises(StorageError, match="Full"):
        moving.move(threads=1)
    moving.target.before = lambda _: None
    moving.target.calls.clear()
    (upload,) = moving.target.list_unfinished_uploads()
    return upload


class TestUploads:
    def test_parts_that_are_there_are_not_moved_again(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        interrupted(moving, 2)
        assert moving.move() == Moved(2, 11, 8)
        assert sorted(moving.target.called("put_part")) == ["x1/a#3", "x1/a#4"]
        assert moving.target.called("begin_upload") == []
        moving.require_moved()

    def test_all_parts_are_there_and_only_the_end_is_missing(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        interrupted(moving, 4)
        assert moving.move() == Moved(2, 3, 16)
        assert moving.target.called("put_part") == []
        moving.require_moved()

    @pytest.mark.parametrize("parts", [2, 4])
    @pytest.mark.parametrize("workers", [1, 4])
    def test_continued_one_that_is_gone_begins_anew(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, parts: int, workers: int
    ) -> None:
        """A bucket's rules may delete what lay unfinished too long."""
        moving = Moving(tmp_path, LARGE, LIMITS)
        upload = interrupted(moving, parts)
        moving.target.abort(upload)
        assert moving.move(threads=workers) == Moved(2, 19, 0)
        assert caplog.text.count("The upload to x1/a is gone; it begins anew.") == 1
        moving.require_moved()

    def test_fresh_one_that_is_gone_once_begins_anew(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        left = ["x1/a#3"]

        def gone(call: Call) -> None:
            if call.key in left:
                left.remove(call.key)
                for upload in list(moving.target.list_unfinished_uploads()):
                    (moving.target.root / "x1" / upload.upload_id).unlink()

        moving.target.before = gone
        assert moving.move(threads=1).objects == 2
        assert moving.target.called("begin_upload") == ["x1/a", "x1/a"]
        moving.require_moved()

    @pytest.mark.parametrize("name", ["put_part", "finish_upload"])
    def test_one_that_is_gone_again_and_again_is_an_error(self, tmp_path: Path, name: str) -> None:
        """Whoever deletes uploads as fast as they are begun would keep this busy for ever."""
        moving = Moving(tmp_path, LARGE, LIMITS)

        def gone(call: Call) -> None:
            if call.name == name:
                for upload in list(moving.target.list_unfinished_uploads()):
                    (moving.target.root / "x1" / upload.upload_id).unlink()

        moving.target.before = gone
        with pytest.raises(ObjectNotFound, match="x1/a"):
            moving.move(threads=1)

    def test_upload_of_what_the_source_held_before_is_not_gone_on_with(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        interrupted(moving, 2)
        moving.source.put("x1/a", b"fedcba9876543210")
        moving.listed = list(moving.source.stored().values())
        assert moving.move() == Moved(2, 19, 0)
        assert moving.target.contents("x1/a") == {"x1/a": b"fedcba9876543210"}

    def test_parts_of_another_size_are_not_gone_on_with(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, LARGE, LIMITS)
        interrupted(moving, 2)
        moving.target.part_limits = small(10, 5)
        assert moving.move() == Moved(2, 19, 0)
        assert moving.journal().objects["x1/a"].part_bytes == 5


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=5),
    st.lists(st.tuples(st.sampled_from(["before", "after", "source"]), st.integers(0, 25)), max_size=3),
    st.integers(1, 4),
)
def test_whatever_fails_in_passing(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], faults: list[tuple[str, int]], workers: int
) -> None:
    """What comes of it, and its checksums, are right, after as many calls as there may be before a fault."""
    objects = {f"w1/{n}": bytes((n + at) % 251 for at in range(size)) for n, size in enumerate(sizes)}
    moving = Moving(tmp_path_factory.mktemp("any"), objects, LIMITS)
    for where, calls in faults:
        store = moving.source if where == "source" else moving.target
        name = "after" if where == "after" else "before"
        setattr(store, name, _after_calls(calls, "stream" if where == "source" else "put_part write"))
    moving.move(threads=workers)
    moving.require_moved()


def _after_calls(calls: int, names: str) -> Faults:
    left = [calls]

    def concerns(call: Call) -> bool:
        if call.name in names.split() and not is_of_journal(call):
            left[0] -= 1
            return left[0] < 0
        return False

    return Faults(away, concerns, 2)
