"""What a location holds, read from trees that real servers wrote."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.actions.catalogue import DescriptorCache, read_catalogue
from airflow_provider_vectorbackup.backups.catalogue import CatalogueEntry, LeftoverKind
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import StorageError, StorageUnreachable
from tests.actions.watching import CHAIN, Place
from tests.trees import NAMES, unpack


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All trees, unpacked; nobody may change them."""
    folder = tmp_path_factory.mktemp("trees")
    for name in NAMES:
        unpack(name, folder)
    return folder


@pytest.fixture
def chain(trees: Path, tmp_path: Path) -> Place:
    """A chain of four, to be changed."""
    return Place(shutil.copytree(trees / "chain-1.39.2", tmp_path / "chain"))


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    return Place(tmp_path)


def get(place: Place, backup_id: str, cache: DescriptorCache | None = None) -> CatalogueEntry:
    found = read_catalogue(place.store, cache).get(backup_id)
    assert found is not None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_tree(trees: Path, name: str) -> None:
    place = Place(trees / name)
    told = {path.parent.name: json.loads(path.read_text()) for path in place.root.glob("*/backup_config.json")}
    catalogue = read_catalogue(place.store)
    assert {entry.backup_id for entry in catalogue.entries} == set(told)
    assert catalogue.leftovers == ()
    assert catalogue.stored_bytes == sum(place.files().values())
    starts = [entry.started_at for entry in catalogue.entries if entry.started_at]
    assert len(starts) == len(told)
    assert starts == sorted(starts, reverse=True)
    for entry in catalogue.entries:
        written = told[entry.backup_id]
        assert (entry.stored_bytes, entry.objects) == (
            sum(place.files(entry.backup_id).values()),
            len(place.files(entry.backup_id)),
        )
        assert (entry.status, entry.nodes) == (written["status"], tuple(sorted(written["nodes"])))
        assert (entry.server_version, entry.layout) == (name.rpartition("-")[2], written["version"])
        assert entry.collections == tuple(sorted({c for node in written["nodes"].values() for c in node["classes"]}))
        assert entry.pre_compression_bytes == written.get("preCompressionSizeBytes")
        assert entry.base_backup_id == (written.get("baseBackupId") or None)
        assert entry.is_usable == (written["status"] == "SUCCESS")
        assert (entry.chain[-1], entry.is_chain_whole, entry.has_own_files) == (entry.backup_id, True, False)


@pytest.mark.parametrize("name", NAMES)
def test_reads_no_more_than_it_must(trees: Path, name: str) -> None:
    place = Place(trees / name)
    entries = read_catalogue(place.store).entries
    of_nodes = sum(len(entry.nodes) for entry in entries if entry.base_backup_id)
    assert len(place.store.reads) == len(set(place.store.reads)) == len(entries) + of_nodes
    assert (place.store.listings, place.store.upload_listings) == ([""], 1)


def test_chain(chain: Place) -> None:
    fourth = get(chain, "fourth")
    assert fourth.chain == CHAIN
    assert (fourth.bases, fourth.base_backup_id) == (frozenset({"full", "second", "third"}), "third")
    assert (get(chain, "full").chain, get(chain, "second").chain) == (("full",), ("full", "second"))
    written = json.loads((chain.root / "fourth/backup_config.json").read_text())
    assert (fourth.codec, fourth.started_at) == (Codec.GZIP, datetime.fromisoformat(written["startedAt"]))


def test_backups_that_did_not_end_well(trees: Path) -> None:
    place = Place(trees / "ended-otherwise-1.39.2")
    for backup_id, status in (("failed", "FAILED"), ("canceled", "CANCELED"), ("killed", "STARTED")):
        entry = get(place, backup_id)
        assert entry.status is Status(status)
        (problem,) = entry.problems  # what is not there yet, or any more, is none of its own
        assert problem.startswith(f"its descriptor says {status}")
        assert (entry.completed_at is None) == (backup_id == "killed")
    # What the last restore left is no part of it, but takes up space.
    restored = get(place, "restored")
    assert (restored.problems, restored.objects) == ((), len(place.files("restored")))


def test_backup_of_1_15(empty: Place) -> None:
    content = {
        "id": "x1",
        "status": "SUCCESS",
        "version": "1.0",
        "serverVersion": "1.15.5",
        "startedAt": "2022-10-01T10:00:00Z",
    }
    empty.write("x1/backup.json", json.dumps(content | {"classes": [{"name": "Article", "shards": []}]}))
    empty.write("x1/article_s1_lsm/a.db", b"12345")
    entry = get(empty, "x1")
    assert (entry.status, entry.layout, entry.codec, entry.collections) == (
        Status.SUCCESS,
        "1.0",
        Codec.NONE,
        ("Article",),
    )
    assert (entry.is_usable, entry.objects) == (True, 2)


def test_nothing_there(empty: Place) -> None:
    assert read_catalogue(empty.store).entries == ()
    with pytest.raises(StorageError, match="can't be listed"):
        read_catalogue(Place(empty.root / "missing").store)


class TestLeftovers:
    def test_of_each_kind(self, chain: Place) -> None:
        chain.write("gone/w1/Article/chunk-1", b"12345")  # the descriptor was deleted first
        chain.write("gone/w1/backup.json", b"{}")
        chain.write("team/x1/backup_config.json", b"{}")  # another location
        chain.write("team/x1/w1/Article/chunk-1", b"12")
        chain.write("Not An Id/w1/backup.json", b"{}")
        chain.write("notes/readme.txt", b"123")
        chain.write("readme.txt", b"1234")
        chain.write("checked/access-check")
        chain.write("checked/w1/access-check-host-1")
        chain.write("full/w1/access-check")
        chain.write("full/w1/Article/.chunk-9.0123abcd.partial", b"1")
        catalogue = read_catalogue(chain.store)
        found = {(left.kind, left.key): left.size_bytes for left in catalogue.leftovers}
        assert found == {
            (LeftoverKind.NO_DESCRIPTOR, "gone/"): 7,
            (LeftoverKind.FOREIGN, "team/"): 4,
            (LeftoverKind.FOREIGN, "Not An Id/"): 2,
            (LeftoverKind.FOREIGN, "notes/"): 3,
            (LeftoverKind.FOREIGN, "readme.txt"): 4,
            (LeftoverKind.ACCESS_CHECK, "checked/access-check"): 0,
            (LeftoverKind.ACCESS_CHECK, "checked/w1/access-check-host-1"): 0,
            (LeftoverKind.ACCESS_CHECK, "full/w1/access-check"): 0,
            (LeftoverKind.UNFINISHED_UPLOAD, "full/w1/Article/chunk-9"): 0,
        }
        assert all(left.modified_at and left.modified_at.tzinfo is UTC for left in catalogue.leftovers)
        assert {entry.backup_id for entry in catalogue.entries if entry.is_usable} == set(CHAIN)
        assert catalogue.stored_bytes == sum(chain.files().values()) - 1  # the partial file

    def test_time_is_that_of_the_newest_object(self, empty: Place) -> None:
        for name, hour in (("chunk-1", 3), ("chunk-2", 5), ("chunk-3", 4)):
            empty.write(f"gone/w1/Article/{name}")
            written_at = datetime(2026, 11, 22, hour, tzinfo=UTC).timestamp()
            os.utime(empty.root / f"gone/w1/Article/{name}", (written_at, written_at))
        (left,) = read_catalogue(empty.store).leftovers
        assert left.modified_at == datetime(2026, 11, 22, 5, tzinfo=UTC)

    def test_uploads_are_asked_for_only_where_wanted(self, empty: Place) -> None:
        empty.write("x1/.chunk-9.0123abcd.partial", b"1")
        assert read_catalogue(empty.store, with_uploads=False).leftovers == ()
        assert empty.store.upload_listings == 0

    def test_own_files_alone(self, empty: Place) -> None:
        empty.write("x1/_vectorbackup/manifest.json", b"{}")
        (left,) = read_catalogue(empty.store).leftovers
        assert left.key == "x1/"

    def test_copy_that_has_just_begun(self, empty: Place) -> None:
        """It says what it is going to be before its first chunk is there."""
        for name in ("x1", "X2"):
            empty.write(f"{name}/_vectorbackup/copy/plan.json")
        found = {left.key: (left.kind, left.has_own_files) for left in read_catalogue(empty.store).leftovers}
        assert found == {"x1/": (LeftoverKind.NO_DESCRIPTOR, True), "X2/": (LeftoverKind.OWN_FILES, True)}

    def test_own_files_beside_others(self, empty: Place) -> None:
        for key in ("x1/notes.txt", "x1/_vectorbackup/a"):
            empty.write(key)
        (left,) = read_catalogue(empty.store).leftovers
        assert (left.kind, left.has_own_files, left.objects) == (LeftoverKind.FOREIGN, True, 2)

    def test_own_files_do_not_make_it_younger(self, empty: Place) -> None:
        """They tell its age only where there is nothing else."""
        for name, own in (("x1/w1/Article/chunk-1", 1000), ("x1/_vectorbackup/a", 3000), ("x2/_vectorbackup/a", 3000)):
            os.utime(empty.write(name), (own, own))
        empty.descriptor("x3")
        os.utime(empty.root / "x3/backup_config.json", (1000, 1000))
        empty.write("x3/_vectorbackup/manifest.json")
        catalogue = read_catalogue(empty.store)
        told = {left.key: left.modified_at.timestamp() for left in catalogue.leftovers if left.modified_at}
        assert told == {"x1/": 1000, "x2/": 3000}
        assert catalogue.entries[0].modified_at.timestamp() == 1000
        assert catalogue.entries[0].has_own_files

    def test_own_files_beside_a_backup(self, chain: Place) -> None:
        chain.write("full/_vectorbackup/manifest.json", b"{}")
        assert (get(chain, "full").has_own_files, get(chain, "second").has_own_files) == (True, False)
        assert read_catalogue(chain.store).leftovers == ()


BROKEN = [b"", b'{"id": "third", "sta', b"[]", b"null", b"\xff\xfe", b'{"id": "third", "version": "3.0"}']


class TestBrokenDescriptor:
    @pytest.mark.parametrize("content", BROKEN)
    def test_hides_only_itself(self, chain: Place, content: bytes) -> None:
        before = {entry.backup_id: entry for entry in read_catalogue(chain.store).entries}
        chain.write("third/backup_config.json", content)
        after = {entry.backup_id: entry for entry in read_catalogue(chain.store).entries}
        assert (after["full"], after["second"]) == (before["full"], before["second"])
        third, fourth = after["third"], after["fourth"]
        assert (third.status, third.is_usable, third.is_chain_whole) == (None, False, False)
        assert "third/backup_config.json" in third.problems[0]
        assert third.stored_bytes == sum(chain.files("third").values())
        # What builds on it can't be restored either, by servers that look at the chain.
        assert (fourth.problems, fourth.is_usable) == ((), False)
        assert fourth.chain_problems == ("base third is not there, or its descriptor can't be read",)

    def test_bad_date(self, chain: Place) -> None:
        with chain.edited("third/backup_config.json") as descriptor:
            descriptor["startedAt"] = "tomorrow"
        assert "startedAt is 'tomorrow' where a time belongs" in get(chain, "third").problems[0]

    @pytest.mark.parametrize("content", BROKEN)
    def test_of_a_node(self, chain: Place, content: bytes) -> None:
        chain.write("third/w1/backup.json", content)
        third = get(chain, "third")
        assert (third.status, third.is_usable) == (Status.SUCCESS, False)
        assert "third/w1/backup.json" in third.problems[0]
        assert get(chain, "second").is_usable

    @pytest.mark.parametrize("backup_id", ["full", "third"])
    def test_of_a_node_is_missing(self, chain: Place, backup_id: str) -> None:
        (chain.root / backup_id / "w1/backup.json").unlink()
        assert get(chain, backup_id).problems == (f"{backup_id}/w1/backup.json is not there",)

    def test_of_another_backup(self, chain: Place) -> None:
        shutil.copytree(chain.root / "full", chain.root / "renamed")
        assert get(chain, "renamed").problems == ("its descriptor is of another backup, 'full'",)

    @pytest.mark.parametrize("key", ["third/backup_config.json", "third/w1/backup.json"])
    def test_that_may_not_be_read(self, chain: Place, key: str) -> None:
        chain.store.forbidden = {key}
        third = get(chain, "third")
        assert (third.is_usable, third.problems) == (False, (f"{key} can't be read: AccessDenied.",))
        assert get(chain, "second").is_usable

    @pytest.mark.parametrize("key", ["third/backup_config.json", "third/w1/backup.json", ""])
    def test_storage_that_is_away_says_nothing_of_a_backup(self, chain: Place, key: str) -> None:
        chain.store.away = {key}
        with pytest.raises(StorageUnreachable):
            read_catalogue(chain.store)


def taken_from_full(place: Place, key: str) -> set[str]:
    """Return the chunks of the full backup that a node's descriptor refers to."""
    shards = (
        shard
        for collection in json.loads((place.root / key).read_text())["classes"]
        for shard in collection["shards"] or ()
    )
    infos = (shard["incrementalBackupInfo"].get("filesPerBackup", {}) for shard in shards)
    return {chunk for info in infos for file in info.get("full", ()) for chunk in file["chunkKeys"]}


class TestChains:
    def test_chunk_that_is_referred_to_is_missing(self, chain: Place) -> None:
        before = get(chain, "second").chain_problems
        wanted = taken_from_full(chain, "second/w1/backup.json")
        gone = sorted(wanted)[:3]
        for key in gone:
            (chain.root / "full/w1" / key).unlink()
        second = get(chain, "second")
        assert before == ()
        assert second.chain_problems == (f"3 of {len(wanted)} objects that it takes from full are not there",)
        assert (second.problems, second.is_usable) == ((), False)

    def test_base_is_missing(self, chain: Place) -> None:
        shutil.rmtree(chain.root / "second")
        assert get(chain, "full").is_usable
        for backup_id in ("third", "fourth"):
            entry = get(chain, backup_id)
            assert entry.chain[-2:] == (("second", "third") if backup_id == "third" else ("third", "fourth"))
            assert "second" in entry.chain
            assert "base second is not there, or its descriptor can't be read" in entry.chain_problems
            assert any("objects that it takes from second are not there" in p for p in entry.chain_problems)

    def test_base_failed(self, chain: Place) -> None:
        with chain.edited("full/backup_config.json") as descriptor:
            descriptor["status"] = "FAILED"
        assert [get(chain, name).chain_problems for name in CHAIN] == [(), *[("base full is FAILED",)] * 3]
        assert read_catalogue(chain.store).newest_usable() is None

    def test_circle(self, chain: Place) -> None:
        with chain.edited("full/backup_config.json") as descriptor:
            descriptor["baseBackupId"] = "fourth"
        full = get(chain, "full")
        assert (set(full.chain), full.is_usable) == (set(CHAIN), False)
        assert "base fourth did not start before full" in full.chain_problems

    def test_several_nodes(self, trees: Path, tmp_path: Path) -> None:
        place = Place(shutil.copytree(trees / "three-nodes-1.39.2", tmp_path / "three"))
        assert get(place, "second").nodes == ("w1", "w2", "w3")
        shutil.rmtree(place.root / "full/w3/Author")
        counts = {node: len(taken_from_full(place, f"second/{node}/backup.json")) for node in ("w1", "w2", "w3")}
        told = f"{counts['w3']} of {sum(counts.values())} objects that it takes from full are not there"
        assert get(place, "second").chain_problems == (told,)


class TestCache:
    def test_second_pass_reads_nothing(self, chain: Place) -> None:
        cache: DescriptorCache = {}
        first = read_catalogue(chain.store, cache)
        chain.store.reads.clear()
        assert read_catalogue(chain.store, cache) == first
        assert chain.store.reads == []

    @pytest.mark.parametrize("key", ["full/backup_config.json", "second/w1/backup.json"])
    def test_what_was_written_anew_is_read_alone(self, chain: Place, key: str) -> None:
        cache: DescriptorCache = {}
        read_catalogue(chain.store, cache)
        chain.store.reads.clear()
        with chain.edited(key) as descriptor:
            descriptor["status"] = "FAILED"
        entry = get(chain, key.partition("/")[0], cache)
        assert chain.store.reads == [key]
        assert not entry.is_usable

    def test_what_was_compared_with_it_is_compared_again(self, chain: Place) -> None:
        """While a backup runs its nodes' descriptors may be complete already; then only the coordinator's changes."""
        cache: DescriptorCache = {}
        key = "second/backup_config.json"
        ended = (chain.root / key).read_bytes()
        with chain.edited(key) as descriptor:
            descriptor["status"] = "STARTED"
        assert get(chain, "second", cache).status is Status.STARTED
        chain.write(key, ended.replace(b'"Photo"', b'"Photo","Movie"'))
        assert get(chain, "second", cache).problems == ("second/w1/backup.json lacks collections: Movie",)

    def test_broken_one_is_not_read_again(self, chain: Place) -> None:
        cache: DescriptorCache = {}
        chain.write("third/backup_config.json", b"{")
        first = get(chain, "third", cache)
        chain.store.reads.clear()
        assert get(chain, "third", cache) == first
        assert chain.store.reads == []

    def test_refusal_is_not_kept(self, chain: Place) -> None:
        cache: DescriptorCache = {}
        chain.store.forbidden = {"third/backup_config.json", "third/w1/backup.json"}
        assert not get(chain, "third", cache).is_usable
        chain.store.forbidden.clear()
        assert get(chain, "third", cache).is_usable

    def test_outage_keeps_what_is_known(self, chain: Place) -> None:
        cache: DescriptorCache = {}
        read_catalogue(chain.store, cache)
        chain.store.away = {""}
        with pytest.raises(StorageUnreachable):
            read_catalogue(chain.store, cache)
        chain.store.away.clear()
        chain.store.reads.clear()
        read_catalogue(chain.store, cache)
        assert chain.store.reads == []

    def test_deleted_ones_leave_it(self, chain: Place) -> None:
        cache: DescriptorCache = {}
        read_catalogue(chain.store, cache)
        shutil.rmtree(chain.root / "fourth")
        read_catalogue(chain.store, cache)
        assert not [key for key in cache if key.startswith("fourth/")]
        assert len([key for key in cache if key.startswith("third/")]) == 2
