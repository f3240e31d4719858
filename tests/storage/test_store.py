from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.storage.store import name_in_bucket, require_key, undeleted

BUCKET = Location.parse("s3://bucket/backups")


@pytest.mark.parametrize(
    "key", ["a", "b1/backup_config.json", "b1/node-1/backup.json", ".a", "a.", "..a/...", "a\\b", "é /日"]
)
def test_key_that_stays(key: str) -> None:
    assert require_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/..",
        "a/../b",
        "./a",
        "a/.",
        "..\\a",
        "a\\..\\..\\b",
        "\\a",
        "a\n",
        "a\x00b",
        "\x7f",
        "\x85",
        "\ud800",
    ],
)
def test_key_that_leaves_or_can_not_be_sent(key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        require_key(key)
    assert repr(key) in str(caught.value)
    assert caught.value.hint


@given(st.text(st.sampled_from("ab./\\\n%é"), max_size=12) | st.text(max_size=12))
def test_any_key_stays_or_is_refused(key: str) -> None:
    try:
        name = name_in_bucket(BUCKET, key)
    except InvalidRequest:
        return
    for separator in ("/", "\\"):
        path = name.replace("\\", separator)
        assert posixpath.normpath(path) == path
        assert path.startswith("backups/")
    assert name.encode().decode() == f"backups/{key}"


@pytest.mark.parametrize(("prefix", "name"), [("", "b1/x"), ("backups", "backups/b1/x"), ("a/b", "a/b/b1/x")])
def test_name_in_bucket(prefix: str, name: str) -> None:
    assert name_in_bucket(Location("s3", "bucket", prefix), "b1/x") == name


def test_objects_that_could_not_be_deleted() -> None:
    """A few are named, all are counted."""
    error = undeleted(BUCKET, {f"b1/{number}": "AccessDenied." for number in range(5)}, "Look.")
    assert str(error) == (
        "5 objects of s3://bucket/backups can't be deleted: 'b1/0': AccessDenied; 'b1/1': AccessDenied; "
        "'b1/2': AccessDenied; and 2 more. Look."
    )
    assert len(error.reasons) == 5
    assert str(undeleted(BUCKET, {"x": "no"})) == "1 object of s3://bucket/backups can't be deleted: 'x': no."
