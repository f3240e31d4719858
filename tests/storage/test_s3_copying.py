"""Copies inside S3, and what locks say."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import pytest

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import ObjectChanged, ObjectNotFound, StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage import s3
from airflow_provider_vectorbackup.storage.s3 import S3Store
from airflow_provider_vectorbackup.storage.store import StoredObject
from tests.scripted_server import Reply, scripted_server
from tests.storage.test_s3_requests import BEGUN, is_by_boto3, open_at

SOURCE = Location.parse("s3://conn@other/old")
LISTED = StoredObject("b1/ä b", 10, '"1"', datetime(2026, 1, 1, tzinfo=UTC))
COPIED = Reply(
    200,
    b'<?xml version="1.0" encoding="UTF-8"?>\n<CopyObjectResult xmlns="x"><LastModified>2026-01-01T00:00:00.000Z'
    b"</LastModified><ETag>&quot;2&quot;</ETag></CopyObjectResult>",
)
FAILED = Reply(200, b"<Error><Code>InternalError</Code><Message>Again.</Message></Error>")


def refused(status: int, code: str) -> Reply:
    return Reply(status, f"<Error><Code>{code}</Code></Error>".encode())


def copied(store: S3Store) -> str:
    return store.copy(SOURCE, LISTED.key, "copy", listed=LISTED)


class TestOfListedObjects:
    def test_one_request_each(self) -> None:
        with scripted_server(COPIED) as server, closing(open_at(server)) as store:
            assert [copied(store) for _ in range(2)] == ['"2"'] * 2
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False]
        for seen in server.seen:
            assert (seen.method, seen.target) == ("PUT", "/bucket/backups/copy")
            assert seen.headers["x-amz-copy-source"] == "other/old/b1/%C3%A4%20b"
            assert seen.headers["x-amz-copy-source-if-match"] == '"1"'

    @pytest.mark.parametrize("odd", [FAILED, Reply(503, b""), Reply(200, b""), Reply(cut=True)], ids=repr)
    def test_odd_answers_are_asked_again_by_boto3(self, odd: Reply) -> None:
        with scripted_server(COPIED, odd, COPIED) as server, closing(open_at(server)) as store:
            assert [copied(store) for _ in range(2)] == ['"2"'] * 2
            assert [is_by_boto3(seen) for seen in server.seen] == [True, False, True]

    def test_error_with_the_status_of_a_success(self) -> None:
        with scripted_server(COPIED, FAILED) as server, closing(open_at(server)) as store:
            copied(store)
            with pytest.raises(StorageUnreachable, match=r"copy can't be written: .*InternalError: Again"):
                copied(store)

    @pytest.mark.parametrize(
        ("refusal", "kind"),
        [(refused(412, "PreconditionFailed"), ObjectChanged), (refused(404, "NoSuchKey"), ObjectNotFound)],
    )
    def test_source_that_is_not_what_was_listed(self, refusal: Reply, kind: type[StorageError]) -> None:
        with scripted_server(COPIED, refusal) as server, closing(open_at(server)) as store:
            copied(store)
            with pytest.raises(kind, match="s3://conn@other/old/b1/ä b can't be read"):
                copied(store)

    def test_refusal_at_the_target(self) -> None:
        with scripted_server(COPIED, refused(403, "AccessDenied")) as server, closing(open_at(server)) as store:
            copied(store)
            with pytest.raises(StorageError, match="backups/copy can't be written: S3 answered 403"):
                copied(store)

    def test_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that is written anew in the meantime is refused, and nothing is left."""
        monkeypatch.setattr(s3, "COPY_BYTES", 5)
        changed, gone = refused(412, "PreconditionFailed"), Reply(204, b"")
        with scripted_server(BEGUN, changed, gone) as server, closing(open_at(server)) as store:
            with pytest.raises(ObjectChanged, match="old/b1/ä b can't be read"):
                copied(store)
            assert [seen.method for seen in server.seen] == ["POST", "PUT", "DELETE"]
            assert server.seen[1].headers["x-amz-copy-source-if-match"] == '"1"'
            assert "x-amz-checksum-algorithm" not in server.seen[0].headers


def policy(text: str) -> Reply:
    rule = f"<Rule><DefaultRetention>{text}</DefaultRetention></Rule>" if text else ""
    return Reply(
        200,
        f"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>".encode(),
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (policy("<Mode>GOVERNANCE</Mode><Days>30</Days>"), "Object Lock: GOVERNANCE for 30 days"),
        (policy("<Mode>COMPLIANCE</Mode><Years>1</Years>"), "Object Lock: COMPLIANCE for 1 years"),
        (policy(""), ""),
        (refused(404, "ObjectLockConfigurationNotFoundError"), ""),
        (refused(501, "NotImplemented"), ""),
        (refused(403, "AccessDenied"), None),
        (Reply(cut=True), None),
    ],
)
def test_lock_policy(answer: Reply, words: str | None) -> None:
    with scripted_server(answer) as server, closing(open_at(server)) as store:
        assert store.lock_policy() == words
