"""Azure's uploads in parts, copies of what was listed, and policies: what its stand-in does not do as it does."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import (
    InvalidRequest,
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
)
from airflow_provider_vectorbackup.storage import azure_blocks
from airflow_provider_vectorbackup.storage.store import Part, Store, StoredObject
from tests import scripted_server as scripted
from tests.scripted_server import Reply, ScriptedServer
from tests.storage.conftest import KEY, open_azure

LOCATION = Location.parse("azure://conn@bucket/backups")
MADE = Reply(201, b"", {"ETag": '"0x1"'})
COPIED = Reply(202, b"", {"ETag": '"0x2"', "x-ms-copy-status": "success"})
UPLOAD = "0123456789abcdef"


def refusal(status: int, code: str) -> Reply:
    return Reply(status, b"", {"x-ms-error-code": code})


def found(etag: str) -> Reply:
    return Reply(200, b"", {"ETag": f'"{etag}"', "Content-Length": "25"})


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


@pytest.fixture(autouse=True)
def _heads_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted._Handler, "do_HEAD", scripted._Handler._serve, raising=False)


@pytest.fixture
def store(server: ScriptedServer) -> Iterator[Store]:
    with closing(open_azure(server.url)) as store:
        yield store


def test_azure_compares_before_it_stores(server: ScriptedServer, store: Store) -> None:
    server.replies = [MADE]
    assert store.write(KEY, [b"con", b"tent"], 7) == "0x1"
    store.create(KEY, b"content")
    store.put_part(KEY, UPLOAD, Part(1, 0, 7), [b"content"])
    assert [seen.headers["Content-MD5"] for seen in server.seen] == [md5(b"content")] * 3


def test_what_was_damaged_on_the_way(server: ScriptedServer, store: Store) -> None:
    server.replies = [refusal(400, "Md5Mismatch")]
    with pytest.raises(StorageUnreachable, match="can't be written"):
        store.write(KEY, [b"content"], 7)


class TestParts:
    def test_requests(self, server: ScriptedServer, store: Store) -> None:
        """Blocks' ids are all of the same length, and another process knows them."""
        server.replies = [MADE]
        receipts = [store.put_part(KEY, UPLOAD, Part(number, 0, 1), [b"x"]) for number in (1, 2)]
        assert store.finish_upload(KEY, UPLOAD, 2, receipts) == "0x1"
        *blocks, commit = server.seen
        ids = [parse_qs(urlsplit(seen.target).query)["blockid"][0] for seen in blocks]
        assert [base64.b64decode(each).decode() for each in ids] == [f"{UPLOAD}-00001", f"{UPLOAD}-00002"]
        assert commit.body.index(ids[0].encode()) < commit.body.index(ids[1].encode())

    @pytest.mark.parametrize(
        ("receipts", "size_bytes"),
        [
            ([], 0),
            ([f"{UPLOAD}-00001:1", f"{UPLOAD}-00003:1"], 2),
            ([f"{UPLOAD}-00002:1", f"{UPLOAD}-00001:1"], 2),
            ([f"{UPLOAD}-00001:1"], 2),
            (["fedcba9876543210-00001:1"], 1),
        ],
    )
    def test_part_that_is_missing(
        self, server: ScriptedServer, store: Store, receipts: list[str], size_bytes: int
    ) -> None:
        """Nothing is asked for that could replace what is there."""
        with pytest.raises(ObjectNotFound, match="a part of it is missing"):
            store.finish_upload(KEY, UPLOAD, size_bytes, receipts)
        assert server.seen == []

    def test_parts_that_are_gone(self, server: ScriptedServer, store: Store) -> None:
        server.replies = [refusal(400, "InvalidBlockList")]
        with pytest.raises(ObjectNotFound, match="a part of it is missing"):
            store.finish_upload(KEY, UPLOAD, 1, [f"{UPLOAD}-00001:1"])

    @pytest.mark.parametrize("upload_id", ["", "b1", f"{UPLOAD}0", UPLOAD.upper()])
    def test_what_is_no_upload(self, server: ScriptedServer, store: Store, upload_id: str) -> None:
        with pytest.raises(InvalidRequest, match="no unfinished upload"):
            store.put_part(KEY, upload_id, Part(1, 0, 1), [b"x"])
        with pytest.raises(InvalidRequest, match="no unfinished upload"):
            store.finish_upload(KEY, upload_id, 1, ["receipt"])
        assert server.seen == []


class TestCopy:
    LISTED = StoredObject(KEY, 25, "0x9", datetime.now(UTC))

    def copy(self, store: Store) -> str:
        return store.copy(LOCATION, KEY, "copied", listed=self.LISTED)

    def test_without_a_look_at_it(self, server: ScriptedServer, store: Store) -> None:
        server.replies = [COPIED]
        assert self.copy(store) == "0x2"
        (seen,) = server.seen
        assert seen.headers["x-ms-source-if-match"] == '"0x9"'

    @pytest.mark.parametrize(
        ("refused", "there", "kind"),
        [
            (refusal(412, "SourceConditionNotMet"), found("0x8"), ObjectChanged),
            (refusal(404, "CannotVerifyCopySource"), refusal(404, "BlobNotFound"), ObjectNotFound),
            (refusal(404, "CannotVerifyCopySource"), found("0x8"), ObjectChanged),
            (refusal(403, "CannotVerifyCopySource"), found("0x9"), StorageError),
            (refusal(503, "ServerBusy"), found("0x9"), StorageUnreachable),
        ],
    )
    def test_refused(
        self, server: ScriptedServer, store: Store, refused: Reply, there: Reply, kind: type[StorageError]
    ) -> None:
        server.replies = [refused] * (3 if refused.status == 503 else 1) + [there]
        with pytest.raises(StorageError) as caught:
            self.copy(store)
        assert type(caught.value) is kind

    def test_large(self, server: ScriptedServer, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(azure_blocks, "_COPY_BYTES", 10)
        server.replies = [MADE, MADE, MADE, found("0x9"), MADE]
        assert self.copy(store) == "0x1"
        assert [seen.method for seen in server.seen] == ["PUT", "PUT", "PUT", "HEAD", "PUT"]
        assert server.seen[3].headers["If-Match"] == '"0x9"'


class TestLockPolicy:
    @pytest.mark.parametrize(
        ("headers", "words"),
        [
            ({}, ""),
            ({"x-ms-has-immutability-policy": "true"}, "an immutability policy"),
            (
                {"x-ms-has-legal-hold": "true", "x-ms-immutable-storage-with-versioning-enabled": "true"},
                "a legal hold and immutable storage with versioning",
            ),
        ],
    )
    def test_words(self, server: ScriptedServer, store: Store, headers: dict[str, str], words: str) -> None:
        server.replies = [Reply(200, b"", headers)]
        assert store.lock_policy() == words

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_refused(self, server: ScriptedServer, store: Store, status: int) -> None:
        server.replies = [Reply(status)]
        assert store.lock_policy() is None

    def test_unreachable(self, server: ScriptedServer, store: Store) -> None:
        server.replies = [Reply(503)]
        with pytest.raises(StorageUnreachable):
            store.lock_policy()
