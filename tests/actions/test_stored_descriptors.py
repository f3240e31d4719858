"""Descriptors of nodes among what lies in a folder, and files that these alone tell apart from others'."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.stored_descriptors import nodes_descriptors, plain_files
from airflow_provider_vectorbackup.exceptions import StorageError
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from tests.actions.prunes import FILE, Pruning
from tests.actions.watching import Place
from tests.trees import NAMES, unpack


@pytest.fixture
def pruning(tmp_path: Path) -> Pruning:
    return Pruning(tmp_path)


def nodes(pruning: Pruning, backup_id: str) -> list[str]:
    return [node for node, _ in nodes_descriptors(backup_id, sorted(pruning.keys()), pruning.store.read)]


class TestNodesDescriptors:
    def test_of_each_node(self, pruning: Pruning) -> None:
        pruning.put_node("x1")
        pruning.put("x1/w2/backup.json", json.dumps({"id": "x1", "status": "SUCCESS", "version": "2.1"}))
        pruning.put("x1/w1/Article/chunk-1")
        pruning.put("x1/backup_config.json", "{}")
        assert nodes(pruning, "x1") == ["w1", "w2"]
        assert pruning.store.called("read") == ["x1/w1/backup.json", "x1/w2/backup.json"]

    def test_only_one_of_1_15(self, pruning: Pruning) -> None:
        pruning.put_single("x1")
        assert nodes(pruning, "x1") == [""]

    def test_further_down(self, pruning: Pruning) -> None:
        pruning.put("x1/w1/more/backup.json", json.dumps({"id": "x1", "status": "SUCCESS", "version": "2.1"}))
        pruning.put("x1/w1/my-backup.json", json.dumps({"id": "x1", "status": "SUCCESS", "version": "2.1"}))
        assert nodes(pruning, "x1") == []
        assert pruning.store.calls == []

    @pytest.mark.parametrize("content", ["", "[]", '{"id": "x2", "status": "SUCCESS", "version": "2.1"}'])
    def test_of_something_else(self, pruning: Pruning, content: str) -> None:
        pruning.put("x1/w1/backup.json", content)
        assert nodes(pruning, "x1") == []

    def test_gone_meanwhile(self, pruning: Pruning) -> None:
        assert list(nodes_descriptors("x1", ["x1/w1/backup.json"], pruning.store.read)) == []

    def test_storage_that_fails(self) -> None:
        def fail(_: str) -> bytes | None:
            raise StorageError("No.")

        with pytest.raises(StorageError):
            list(nodes_descriptors("x1", ["x1/w1/backup.json"], fail))


class TestPlainFiles:
    @pytest.mark.parametrize("tree", NAMES)
    def test_recorded_trees(self, tmp_path: Path, tree: str) -> None:
        """Layout 1.0 alone has them: all that lies there, but for descriptors."""
        place = Place(unpack(tree, tmp_path))
        store = FilesystemStore(place.location)
        for path in place.root.iterdir():
            keys = place.files(path.name)
            files = {key for key in keys if not key.endswith(".json")} if tree == "old-1.20.6" else set()
            assert plain_files(path.name, keys, store.read) == files

    def test_of_1_15(self, pruning: Pruning) -> None:
        pruning.put_single("x1")
        assert plain_files("x1", pruning.keys(), pruning.store.read) == {f"x1/{FILE}"}
