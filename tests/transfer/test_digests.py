from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.transfer.digests import PartedDigest, joined


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def parts_of(pieces: list[bytes], part_bytes: int) -> tuple[str, ...]:
    digest = PartedDigest(part_bytes)
    for piece in pieces:
        digest.update(piece)
    return digest.parts()


@given(st.lists(st.binary(max_size=20), max_size=10), st.integers(1, 30))
def test_however_it_comes_the_parts_are_the_same(pieces: list[bytes], part_bytes: int) -> None:
    content = b"".join(pieces)
    starts = range(0, max(len(content), 1), part_bytes)
    assert parts_of(pieces, part_bytes) == tuple(sha256(content[at : at + part_bytes]) for at in starts)


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_one_part_is_what_sha256sum_prints(pieces: list[bytes]) -> None:
    parts = parts_of(pieces, 0)
    assert parts == (sha256(b"".join(pieces)),)
    assert joined(parts) == parts[0]


def test_exactly_full_parts_leave_no_empty_one() -> None:
    assert parts_of([b"abcd", b"efgh"], 4) == (sha256(b"abcd"), sha256(b"efgh"))


@pytest.mark.parametrize("part_bytes", [0, 4])
def test_no_bytes(part_bytes: int) -> None:
    assert parts_of([], part_bytes) == parts_of([b""], part_bytes) == (sha256(b""),)


def test_several_parts_are_joined_as_s3_does() -> None:
    """Of the digests as bytes, not as text, and with their number."""
    one, two = hashlib.sha256(b"one"), hashlib.sha256(b"two")
    whole = hashlib.sha256(one.digest() + two.digest()).hexdigest()
    assert joined([one.hexdigest(), two.hexdigest()]) == f"{whole}-2"


def test_looking_at_the_parts_does_not_end_it() -> None:
    digest = PartedDigest(4)
    digest.update(b"abc")
    assert digest.parts() == (sha256(b"abc"),)
    digest.update(b"de")
    assert digest.parts() == (sha256(b"abcd"), sha256(b"e"))
