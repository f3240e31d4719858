"""Google's holds, retention policies and soft delete, made up: its stand-in has none of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_vectorbackup.exceptions import StorageError, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import Lock, Store
from tests.scripted_server import Reply, ScriptedServer

JSON = {"Content-Type": "application/json"}
LATER, LAST = datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2101, 1, 2, 3, 4, 5, tzinfo=UTC)
PASSED_TEXT, LATER_TEXT, LAST_TEXT = "2020-01-02T03:04:05.678Z", "2100-01-02T03:04:05Z", "2101-01-02T03:04:05Z"
WEEK = {"softDeletePolicy": {"retentionDurationSeconds": "604800", "effectiveTime": PASSED_TEXT}}


def told(answer: object) -> Reply:
    return Reply(200, json.dumps(answer).encode(), JSON)


def page(*items: dict[str, Any], token: str | None = None) -> Reply:
    return told({"items": items} | ({"nextPageToken": token} if token else {}))


def item(key: str, **fields: object) -> dict[str, Any]:
    return {"name": f"backups/{key}", **fields}


class TestLocks:
    @pytest.mark.parametrize(
        ("fields", "lock"),
        [
            ({}, None),
            ({"temporaryHold": False, "eventBasedHold": False}, None),
            ({"temporaryHold": True}, ("a temporary hold", None)),
            ({"eventBasedHold": True}, ("an event-based hold", None)),
            ({"eventBasedHold": True, "temporaryHold": True}, ("an event-based hold", None)),
            ({"retentionExpirationTime": LATER_TEXT}, ("a retention policy", LATER)),
            ({"retentionExpirationTime": PASSED_TEXT}, None),
            ({"retentionExpirationTime": LATER_TEXT, "temporaryHold": True}, ("a temporary hold", None)),
            ({"retention": {"mode": "Locked", "retainUntilTime": LATER_TEXT}}, ("a retention (Locked)", LATER)),
            ({"retention": {"mode": "Locked", "retainUntilTime": PASSED_TEXT}}, None),
        ],
    )
    def test_one(
        self, server: ScriptedServer, gcs_store: Store, fields: dict[str, Any], lock: tuple[str, datetime | None] | None
    ) -> None:
        server.replies = [page(item("b1/x", **fields))]
        assert list(gcs_store.list_locks("b1/")) == ([Lock("b1/x", *lock)] if lock else [])

    @pytest.mark.parametrize(
        ("own", "policy", "reason"),
        [
            (LAST_TEXT, LATER_TEXT, "a retention (Unlocked)"),
            (LATER_TEXT, LAST_TEXT, "a retention policy"),
            (LAST_TEXT, LAST_TEXT, "a retention (Unlocked)"),
            (PASSED_TEXT, LAST_TEXT, "a retention policy"),
        ],
    )
    def test_the_later_of_two(
        self, server: ScriptedServer, gcs_store: Store, own: str, policy: str, reason: str
    ) -> None:
        retention = {"mode": "Unlocked", "retainUntilTime": own}
        server.replies = [page(item("b1/x", retention=retention, retentionExpirationTime=policy))]
        assert list(gcs_store.list_locks()) == [Lock("b1/x", reason, LAST)]

    def test_pages(self, server: ScriptedServer, gcs_store: Store) -> None:
        held: dict[str, Any] = {"temporaryHold": True}
        server.replies = [page(item("b1/", **held), item("b1/x", **held), token="next"), page(item("b1/y", **held))]
        assert [lock.key for lock in gcs_store.list_locks("b1/")] == ["b1/x", "b1/y"]
        first, second = (parse_qs(urlsplit(seen.target).query) for seen in server.seen)
        assert first["prefix"] == ["backups/b1/"]
        assert first["fields"] == [
            "nextPageToken,items(name,retentionExpirationTime,retention,temporaryHold,eventBasedHold)"
        ]
        assert second["pageToken"] == ["next"]

    @pytest.mark.parametrize(("status", "kind"), [(403, StorageError), (404, StorageError), (503, StorageUnreachable)])
    def test_refused(self, server: ScriptedServer, gcs_store: Store, status: int, kind: type[StorageError]) -> None:
        server.replies = [Reply(status)]
        with pytest.raises(StorageError, match="b1/ can't be listed") as caught:
            list(gcs_store.list_locks("b1/"))
        assert type(caught.value) is kind


class TestDeletionPolicy:
    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            ({}, ""),
            ({"versioning": {"enabled": False}, "softDeletePolicy": {"retentionDurationSeconds": "0"}}, ""),
            ({"versioning": {"enabled": True}}, "versioning"),
            (WEEK, "soft delete for 7 days"),
            ({"versioning": {"enabled": True}, **WEEK}, "versioning and soft delete for 7 days"),
        ],
    )
    def test_words(self, server: ScriptedServer, gcs_store: Store, answer: object, words: str) -> None:
        server.replies = [told(answer)]
        assert gcs_store.deletion_policy() == words
        asked = urlsplit(server.seen[0].target)
        assert (asked.path, parse_qs(asked.query)) == (
            "/storage/v1/b/bucket",
            {"fields": ["versioning,softDeletePolicy"]},
        )

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_refused(self, server: ScriptedServer, gcs_store: Store, status: int) -> None:
        server.replies = [Reply(status)]
        assert gcs_store.deletion_policy() is None

    def test_unreachable(self, server: ScriptedServer, gcs_store: Store) -> None:
        server.replies = [Reply(503)]
        with pytest.raises(StorageUnreachable):
            gcs_store.deletion_policy()
