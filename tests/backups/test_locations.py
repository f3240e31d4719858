from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.locations import (
    BACKENDS,
    SCHEME_BY_BACKEND,
    Location,
    require_backend,
    require_location_of,
)
from airflow_provider_vectorbackup.exceptions import InvalidRequest

buckets = st.from_regex(r"[a-z0-9][a-z0-9.-]{2,10}", fullmatch=True)
conn_ids = st.none() | st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
segments = st.from_regex(r"[A-Za-z0-9_ %+=~$-]{1,8}", fullmatch=True).map(str.strip).filter(bool)
prefixes = st.lists(segments, max_size=3).map("/".join)
object_stores = st.builds(Location, st.sampled_from(["s3", "gs", "azure"]), buckets, prefixes, conn_ids)
folders = st.builds(Location, st.just("file"), st.just(""), prefixes.map(lambda prefix: f"/{prefix}"))


@given(object_stores | folders)
def test_round_trip(location: Location) -> None:
    assert Location.parse(str(location)) == location


@given(st.text(max_size=40) | st.text(max_size=30).map(lambda rest: f"s3://{rest}"))
def test_any_text_is_a_location_or_refused(uri: str) -> None:
    try:
        location = Location.parse(uri)
    except InvalidRequest:
        return
    assert Location.parse(str(location)) == location


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("s3://bucket", Location("s3", "bucket", "")),
        ("s3://bucket/", Location("s3", "bucket", "")),
        ("s3://bucket/a/b/", Location("s3", "bucket", "a/b")),
        ("s3://aws_default@bucket/a", Location("s3", "bucket", "a", "aws_default")),
        ("gs://google@bucket/a", Location("gs", "bucket", "a", "google")),
        ("azure://wasb@container/a", Location("azure", "container", "a", "wasb")),
        ("file:///mnt/backups/", Location("file", "", "/mnt/backups")),
        ("file:///", Location("file", "", "/")),
    ],
)
def test_parse(uri: str, location: Location) -> None:
    assert Location.parse(uri) == location


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "bucket/path",
        "http://bucket/path",
        "s3:/bucket/path",
        "s3://",
        "s3:///path",
        "s3://conn@/path",
        "s3://bucket/path?versions",
        "s3://bucket/path#part",
        "s3://bucket/../other",
        "s3://bucket/a/..",
        "s3://bucket/a\nb",
        "s3://bucket/a\x00b",
        "s3://host:9000/bucket",
        "s3://[bucket/path",
        "file://host/path",
        "file://",
        "file:",
        "file:relative/path",
        "file:///mnt/../etc",
        "{{ var.value.location }}",
    ],
)
def test_what_is_no_location(uri: str) -> None:
    with pytest.raises(InvalidRequest):
        Location.parse(uri)


@pytest.mark.parametrize("no_text", [None, 3, ["s3://bucket"]])
def test_what_is_no_text(no_text: object) -> None:
    with pytest.raises(InvalidRequest, match="is not a location"):
        Location.parse(no_text)  # type: ignore[arg-type]  # what a template may give


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:topsecret@bucket/path",
        "s3://key:top/secret@bucket/path",
        "s3://key:top@secret@bucket/path",
        "s3://:topsecret@bucket",
        "s4://key:topsecret@bucket",
        "s4://key:top/secret@bucket",
        "s3://key:topsecret@bucket/path?x",
        "s3://key:topsecret@/path",
        "file://key:topsecret@host/path",
        "s3://key:topsecret@bucket/../x",
        "s3://key:topsecret@[bucket/x",
    ],
)
def test_passwords_are_refused_and_never_shown(uri: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Location.parse(uri)
    assert "secret" not in str(caught.value)


@given(object_stores)
def test_overrides(location: Location) -> None:
    assert location.with_overrides(None, None) == location
    moved = location.with_overrides("other", "/team/a/")
    assert (moved.bucket, moved.prefix, moved.conn_id) == ("other", "team/a", location.conn_id)


@pytest.mark.parametrize(
    ("uri", "of_backup"),
    [
        ("s3://bucket", "s3://bucket/x1"),
        ("s3://conn@bucket/a", "s3://conn@bucket/a/x1"),
        ("file:///mnt", "file:///mnt/x1"),
        ("file:///", "file:///x1"),
    ],
)
def test_uri_of_a_backup(uri: str, of_backup: str) -> None:
    assert Location.parse(uri).uri_of("x1") == of_backup


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_have_a_short_and_a_long_name(backend: str) -> None:
    assert require_backend(backend) == backend
    assert require_backend(f"backup-{backend}") == backend


@pytest.mark.parametrize("name", ["", "S3", "aws", "backup-", None, 3])
def test_what_is_no_backend(name: object) -> None:
    with pytest.raises(InvalidRequest, match=r"is not a backend\. Use one of s3, gcs, azure, filesystem\."):
        require_backend(name)  # type: ignore[arg-type]  # what a template may give


@pytest.mark.parametrize("backend", BACKENDS)
def test_location_of_another_backend(backend: str) -> None:
    for scheme, uri in {"s3": "s3://b", "gs": "gs://b", "azure": "azure://b", "file": "file:///b"}.items():
        location = Location.parse(uri)
        if scheme == SCHEME_BY_BACKEND[backend]:
            assert require_location_of(backend, location) is location
        else:
            with pytest.raises(InvalidRequest, match=f"can't be where backend '{backend}' writes"):
                require_location_of(backend, location)
