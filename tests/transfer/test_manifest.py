from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.transfer.manifest import Manifest, ManifestEntry, manifest_key, parse_manifest
from tests.weaviate.mutations import json_values

KEY = "x1/_vectorbackup/manifest.json"

entries = st.builds(ManifestEntry, st.integers(min_value=0), st.none() | st.from_regex("[0-9a-f]{64}", fullmatch=True))


def test_place() -> None:
    assert manifest_key("x1") == KEY


@given(st.dictionaries(st.text(), entries, max_size=5).map(Manifest))
def test_what_is_stored_is_read(manifest: Manifest) -> None:
    assert parse_manifest(KEY, manifest.to_json()) == manifest


def test_same_objects_same_bytes() -> None:
    objects = {"w1/backup.json": ManifestEntry(5, "ab"), "backup_config.json": ManifestEntry(7)}
    assert Manifest(objects).to_json() == Manifest(dict(reversed(objects.items()))).to_json()


def test_later_version() -> None:
    with pytest.raises(BrokenDescriptor, match=rf"{KEY} is of version 2, not 1"):
        parse_manifest(KEY, json.dumps({"version": 2, "objects": {}}).encode())


@pytest.mark.parametrize(
    "entry", [None, 5, "x", [], {}, {"size": "5"}, {"size": None}, {"size": 5, "sha256": 5}, {"sha256": "ab"}]
)
def test_entry_that_is_none(entry: Any) -> None:
    with pytest.raises(BrokenDescriptor, match=rf"{KEY} can't be read"):
        parse_manifest(KEY, json.dumps({"version": 1, "objects": {"a": entry}}).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"[]", b"5", b'{"version": 1}'])
def test_content_that_is_no_manifest(content: bytes) -> None:
    with pytest.raises(BrokenDescriptor, match=rf"{KEY} can't be read"):
        parse_manifest(KEY, content)


@given(json_values, json_values)
def test_whatever_it_holds_is_read_or_refused(whole: Any, objects: Any) -> None:
    for content in (whole, {"version": 1, "objects": objects}):
        try:
            parse_manifest(KEY, json.dumps(content).encode())
        except BrokenDescriptor as error:
            assert KEY in str(error)  # noqa: PT017 - it need not be raised
