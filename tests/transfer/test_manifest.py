from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.transfer.manifest import Manifest, ManifestEntry, manifest_key, parse_manifest
from tests.weaviate.mutations import json_values

KEY = "x1/_vectorbackup/manifest.json"

sums = st.from_regex("[0-9a-f]{64}", fullmatch=True)
sizes = st.integers(min_value=1)
etags = {"source_etag": st.text(max_size=5), "etag": st.text(max_size=5)}
entries = st.one_of(
    st.builds(ManifestEntry, st.just(0) | sizes, **etags),
    st.builds(ManifestEntry, st.just(0) | sizes, sums.map(lambda each: (each,)), **etags),
    st.builds(ManifestEntry, sizes, st.lists(sums, min_size=2, max_size=4).map(tuple), sizes, **etags),
)
manifests = st.builds(Manifest, st.dictionaries(st.text(), entries, max_size=5), st.text(), st.text())
ONE, OTHER = "11" * 32, "22" * 32


def test_place() -> None:
    assert manifest_key("x1") == KEY


@given(manifests)
def test_what_is_stored_is_read(manifest: Manifest) -> None:
    assert parse_manifest(KEY, manifest.to_json()) == manifest


def test_same_objects_same_bytes() -> None:
    objects = {"w1/backup.json": ManifestEntry(5, (ONE,)), "backup_config.json": ManifestEntry(7)}
    assert Manifest(objects).to_json() == Manifest(dict(reversed(objects.items()))).to_json()


def test_what_others_read_in_it() -> None:
    """Whoever looks needs no code of ours: the sum is that of sha256sum, or S3's of an object in parts."""
    objects = {
        "a": ManifestEntry(5, (ONE,), 0, "s1", "t1"),
        "b": ManifestEntry(9, (ONE, OTHER), 5, "s2", "t2"),
        "c": ManifestEntry(7, (), 0, "s3", "t3"),
    }
    composite = hashlib.sha256(bytes.fromhex(ONE + OTHER)).hexdigest()
    assert json.loads(Manifest(objects, "s3://b/x1", "streamed").to_json()) == {
        "version": 1,
        "source": "s3://b/x1",
        "method": "streamed",
        "objects": {
            "a": {"size": 5, "sha256": ONE, "source_etag": "s1", "etag": "t1"},
            "b": {
                "size": 9,
                "sha256": f"{composite}-2",
                "part_size": 5,
                "parts": [ONE, OTHER],
                "source_etag": "s2",
                "etag": "t2",
            },
            "c": {"size": 7, "sha256": None, "source_etag": "s3", "etag": "t3"},
        },
    }


def test_manifest_without_etags() -> None:
    """As this package's first version wrote them, for checks only."""
    stored = json.dumps({"version": 1, "objects": {"a": {"size": 5, "sha256": ONE}}}).encode()
    assert parse_manifest(KEY, stored).objects == {"a": ManifestEntry(5, (ONE,))}


@pytest.mark.parametrize(
    ("one", "other", "is_comparable"),
    [
        (ManifestEntry(5, (ONE,)), ManifestEntry(5, (OTHER,)), True),
        (ManifestEntry(9, (ONE, OTHER), 5), ManifestEntry(9, (ONE, OTHER), 5), True),
        (ManifestEntry(9, (ONE, OTHER), 5), ManifestEntry(9, (ONE, OTHER), 6), False),
        (ManifestEntry(9, (ONE, OTHER), 5), ManifestEntry(9, (ONE,)), False),
        (ManifestEntry(5, (ONE,)), ManifestEntry(5), False),
        (ManifestEntry(5), ManifestEntry(5), False),
    ],
)
def test_sums_of_the_same_parts_only_are_comparable(
    one: ManifestEntry, other: ManifestEntry, *, is_comparable: bool
) -> None:
    assert one.is_comparable(other) == other.is_comparable(one) == is_comparable


def test_later_version() -> None:
    with pytest.raises(BrokenDescriptor, match=rf"{KEY} is of version 2, not 1"):
        parse_manifest(KEY, json.dumps({"version": 2, "objects": {}}).encode())


@pytest.mark.parametrize(
    "entry",
    [
        *(None, 5, "x", [], {}, {"size": "5"}, {"size": None}, {"size": 5, "sha256": 5}, {"sha256": "ab"}),
        *({"size": 5, "parts": [5]}, {"size": 5, "parts": "ab"}, {"size": 5, "part_size": "4"}),
        {"size": 5, "etag": None},
    ],
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
