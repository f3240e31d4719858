"""What comes of a move, and how it is done; of faults, see test_moving_faults."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.storage.store import PIECE_BYTES
from airflow_provider_vectorbackup.transfer.moving import Moved
from airflow_provider_vectorbackup.transfer.pieces import Pieces
from tests.transfer.acting_store import ActingStore, Call, small
from tests.transfer.movings import Moving, is_of_journal, sha256

LIMITS = small(10, 4)
OBJECTS = {"a": b"0123456789", "b": b"0123456789A", "c": b"", "w1/d": b"x" * 8, "w1/e": b"y" * 25}


def test_all_of_it_and_nothing_else(tmp_path: Path) -> None:
    moving = Moving(tmp_path, OBJECTS, LIMITS)
    assert moving.move() == Moved(5, 54, 0)
    entries = moving.require_moved()
    assert entries["x1/a"].parts == (sha256(OBJECTS["a"]),)
    assert entries["x1/a"].part_bytes == 0
    assert entries["x1/b"].parts == tuple(map(sha256, (b"0123", b"4567", b"89A")))
    assert entries["x1/b"].part_bytes == 4
    assert entries["x1/c"].parts == (sha256(b""),)


def test_nothing_to_move(tmp_path: Path) -> None:
    moving = Moving(tmp_path, {})
    assert moving.move() == Moved(0, 0, 0)
    assert moving.target.contents() == {}


def test_object_of_one_part(tmp_path: Path) -> None:
    """Larger than goes whole, and smaller than a part: its checksum is the plain one."""
    moving = Moving(tmp_path, {"a": b"12345"}, small(2, 10))
    moving.move()
    assert moving.target.called("begin_upload") == ["x1/a"]
    assert moving.require_moved()["x1/a"].sha256 == sha256(b"12345")


def test_bytes_are_read_as_they_were_listed(tmp_path: Path) -> None:
    moving = Moving(tmp_path, {"a": b"x" * 30}, small(40, 40))
    moving.source.before = lambda call: moving.source.put("x1/a", b"y" * 30) if call.name == "stream" else None
    with pytest.raises(Exception, match="was written anew"):
        moving.move()
    assert "x1/a" not in moving.target.stored()


def test_largest_first(tmp_path: Path) -> None:
    """What is largest must not be what everybody waits for at the end."""
    moving = Moving(tmp_path, {f"{size}": b"x" * size for size in (3, 9, 1, 5, 7)}, LIMITS)
    moving.move(threads=1)
    assert moving.target.called("write")[:5] == [f"x1/{size}" for size in (9, 7, 5, 3, 1)]


def test_as_many_at_once_as_there_are_threads(tmp_path: Path) -> None:
    moving = Moving(tmp_path, {"a": b"x" * 12, "b": b"y"}, LIMITS)
    together = threading.Barrier(4, timeout=20)
    moving.target.while_written = lambda call, _: None if is_of_journal(call) else together.wait()
    moving.move(threads=4)
    moving.require_moved()


class TestMemory:
    @pytest.mark.parametrize("part", [3, 4])
    def test_never_more_on_its_way_than_the_buffers_hold(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
    ) -> None:
        """As many parts fit as come together, and one more never joins them."""
        moving = Moving(tmp_path, dict.fromkeys("abc", b"x" * 24), small(2, part))
        fit = 10 // part
        lock, inside, most = threading.Lock(), set[int](), 0
        together = threading.Barrier(fit, timeout=20)
        enter, leave = Pieces.__enter__, Pieces.__exit__

        def entered(pieces: Pieces) -> Pieces:
            nonlocal most
            enter(pieces)
            with lock:
                inside.add(id(pieces))
                most = max(most, len(inside))
            return pieces

        def left(pieces: Pieces, *error: object) -> None:
            with lock:
                inside.remove(id(pieces))
            leave(pieces, *error)  # type: ignore[arg-type]

        def met(call: Call, _: bytes) -> None:
            if call.name == "put_part" and call.key[-2:] in ("#1", "#2", "#3") and call.key.startswith("x1/a"):
                together.wait()

        monkeypatch.setattr(Pieces, "__enter__", entered)
        monkeypatch.setattr(Pieces, "__exit__", left)
        moving.target.while_written = met if fit == 3 else lambda *_: None
        moving.move(threads=8, buffer_bytes=10)
        moving.require_moved()
        assert most <= fit
        assert fit in {most, 2}

    def test_buffers_that_one_part_does_not_fit_into(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, {"a": b"x" * 30}, LIMITS)
        with pytest.raises(InvalidRequest, match=r"An object of 30 B goes in parts of 4 B.*3 B") as caught:
            moving.move(buffer_bytes=3)
        assert "buffer_mib" in caught.value.hint
        assert moving.target.calls == []

    def test_a_whole_one_that_does_not_fit(self, tmp_path: Path) -> None:
        """Smaller than the largest, which goes in smaller parts: it would wait for memory for ever."""
        moving = Moving(tmp_path, {"a": b"x" * 30, "b": b"x" * 10}, LIMITS)
        with pytest.raises(InvalidRequest, match="An object of 10 B"):
            moving.move(buffer_bytes=8)

    def test_parts_of_a_huge_object_are_larger(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, {"a": b"x" * 100}, small(10, 4, most_parts=5))
        with pytest.raises(InvalidRequest, match="An object of 100 B goes in parts of 20 B"):
            moving.move(buffer_bytes=19)
        moving.move(buffer_bytes=20)
        assert len(moving.require_moved()["x1/a"].parts) == 5

    def test_store_that_keeps_nothing_needs_few_pieces(self, tmp_path: Path) -> None:
        limits = small(2**30, 2**30, is_buffered=False)
        moving = Moving(tmp_path, {"a": b"x" * (5 * PIECE_BYTES)}, limits)
        with pytest.raises(InvalidRequest, match="buffer"):
            moving.move(buffer_bytes=4 * PIECE_BYTES - 1)
        moving.move(buffer_bytes=4 * PIECE_BYTES)
        moving.require_moved()

    def test_what_is_copied_inside_the_storage_takes_none(self, tmp_path: Path) -> None:
        moving = Moving(tmp_path, OBJECTS, LIMITS)
        origin = moving.source._location
        assert moving.move(buffer_bytes=1, origin=origin) == Moved(5, 54, 0)
        assert moving.target.called("copy")[0] == "x1/w1/e"
        assert moving.source.called("stream") == []
        entry = moving.journal().objects["x1/w1/e"]
        assert (entry.sha256, entry.size_bytes) == (None, 25)
        assert entry.etag == moving.target.stored()["x1/w1/e"].etag


def test_rate_is_bound_over_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moving = Moving(tmp_path, dict.fromkeys("abcde", b"x" * 10), LIMITS)
    taken: list[int] = []
    monkeypatch.setattr(
        "airflow_provider_vectorbackup.transfer.rate.RateLimit.take", lambda _, size: taken.append(size)
    )
    moving.move(threads=4, bytes_per_second=5.0)
    assert sorted(taken) == [10] * 5


sizes = st.integers(0, 60)


@settings(max_examples=40)
@given(
    st.lists(sizes, max_size=6),
    st.tuples(st.integers(0, 30), st.integers(1, 20)),
    st.integers(1, 5),
    st.integers(20, 60),
)
def test_any_sizes_in_any_parts(
    tmp_path_factory: pytest.TempPathFactory,
    given_sizes: list[int],
    limits: tuple[int, int],
    threads: int,
    buffer_bytes: int,
) -> None:
    objects = {f"w1/{n}": bytes((n + at) % 251 for at in range(size)) for n, size in enumerate(given_sizes)}
    whole, least = limits
    moving = Moving(tmp_path_factory.mktemp("any"), objects, small(min(whole, 20), least))
    assert moving.move(threads=threads, buffer_bytes=buffer_bytes) == Moved(len(objects), sum(given_sizes), 0)
    moving.require_moved()


def test_source_is_only_read(tmp_path: Path) -> None:
    moving = Moving(tmp_path, OBJECTS, LIMITS)
    moving.move()
    assert [call for call in moving.source.calls if call.changes] == []
    assert isinstance(moving.source, ActingStore)
