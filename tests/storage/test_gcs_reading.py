"""Streams from Google, where its stand-in does not do as it does: conditions, cuts, damage."""

from __future__ import annotations

import pytest

from airflow_provider_vectorbackup.exceptions import ObjectChanged, ObjectNotFound, StorageUnreachable
from airflow_provider_vectorbackup.storage.store import PIECE_BYTES, Store
from tests.scripted_server import Reply, ScriptedServer
from tests.storage.conftest import KEY
from tests.storage.gcs_answers import CONTENT, NAME, crc32c, media, rest

LARGE = CONTENT * 4


def streamed(gcs_store: Store, **wanted: str | int) -> bytes:
    return b"".join(gcs_store.stream(KEY, **wanted))  # type: ignore[arg-type]


def test_what_is_asked_for(server: ScriptedServer, gcs_store: Store) -> None:
    server.replies = [Reply(206, b"bc", {"Content-Range": "bytes 1-2/4", "X-Goog-Generation": "7"})]
    assert streamed(gcs_store, start=1, end=3, etag="7") == b"bc"
    (seen,) = server.seen
    assert seen.target == f"/download/storage/v1/b/bucket/o/{NAME}?alt=media&ifGenerationMatch=7"
    assert (seen.headers["Range"], seen.headers["Accept-Encoding"]) == ("bytes=1-2", "gzip")


def test_replaced(server: ScriptedServer, gcs_store: Store) -> None:
    server.replies = [Reply(412, b"At least one of the pre-conditions you specified did not hold.")]
    with pytest.raises(ObjectChanged, match="it was written anew"):
        streamed(gcs_store, etag="7")


def test_replaced_where_the_condition_is_not_looked_at(server: ScriptedServer, gcs_store: Store) -> None:
    server.replies = [media(CONTENT, generation="8")]
    with pytest.raises(ObjectChanged):
        streamed(gcs_store, etag="7")


def test_absent_with_an_etag(server: ScriptedServer, gcs_store: Store) -> None:
    server.replies = [Reply(404, b"No such object"), Reply(200, b"{}")]
    with pytest.raises(ObjectNotFound):
        streamed(gcs_store, etag="7")


def test_cut_is_taken_up_where_it_was(server: ScriptedServer, gcs_store: Store) -> None:
    cut = PIECE_BYTES + 1000
    server.replies = [media(LARGE, cut_after=cut), rest(LARGE, cut)]
    assert streamed(gcs_store) == LARGE
    assert server.seen[1].headers["Range"] == f"bytes={cut}-{len(LARGE) - 1}"
    assert server.seen[1].target.endswith("&ifGenerationMatch=7")


def test_cut_and_replaced_since(server: ScriptedServer, gcs_store: Store) -> None:
    for answer in (Reply(412), rest(LARGE, PIECE_BYTES, generation="8")):
        server.replies = [media(LARGE, cut_after=PIECE_BYTES), answer]
        pieces = gcs_store.stream(KEY)
        assert next(pieces) == LARGE[:PIECE_BYTES]
        with pytest.raises(ObjectChanged):
            next(pieces)


def test_cut_again_and_again(server: ScriptedServer, gcs_store: Store) -> None:
    server.replies = [media(b"content", cut_after=3), Reply(206, b"", rest(b"content", 0).headers)]
    with pytest.raises(StorageUnreachable, match="can't be read"):
        streamed(gcs_store)
    assert len(server.seen) <= 5


@pytest.mark.parametrize(
    "answer",
    [
        media(CONTENT),
        rest(CONTENT, 2),
        Reply(206, CONTENT[1:]),
        Reply(206, CONTENT[1:], {"Content-Range": "bytes */5"}),
    ],
    ids=["whole", "later", "unsaid", "unclear"],
)
def test_other_bytes_than_were_asked_for(server: ScriptedServer, gcs_store: Store, answer: Reply) -> None:
    server.replies = [answer]
    with pytest.raises(StorageUnreachable, match="other bytes"):
        streamed(gcs_store, start=1)


def test_damaged_on_the_way(server: ScriptedServer, gcs_store: Store) -> None:
    server.replies = [media(b"damaged", crc=crc32c(b"content"))]
    pieces = gcs_store.stream(KEY)
    assert next(pieces) == b"damaged"
    with pytest.raises(StorageUnreachable, match="do not fit their checksum"):
        next(pieces)


def test_damaged_before_it_was_cut(server: ScriptedServer, gcs_store: Store) -> None:
    damaged = b"x" + LARGE[1:]
    server.replies = [
        media(damaged, cut_after=PIECE_BYTES, crc=crc32c(LARGE)),
        rest(LARGE, PIECE_BYTES),
    ]
    with pytest.raises(StorageUnreachable, match="do not fit their checksum"):
        streamed(gcs_store)


def test_no_bytes(server: ScriptedServer, gcs_store: Store) -> None:
    """Asked for all the same: the object may be another by now."""
    server.replies = [media(b"")]
    assert streamed(gcs_store, end=0, etag="7") == b""
    server.replies = [Reply(412)]
    with pytest.raises(ObjectChanged):
        streamed(gcs_store, end=0, etag="7")
