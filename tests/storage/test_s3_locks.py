"""S3's locks and versioning, on answers made up: what other servers say, and what happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest

from airflow_provider_vectorbackup.exceptions import ObjectNotFound, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.s3 import S3Store
from airflow_provider_vectorbackup.storage.store import Lock
from tests import scripted_server as scripted
from tests.scripted_server import Reply, ScriptedServer, scripted_server
from tests.storage.test_s3_copying import policy, refused
from tests.storage.test_s3_listing import page
from tests.storage.test_s3_requests import open_at

ENABLED, NO_LOCK = policy(""), refused(404, "NoSuchObjectLockConfiguration")
UNTIL = datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC)
RETAINED = Reply(
    200,
    b"",
    {
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": "2100-01-02T03:04:05.000Z",
        "x-amz-object-lock-legal-hold": "OFF",
    },
)


@pytest.fixture(autouse=True)
def _heads_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted._Handler, "do_HEAD", scripted._Handler._serve, raising=False)


@contextmanager
def opened(*replies: Reply) -> Iterator[tuple[ScriptedServer, S3Store]]:
    with scripted_server(*replies) as server, closing(open_at(server)) as store:
        yield server, store


@pytest.mark.parametrize(
    "answer",
    [
        refused(404, "ObjectLockConfigurationNotFoundError"),
        refused(501, "NotImplemented"),
        Reply(200, b"<ObjectLockConfiguration/>"),
    ],
)
def test_bucket_without_object_lock_takes_one_request(answer: Reply) -> None:
    with opened(answer) as (server, store):
        assert list(store.list_locks("b1/")) == []
        assert [seen.target for seen in server.seen] == ["/bucket?object-lock"]


def test_empty_bucket_with_object_lock() -> None:
    with opened(ENABLED, page()) as (server, store):
        assert list(store.list_locks("b1/")) == []
        assert len(server.seen) == 2


def test_requests() -> None:
    with opened(ENABLED, page("b1/ä b"), NO_LOCK, NO_LOCK, RETAINED) as (server, store):
        assert list(store.list_locks("b1/")) == [Lock("b1/ä b", "Object Lock (COMPLIANCE)", UNTIL)]
        _, listing, *asked = [(seen.method, seen.target) for seen in server.seen]
        assert "prefix=backups%2Fb1%2F" in listing[1]
        target = "/bucket/backups/b1/%C3%A4%20b"
        assert asked == [("GET", f"{target}?retention"), ("GET", f"{target}?legal-hold"), ("HEAD", target)]


def test_object_that_is_gone_meanwhile() -> None:
    with opened(ENABLED, page("b1/x"), refused(404, "NoSuchKey")) as (_, store):
        assert list(store.list_locks()) == []


@pytest.mark.parametrize(
    ("head", "kind"),
    [(refused(403, "AccessDenied"), StorageError), (refused(503, "SlowDown"), StorageUnreachable)],
)
def test_object_that_can_not_be_looked_at(head: Reply, kind: type[StorageError]) -> None:
    with opened(ENABLED, page("b1/x"), NO_LOCK, NO_LOCK, head) as (_, store):
        with pytest.raises(StorageError, match=r"b1/ can't be listed: S3 answered") as caught:
            list(store.list_locks("b1/"))
        assert type(caught.value) is kind
        assert not isinstance(caught.value, ObjectNotFound)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Reply(200, b"<VersioningConfiguration/>"), ""),
        (Reply(200, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"), "versioning"),
        (
            Reply(200, b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"),
            "versioning, now suspended, of objects that were written before",
        ),
        (refused(501, "NotImplemented"), ""),
        (refused(403, "AccessDenied"), None),
        (refused(404, "NoSuchBucket"), None),
    ],
)
def test_deletion_policy(answer: Reply, words: str | None) -> None:
    with opened(answer) as (server, store):
        assert store.deletion_policy() == words
        assert [seen.target for seen in server.seen] == ["/bucket?versioning"]


@pytest.mark.parametrize("answer", [refused(503, "SlowDown"), Reply(cut=True)])
def test_deletion_policy_that_can_not_be_asked_for_now(answer: Reply) -> None:
    with opened(answer) as (_, store), pytest.raises(StorageUnreachable):
        store.deletion_policy()
