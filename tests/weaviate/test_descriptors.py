from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.status import OperationKind, Status
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.weaviate.descriptors import (
    StoredState,
    global_key,
    node_key,
    parse_global,
    parse_single,
    parse_state,
)
from tests.trees.reading import global_descriptors, tree
from tests.weaviate.mutations import extended, json_values, replaced

KEY = "x1/backup_config.json"


def told(**fields: Any) -> bytes:
    """Return what 1.39.2 writes for a backup, with other values in some fields."""
    usual = {
        "startedAt": "2026-11-22T03:00:00.123456789Z",
        "completedAt": "2026-11-22T03:00:02+01:00",
        "id": "x1",
        "nodes": {"w1": {"classes": ["Article"], "status": "SUCCESS", "error": "", "preCompressionSizeBytes": 7}},
        "node_mapping": None,
        "status": "SUCCESS",
        "version": "2.1",
        "serverVersion": "1.39.2",
        "leader": "w1",
        "error": "",
        "preCompressionSizeBytes": 7,
        "compressionType": "gzip",
        "baseBackupId": "",
    }
    return json.dumps(usual | fields).encode()


def test_state_of_a_backup() -> None:
    content = {
        "id": "x1",
        "status": "STARTED",
        "error": "",
        "startedAt": "2026-11-22T03:00:00.123456789Z",
        "nodes": {"w2": {"classes": ["Article"]}, "w1": {"classes": []}},
        "somethingNew": [1],
    }
    state = parse_state(KEY, json.dumps(content).encode())
    # To the nanosecond: a restore has no other mark of its own.
    assert state == StoredState(Status.STARTED, "", "2026-11-22T03:00:00.123456789Z", ("w1", "w2"))


def test_keys() -> None:
    assert global_key(OperationKind.BACKUP, "x1") == "x1/backup_config.json"
    assert global_key(OperationKind.RESTORE, "x1") == "x1/restore_config.json"
    assert node_key("x1", "w1") == "x1/w1/backup.json"
    assert node_key("x1", "") == "x1/backup.json"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"text"', b'{"status": "SUCCESS", "nodes": 5}'])
def test_broken_one_is_named(content: bytes) -> None:
    with pytest.raises(BrokenDescriptor, match=r"The descriptor x1/w1/backup\.json can't be read"):
        parse_state("x1/w1/backup.json", content)


@given(json_values)
def test_whatever_it_holds_is_read_or_refused(content: Any) -> None:
    try:
        state = parse_state(KEY, json.dumps(content).encode())
    except BrokenDescriptor:
        return
    assert isinstance(state.status, Status)


@pytest.mark.parametrize(
    ("name", "backup_id", "layout", "codec", "base"),
    [
        ("old-1.20.6", "second", "1.0", Codec.NONE, None),
        ("old-1.24.26", "second", "2.0", Codec.GZIP, None),
        ("old-1.30.22", "second", "2.1", Codec.GZIP, None),
        ("old-1.34.10", "second", "2.1", Codec.GZIP, None),
        ("pair-1.34.18", "second", "2.1", Codec.GZIP, "full"),
        ("pair-1.37.0", "full", "2.1", Codec.GZIP, None),
        ("chain-1.39.2", "fourth", "2.1", Codec.GZIP, "third"),
        ("zstd-1.39.2", "second", "2.1", Codec.ZSTD, "full"),
        ("none-1.39.2", "full", "2.1", Codec.NONE, None),
    ],
)
def test_each_layout(name: str, backup_id: str, layout: str, codec: Codec, base: str | None) -> None:
    found, leader = tree(name).told(backup_id), "w1" if layout == "2.1" else ""
    assert (found.backup_id, found.status, found.error) == (backup_id, Status.SUCCESS, "")
    assert (found.layout, found.codec, found.leader, found.base_backup_id) == (layout, codec, leader, base)
    assert found.server_version == name.rpartition("-")[2]
    assert (list(found.nodes), found.nodes["w1"].status) == (["w1"], Status.SUCCESS)
    assert {"Article", "Product"} <= set(found.collections)
    assert found.is_chunked == (layout != "1.0")
    assert not found.is_single
    # Sizes are told since 1.32.
    assert (found.pre_compression_bytes is None) == (name in {"old-1.20.6", "old-1.24.26", "old-1.30.22"})
    assert found.started_at is not None
    assert found.completed_at is not None
    assert (found.started_at.utcoffset(), found.started_at < found.completed_at) == (UTC.utcoffset(None), True)


def test_several_nodes() -> None:
    found = tree("three-nodes-1.39.2").told("full")
    shares = {name: tuple(sorted(share.collections)) for name, share in found.nodes.items()}
    # The leader lists all, also what it has nothing of.
    assert shares == {"w1": ("Article", "Author"), "w2": ("Article",), "w3": ("Author",)}
    assert found.leader == "w1"
    assert found.collections == ("Article", "Author")
    assert sum(share.pre_compression_bytes or 0 for share in found.nodes.values()) == found.pre_compression_bytes


def test_users_and_roles_that_were_chosen() -> None:
    users = tree("users-roles-1.39.2")
    assert (users.told("chosen").users, users.told("chosen").roles) == (("alice",), ("reader",))
    assert (users.told("whole").users, users.told("whole").roles) == ((), ())


@pytest.mark.parametrize(
    ("backup_id", "status"),
    [("failed", Status.FAILED), ("canceled", Status.CANCELED), ("killed", Status.STARTED)],
)
def test_backups_that_did_not_end_well(backup_id: str, status: Status) -> None:
    found = tree("ended-otherwise-1.39.2").told(backup_id)
    assert (found.status, bool(found.error)) == (status, status is not Status.STARTED)
    # The year 1 stands for "not yet".
    assert (found.completed_at is None) == (status is Status.STARTED)


def test_only_descriptor_of_1_15() -> None:
    content = {
        "startedAt": "2022-10-01T10:00:00Z",
        "completedAt": "0001-01-01T00:00:00Z",
        "id": "x1",
        "classes": [{"name": "Article", "shards": []}, {"name": "Author", "shards": []}],
        "status": "SUCCESS",
        "version": "1.0",
        "serverVersion": "1.15.5",
        "error": "",
    }
    found = parse_single("x1/backup.json", json.dumps(content).encode())
    assert (found.is_single, found.layout, found.codec, found.is_chunked) == (True, "1.0", Codec.NONE, False)
    assert (found.collections, list(found.nodes)) == (("Article", "Author"), [""])
    assert found.started_at == datetime(2022, 10, 1, 10, tzinfo=UTC)
    assert (found.completed_at, found.leader, found.base_backup_id) == (None, "", None)


def test_times_are_utc() -> None:
    found = parse_global(KEY, told())
    assert found.started_at == datetime(2026, 11, 22, 3, 0, 0, 123456, tzinfo=UTC)
    assert found.completed_at == datetime(2026, 11, 22, 2, 0, 2, tzinfo=UTC)
    assert found.completed_at.tzinfo is UTC
    for absent in ("", None, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+02:00"):
        assert parse_global(KEY, told(startedAt=absent)).started_at is None


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"id": ""}, "id is missing"),
        ({"id": 5}, "id is not a text"),
        ({"version": None}, "version is missing"),
        ({"nodes": ["w1"]}, "nodes is not an object"),
        ({"nodes": {"w1": None}}, "nodes.w1 is not an object"),
        ({"nodes": {"w1": {"classes": "Article"}}}, "nodes.w1.classes is not a list"),
        ({"nodes": {"w1": {"classes": [5]}}}, "nodes.w1.classes is not a list of texts"),
        ({"nodes": {"w1": {"preCompressionSizeBytes": 1.5}}}, "nodes.w1.preCompressionSizeBytes is not a whole"),
        ({"preCompressionSizeBytes": -1}, "preCompressionSizeBytes is -1"),
        ({"preCompressionSizeBytes": True}, "preCompressionSizeBytes is True"),
        ({"startedAt": "yesterday"}, "startedAt is 'yesterday' where a time belongs"),
        # In which zone would it be? The worker's is as wrong as any.
        ({"startedAt": "2026-11-22T03:00:00"}, "startedAt is '2026-11-22T03:00:00' where a time belongs"),
        ({"completedAt": "9999-12-31T23:59:59-01:00"}, "completedAt is '9999-12-31T23:59:59-01:00' where"),
        ({"compressionType": "lz4"}, "compressionType is 'lz4', which this package does not know"),
        ({"users": "alice"}, "users is not a list"),
    ],
)
def test_field_that_is_not_as_it_must_be(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(BrokenDescriptor) as caught:
        parse_global(KEY, told(**fields))
    assert str(caught.value).startswith(f"The descriptor {KEY} can't be read: {place}")


OUTSIDE = (
    "..",
    "../x2",
    "a/../../x2",
    "/etc",
    "a//b",
    "a/",
    ".",
    "a\\..\\b",
    "new\nline",
    "null\0",
    "\x1b[31m",
    "\ud800",
)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("field", ["id", "baseBackupId", "node", "collection"])
def test_names_that_lead_outside(field: str, name: str) -> None:
    others: dict[str, dict[str, Any]] = {
        "node": {"nodes": {name: {"classes": []}}},
        "collection": {"nodes": {"w1": {"classes": ["Article", name]}}},
    }
    with pytest.raises(BrokenDescriptor, match=r"x1/backup_config\.json can't be read: .* leads outside the backup"):
        parse_global(KEY, told(**others.get(field, {field: name})))


@pytest.mark.parametrize("version", ["3.0", "12.1"])
def test_later_major_version(version: str) -> None:
    with pytest.raises(BrokenDescriptor, match=rf"x1/backup_config\.json is of layout version '{version}'.*Update"):
        parse_global(KEY, told(version=version))


@pytest.mark.parametrize("version", ["2", "two", "2.x", "v2.1", "\u0662.\u0661", "9" * 5000 + ".0"])
def test_version_that_is_none(version: str) -> None:
    with pytest.raises(BrokenDescriptor, match="which this package does not know"):
        parse_global(KEY, told(version=version))


def test_later_minor_version_is_read() -> None:
    assert parse_global(KEY, told(version="2.9", serverVersion="1.99.0")).layout == "2.9"


@given(extended(global_descriptors()))
def test_fields_of_later_servers_are_no_matter(contents: tuple[bytes, bytes]) -> None:
    before, after = contents
    assert parse_global(KEY, after) == parse_global(KEY, before)


@given(replaced(global_descriptors()))
def test_whatever_stands_in_it_is_read_or_refused(content: bytes) -> None:
    try:
        parse_global(KEY, content)
    except BrokenDescriptor as error:
        assert KEY in str(error)  # noqa: PT017 - it need not be raised


@given(st.binary(max_size=50))
def test_whatever_bytes_it_is(content: bytes) -> None:
    for parse in (parse_global, parse_single):
        with pytest.raises(BrokenDescriptor, match=KEY):
            parse(KEY, content)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"id":' * 100_000, b'{"id": ' + b"9" * 5000 + b"}"])
def test_what_the_decoder_itself_gives_up_on(content: bytes) -> None:
    with pytest.raises(BrokenDescriptor, match=KEY):
        parse_global(KEY, content)
