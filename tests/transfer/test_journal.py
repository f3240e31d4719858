from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.exceptions import StorageUnreachable
from airflow_provider_vectorbackup.storage.store import UnfinishedUpload
from airflow_provider_vectorbackup.transfer.journal import Journal, OpenUpload
from airflow_provider_vectorbackup.transfer.manifest import ManifestEntry
from tests.transfer.acting_store import ActingStore, Faults

ONE, TWO = ManifestEntry(5, ("11" * 32,), 0, "s1", "t1"), ManifestEntry(6, ("22" * 32,), 0, "s2", "t2")
A, B = "x1/w1/Article/chunk-1", "x1/w1/Article/chunk-2"
FOLDER = "x1/_vectorbackup/copy/"


@pytest.fixture
def store(tmp_path: Path) -> ActingStore:
    return ActingStore(tmp_path)


def loaded(store: ActingStore) -> Journal:
    journal = Journal(store, "x1")
    journal.load(store.stored())
    return journal


def upload(upload_id: str = "u1") -> OpenUpload:
    return OpenUpload(upload_id, "s1", 4)


class TestObjects:
    def test_what_one_wrote_down_another_reads(self, store: ActingStore) -> None:
        journal = loaded(store)
        journal.done(A, ONE)
        assert loaded(store).objects == {}
        journal.write_down()
        assert loaded(store).objects == {A: ONE}

    def test_it_lies_in_the_copys_folder(self, store: ActingStore) -> None:
        journal = loaded(store)
        journal.done(A, ONE)
        journal.write_down()
        (key,) = store.stored()
        assert key.startswith(f"{FOLDER}journal-")

    def test_each_file_tells_what_is_new(self, store: ActingStore) -> None:
        """A journal of a million objects is not written anew for each of them."""
        journal = loaded(store)
        for key, entry in ((A, ONE), (B, TWO)):
            journal.done(key, entry)
            journal.write_down()
            journal.write_down()
        told = [sorted(json.loads(content)["objects"]) for content in store.contents().values()]
        assert told == [[A], [B]]
        assert loaded(store).objects == {A: ONE, B: TWO}

    def test_several_at_once_leave_each_other_alone(self, store: ActingStore) -> None:
        first, second = loaded(store), loaded(store)
        first.done(A, ONE)
        second.done(B, TWO)
        first.write_down()
        second.write_down()
        assert loaded(store).objects == {A: ONE, B: TWO}

    @pytest.mark.parametrize("_attempt", range(8))
    def test_of_two_that_tell_of_one_object_the_later_counts(self, store: ActingStore, _attempt: int) -> None:
        """It was moved, somebody changed it, and it was moved again, by a later try."""
        for etag in ("t1", "t2", "t3"):
            journal = loaded(store)
            journal.done(A, ManifestEntry(5, ONE.parts, 0, "s1", etag))
            journal.write_down()
        assert loaded(store).objects[A].etag == "t3"

    def test_other_backups_have_their_own(self, store: ActingStore) -> None:
        journal = Journal(store, "x10")
        journal.done("x10/a", ONE)
        journal.write_down()
        assert loaded(store).objects == {}

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"5", b'{"objects": {"a": 5}}', b'{"uploads": 3}'])
    def test_broken_file_is_told_and_left_out(
        self, store: ActingStore, caplog: pytest.LogCaptureFixture, content: bytes
    ) -> None:
        journal = loaded(store)
        journal.done(A, ONE)
        journal.write_down()
        store.put(f"{FOLDER}journal-000009-x-000000.json", content)
        assert loaded(store).objects == {A: ONE}
        if content:
            assert "journal-000009-x-000000.json can't be read; what only it tells is moved again" in caplog.text

    def test_files_that_somebody_else_named_are_no_obstacle(self, store: ActingStore) -> None:
        store.put(f"{FOLDER}journal-.json", b"{}")
        store.put(f"{FOLDER}journal-x", b"{}")
        journal = loaded(store)
        journal.done(A, ONE)
        journal.write_down()
        assert loaded(store).objects == {A: ONE}


class TestFailures:
    def test_what_could_not_be_written_down_is_in_the_next_file(self, store: ActingStore) -> None:
        journal, open_upload = loaded(store), upload()
        journal.begun(B, open_upload)
        journal.part_done(B, open_upload, 1, "aa", "r1")
        journal.done(A, ONE)
        store.before = Faults(lambda: StorageUnreachable("Away."), lambda call: call.name == "write", 1)
        with pytest.raises(StorageUnreachable):
            journal.write_down()
        journal.part_done(B, open_upload, 2, "bb", "r2")
        journal.write_down()
        found = loaded(store)
        assert found.objects == {A: ONE}
        assert found.uploads[B].parts == {1: ("aa", "r1"), 2: ("bb", "r2")}

    def test_an_object_that_became_whole_meanwhile_is_whole(self, store: ActingStore) -> None:
        journal, open_upload = loaded(store), upload()
        journal.begun(A, open_upload)
        journal.part_done(A, open_upload, 1, "aa", "r1")

        def finished(_: object) -> None:
            journal.done(A, ONE)
            raise StorageUnreachable("Away.")

        store.before = finished
        with pytest.raises(StorageUnreachable):
            journal.write_down()
        store.before = lambda _: None
        journal.write_down()
        assert (loaded(store).objects, loaded(store).uploads) == ({A: ONE}, {})

    def test_threads_add_while_it_is_written_down(self, store: ActingStore) -> None:
        journal = loaded(store)

        def add(thread: int) -> None:
            for number in range(300):
                journal.done(f"x1/{thread}/{number}", ONE)

        threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            journal.write_down()
        journal.write_down()
        assert len(loaded(store).objects) == 1200


class TestUploads:
    def test_another_goes_on_with_the_parts_of_all_before(self, store: ActingStore) -> None:
        journal, open_upload = loaded(store), upload()
        journal.begun(A, open_upload)
        assert [journal.part_done(A, open_upload, n, f"a{n}", f"r{n}") for n in (2, 1)] == [1, 2]
        journal.write_down()
        second = loaded(store)
        found = second.upload_of(A, "s1", 4)
        assert found is not None
        assert (found.upload_id, found.parts) == ("u1", {1: ("a1", "r1"), 2: ("a2", "r2")})
        assert second.part_done(A, found, 3, "a3", "r3") == 3
        second.write_down()
        assert set(loaded(store).uploads[A].parts) == {1, 2, 3}

    def test_parts_of_other_content_or_size_are_of_no_use(self, store: ActingStore) -> None:
        journal = loaded(store)
        journal.begun(A, upload())
        assert journal.upload_of(A, "s1", 4)
        assert journal.upload_of(A, "s2", 4) is None
        assert journal.upload_of(A, "s1", 5) is None
        assert journal.upload_of(B, "s1", 4) is None

    def test_one_that_was_begun_is_known_before_it_has_parts(self, store: ActingStore) -> None:
        """Else nobody would abort it."""
        journal = loaded(store)
        journal.begun(A, upload())
        journal.write_down()
        assert loaded(store).left_uploads() == [UnfinishedUpload(A, "u1")]

    def test_whole_object_has_no_open_upload(self, store: ActingStore) -> None:
        journal, open_upload = loaded(store), upload()
        journal.begun(A, open_upload)
        journal.part_done(A, open_upload, 1, "aa", "r1")
        journal.write_down()
        journal.done(A, ONE)
        journal.write_down()
        for found in (journal, loaded(store)):
            assert (found.objects, found.uploads) == ({A: ONE}, {})
            assert found.left_uploads() == []

    @pytest.mark.parametrize("_attempt", range(8))
    def test_the_later_of_two_uploads_is_gone_on_with(self, store: ActingStore, _attempt: int) -> None:
        """The first was gone when the second try came to it."""
        for upload_id in ("u1", "u2"):
            journal, open_upload = loaded(store), upload(upload_id)
            journal.begun(A, open_upload)
            journal.part_done(A, open_upload, 1, f"a-{upload_id}", "r1")
            journal.write_down()
        found = loaded(store)
        assert found.uploads[A] == OpenUpload("u2", "s1", 4, {1: ("a-u2", "r1")})
        assert {each.upload_id for each in found.left_uploads()} == {"u1", "u2"}

    def test_object_that_has_to_be_moved_again_is_gone_on_with(self, store: ActingStore) -> None:
        first = loaded(store)
        first.done(A, ONE)
        first.write_down()
        second, open_upload = loaded(store), upload()
        second.begun(A, open_upload)
        second.part_done(A, open_upload, 1, "aa", "r1")
        second.write_down()
        found = loaded(store)
        assert (found.objects, set(found.uploads)) == ({}, {A})

    def test_upload_that_is_gone_is_forgotten(self, store: ActingStore) -> None:
        journal = loaded(store)
        journal.begun(A, upload())
        journal.forget(A)
        assert journal.upload_of(A, "s1", 4) is None
        journal.write_down()
        assert loaded(store).uploads == {}

    def test_part_that_comes_after_that_is_no_obstacle(self, store: ActingStore) -> None:
        """One thread finds the upload gone while another's part has just been taken."""
        journal, open_upload = loaded(store), upload()
        journal.begun(A, open_upload)
        journal.forget(A)
        journal.part_done(A, open_upload, 1, "aa", "r1")
        journal.done(B, TWO)
        journal.write_down()
        assert (loaded(store).objects, loaded(store).uploads) == ({B: TWO}, {})
