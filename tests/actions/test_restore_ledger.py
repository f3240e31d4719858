"""What is kept on record of restores."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.actions.restore_ledger import Ledger, LedgerFile, LedgerMemory
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from tests.actions.conftest import TaskMemory
from tests.actions.stores import StoreOf

URL = "http://weaviate.example.com:8080"
KEY = f"x1/_vectorbackup/restored-{hashlib.sha256(URL.encode()).hexdigest()[:16]}.json"
NAMES = st.lists(st.text(min_size=1), max_size=3).map(tuple)
REMEMBERED = st.none() | st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.lists(st.text()))


def intent(*collections: str, stage: str = "sent") -> dict[str, Any]:
    """Return what a task remembers of a restore, as far as the ledger looks at it."""
    return {"operation": {"collections": list(collections)}, "stage": stage, "before": None}


@pytest.fixture
def store(tmp_path: Path) -> StoreOf:
    return StoreOf(tmp_path, {})


@pytest.fixture
def file(store: StoreOf) -> LedgerFile:
    return LedgerFile(store, "x1", URL)


class TestFile:
    def test_is_read_as_it_was_written(self, store: StoreOf, file: LedgerFile) -> None:
        assert file.read() is None
        first = Ledger("Dag a, run 1", URL, ("Article", "Author"), ("Article",), ("Story",), intent("Author"))
        file.write(first)
        assert [stored.key for stored in store.list_objects()] == [KEY]
        assert file.read() == first
        file.write(Ledger("Dag a, run 2", URL))
        assert file.read() == Ledger("Dag a, run 2", URL)
        file.delete()
        assert file.read() is None

    def test_is_one_for_each_backup_and_cluster(self, store: StoreOf) -> None:
        urls = (URL, "http://weaviate-example.com:8080", "http://other.example.com:8080", f"{URL}/behind/a/proxy")
        files = [LedgerFile(store, backup_id, url) for backup_id in ("x1", "x2") for url in urls]
        assert len({file.key for file in files}) == 8
        for file in files:
            file.write(Ledger(file.key, file.cluster))
        assert [ledger.owner for file in files if (ledger := file.read())] == [file.key for file in files]

    def test_is_the_same_in_whatever_case_a_host_is_written(self, store: StoreOf) -> None:
        assert LedgerFile(store, "x1", "http://WEAVIATE.example.com:8080").key == KEY

    def test_is_no_part_of_the_backup(self, file: LedgerFile) -> None:
        assert file.key.startswith("x1/_vectorbackup/")


@given(owner=st.text(), asked=NAMES, arrived=NAMES, before=NAMES, remembered=REMEMBERED)
def test_any_ledger_is_read_as_it_was_written(
    owner: str, asked: tuple[str, ...], arrived: tuple[str, ...], before: tuple[str, ...], remembered: Any
) -> None:
    ledger = Ledger(owner, URL, asked, arrived, before, remembered)
    assert Ledger.from_json(KEY, ledger.to_json()) == ledger


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"version": 1}',
        b'{"version": 1, "owner": "a", "cluster": "b", "asked": 3, "arrived": [], "aliases_before": []}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_ledger(file: LedgerFile, store: StoreOf, content: bytes) -> None:
    store.write(KEY, [content], len(content))
    with pytest.raises(BrokenDescriptor, match=f"^{KEY} can't be read: "):
        file.read()


def test_ledger_of_a_later_version(file: LedgerFile, store: StoreOf) -> None:
    content = json.dumps(json.loads(Ledger("a", URL).to_json()) | {"version": 2}).encode()
    store.write(KEY, [content], len(content))
    with pytest.raises(BrokenDescriptor, match=f"{KEY} is of version 2, not 1"):
        file.read()


def test_what_has_arrived_is_added_up() -> None:
    ledger = Ledger("a", URL, ("A", "B", "C"), ("B",), remembered=intent("A"))
    after = ledger.with_arrived(("A", "B"))
    assert (after.arrived, after.remembered, after.asked) == (("A", "B"), None, ("A", "B", "C"))


class TestMemory:
    @pytest.fixture
    def inner(self) -> TaskMemory:
        return TaskMemory()

    def memory(self, file: LedgerFile, inner: TaskMemory, *aliases: str) -> LedgerMemory:
        return LedgerMemory(inner, file, file.read() or Ledger("a", URL), lambda: aliases)

    def test_keeps_what_is_asked_for_on_record(self, file: LedgerFile, inner: TaskMemory) -> None:
        self.memory(file, inner, "Story").set("restore", intent("B", "A"))
        assert file.read() == Ledger("a", URL, ("A", "B"), (), ("Story",), intent("B", "A"))
        assert inner.get("restore") == intent("B", "A")

    def test_a_later_restore_adds_to_it(self, file: LedgerFile, inner: TaskMemory) -> None:
        """Aliases that an earlier one has brought are not those from before."""
        self.memory(file, inner, "Story").set("restore", intent("A", "B"))
        self.memory(file, inner, "Story", "Came").set("restore", intent("B", "C"))
        ledger = file.read()
        assert ledger is not None
        assert (ledger.asked, ledger.aliases_before) == (("A", "B", "C"), ("Story",))

    def test_remembers_where_airflow_does_not(self, file: LedgerFile, inner: TaskMemory) -> None:
        self.memory(file, inner).set("restore", intent("A"))
        assert self.memory(file, TaskMemory()).get("restore") == intent("A")
        inner.set("restore", intent("B"))
        assert self.memory(file, inner).get("restore") == intent("B")

    def test_a_refused_restore_leaves_nothing(self, file: LedgerFile, inner: TaskMemory) -> None:
        memory = self.memory(file, inner)
        memory.set("restore", intent("A"))
        memory.set("restore", intent("A", stage="refused"))
        assert file.read() is None
        assert self.memory(file, TaskMemory()).get("restore") is None

    def test_a_refused_restore_leaves_what_earlier_ones_brought(self, file: LedgerFile, inner: TaskMemory) -> None:
        before = Ledger("Dag a, run 1", URL, ("A", "B"), ("A",), ("Story",))
        file.write(before)
        memory = self.memory(file, inner)
        memory.set("restore", intent("B", "C"))
        memory.set("restore", intent("B", "C", stage="refused"))
        assert file.read() == before

    def test_what_a_restore_that_is_forgotten_has_brought_stays_on_record(
        self, file: LedgerFile, inner: TaskMemory
    ) -> None:
        memory = self.memory(file, inner)
        memory.set("restore", intent("A"))
        memory.delete("restore")
        ledger = file.read()
        assert ledger is not None
        assert (ledger.asked, ledger.arrived, ledger.remembered) == (("A",), ("A",), None)
        assert self.memory(file, TaskMemory()).get("restore") is None

    def test_other_values_are_not_on_record(self, file: LedgerFile, inner: TaskMemory) -> None:
        memory = self.memory(file, inner)
        memory.set("backup", 1)
        assert (memory.get("backup"), inner.get("backup")) == (1, 1)
        memory.delete("backup")
        assert (memory.get("backup"), file.read()) == (None, None)

    def test_what_can_not_be_kept_on_record_is_not_begun(self, file: LedgerFile, inner: TaskMemory) -> None:
        def fail() -> tuple[str, ...]:
            raise OSError("No answer.")

        memory = LedgerMemory(inner, file, Ledger("a", URL), fail)
        with pytest.raises(OSError, match="No answer"):
            memory.set("restore", intent("A"))
        assert (inner.kept, file.read()) == ({}, None)
