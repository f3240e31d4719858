"""Azure's immutable storage and versioning, made up: its stand-in has none of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_vectorbackup.exceptions import StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import Lock, Store
from tests import scripted_server as scripted
from tests.scripted_server import Reply, ScriptedServer
from tests.storage.conftest import open_azure

XML = {"Content-Type": "application/xml"}
UNTIL = datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC)
HELD, LIMITED = {"x-ms-has-legal-hold": "true"}, {"x-ms-has-immutability-policy": "true"}
VERSIONED = {"x-ms-immutable-storage-with-versioning-enabled": "true"}
OF_THE_CONTAINER = "the container's immutability policy"
LOCKED = (
    "<ImmutabilityPolicyUntilDate>Sat, 02 Jan 2100 03:04:05 GMT</ImmutabilityPolicyUntilDate>"
    "<ImmutabilityPolicyMode>locked</ImmutabilityPolicyMode>"
)
PASSED = LOCKED.replace("Sat, 02 Jan 2100", "Thu, 02 Jan 2020")
HOLD, NO_HOLD = "<LegalHold>true</LegalHold>", "<LegalHold>false</LegalHold>"
FOLDER = "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"


def container(**headers: str) -> Reply:
    return Reply(200, b"", headers)


def blob(key: str, properties: str = "", rest: str = "", *, day: int = 1) -> str:
    written = f"<Last-Modified>Fri, 0{day} Jan 2026 03:04:05 GMT</Last-Modified><Etag>0x1</Etag>"
    sizes = "<Content-Length>7</Content-Length><BlobType>BlockBlob</BlobType>"
    return f"<Blob><Name>backups/{key}</Name><Properties>{written}{sizes}{properties}</Properties>{rest}</Blob>"


def page(*blobs: str) -> Reply:
    body = (
        f'<EnumerationResults ContainerName="bucket"><Blobs>{"".join(blobs)}</Blobs><NextMarker/></EnumerationResults>'
    )
    return Reply(200, f'<?xml version="1.0" encoding="utf-8"?>{body}'.encode(), XML)


def account(days: int | None) -> Reply:
    """Return the properties of an account with soft delete."""
    kept = f"<Enabled>true</Enabled><Days>{days}</Days>" if days else "<Enabled>false</Enabled>"
    body = f"<StorageServiceProperties><DeleteRetentionPolicy>{kept}</DeleteRetentionPolicy></StorageServiceProperties>"
    return Reply(200, f'<?xml version="1.0" encoding="utf-8"?>{body}'.encode(), XML)


def found(version: str | None = None) -> Reply:
    told = {"x-ms-version-id": version, "x-ms-is-current-version": "true"} if version else {}
    return Reply(200, b"", {"ETag": '"0x1"', "Content-Length": "7", **told})


@pytest.fixture(autouse=True)
def _heads_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted._Handler, "do_HEAD", scripted._Handler._serve, raising=False)


@pytest.fixture
def store(server: ScriptedServer) -> Iterator[Store]:
    with closing(open_azure(server.url)) as store:
        yield store


class TestLocks:
    def test_container_without_any_takes_one_request(self, server: ScriptedServer, store: Store) -> None:
        server.replies = [container()]
        assert list(store.list_locks("b1/")) == []
        (seen,) = server.seen
        assert urlsplit(seen.target).path == "/account/bucket"

    @pytest.mark.parametrize(
        ("properties", "reason"),
        [(HELD, "a legal hold"), (LIMITED, OF_THE_CONTAINER), ({**HELD, **LIMITED}, "a legal hold")],
        ids=["hold", "policy", "both"],
    )
    def test_of_the_container(
        self, server: ScriptedServer, store: Store, properties: dict[str, str], reason: str
    ) -> None:
        """On all objects; accounts with folders may not know what a listing could include of each."""
        server.replies = [container(**properties), page(blob("b1", rest=FOLDER), blob("b1/x"), blob("b1/y"))]
        may_have_ended = reason == OF_THE_CONTAINER
        assert list(store.list_locks("b1")) == [
            Lock(key, reason, may_have_ended=may_have_ended) for key in ("b1/x", "b1/y")
        ]
        asked = parse_qs(urlsplit(server.seen[1].target).query)
        assert (asked["prefix"], asked["include"]) == (["backups/b1"], ["metadata"])

    @pytest.mark.parametrize(
        ("properties", "lock"),
        [
            (NO_HOLD, None),
            (HOLD, Lock("b1/x", "a legal hold")),
            (HOLD + LOCKED, Lock("b1/x", "a legal hold")),
            (LOCKED, Lock("b1/x", "an immutability policy (locked)", UNTIL)),
            (PASSED + NO_HOLD, None),
        ],
    )
    def test_of_an_object(self, server: ScriptedServer, store: Store, properties: str, lock: Lock | None) -> None:
        server.replies = [container(**VERSIONED), page(blob("b1/x", properties), blob("b1/y"))]
        assert list(store.list_locks("b1/")) == ([lock] if lock else [])
        (included,) = parse_qs(urlsplit(server.seen[1].target).query)["include"]
        assert included.split(",") == ["metadata", "immutabilitypolicy", "legalhold"]

    def test_of_an_object_comes_before_that_of_the_container(self, server: ScriptedServer, store: Store) -> None:
        blobs = [blob("b1/none"), blob("b1/own", LOCKED), blob("b1/passed", PASSED)]
        server.replies = [container(**VERSIONED, **LIMITED), page(*blobs)]
        assert list(store.list_locks()) == [
            Lock("b1/none", OF_THE_CONTAINER, may_have_ended=True),
            Lock("b1/own", "an immutability policy (locked)", UNTIL),
        ]

    @pytest.mark.parametrize(("status", "kind"), [(403, StorageError), (404, StorageError), (503, StorageUnreachable)])
    def test_container_that_can_not_be_looked_at(
        self, server: ScriptedServer, store: Store, status: int, kind: type[StorageError]
    ) -> None:
        server.replies = [Reply(status)]
        with pytest.raises(StorageError, match="b1/ can't be listed") as caught:
            list(store.list_locks("b1/"))
        assert type(caught.value) is kind


class TestDeletionPolicy:
    @pytest.mark.parametrize(
        ("days", "version", "words"),
        [
            (None, None, ""),
            (7, None, "soft delete for 7 days"),
            (None, "2026-01-01T00:00:00.0000000Z", "versioning"),
            (7, "2026-01-01T00:00:00.0000000Z", "versioning and soft delete for 7 days"),
        ],
    )
    def test_words(
        self, server: ScriptedServer, store: Store, days: int | None, version: str | None, words: str
    ) -> None:
        blobs = [blob("b1/old"), blob("b2/new", day=3), blob("b3/old", day=2)]
        server.replies = [account(days), page(*blobs), found(version)]
        assert store.deletion_policy() == words
        assert server.seen[-1].target == "/account/bucket/backups/b2/new"

    @pytest.mark.parametrize(("version", "words"), [("1", "versioning"), (None, None)])
    def test_account_that_may_not_be_looked_at(
        self, server: ScriptedServer, store: Store, version: str | None, words: str | None
    ) -> None:
        server.replies = [Reply(403), page(blob("b1/x")), found(version)]
        assert store.deletion_policy() == words

    def test_object_that_is_gone_meanwhile(self, server: ScriptedServer, store: Store) -> None:
        server.replies = [account(7), page(blob("b1/x")), Reply(404, b"", {"x-ms-error-code": "BlobNotFound"})]
        assert store.deletion_policy() == "soft delete for 7 days"

    def test_empty_location(self, server: ScriptedServer, store: Store) -> None:
        server.replies = [account(None), page()]
        assert store.deletion_policy() == ""

    @pytest.mark.parametrize("replies", [[Reply(403)], [account(7), Reply(404)]])
    def test_refused(self, server: ScriptedServer, store: Store, replies: list[Reply]) -> None:
        server.replies = replies
        assert store.deletion_policy() is None

    @pytest.mark.parametrize("replies", [[Reply(503)], [account(7), Reply(503)], [Reply(403), Reply(503)]])
    def test_unreachable(self, server: ScriptedServer, store: Store, replies: list[Reply]) -> None:
        server.replies = replies
        with pytest.raises(StorageUnreachable):
            store.deletion_policy()
