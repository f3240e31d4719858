from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.storage.pieces import exactly, in_parts

PLACE = Location.parse("s3://conn@bucket/backups")


@pytest.mark.parametrize("pieces", [[], [b""], [b"ab", b"", b"c"], [b"abc"]])
def test_as_announced(pieces: list[bytes]) -> None:
    assert list(exactly(PLACE, "b1/x", pieces, sum(map(len, pieces)))) == [piece for piece in pieces if piece]


@pytest.mark.parametrize(
    ("size_bytes", "came", "yielded"),
    [(6, "5 came", b"abcde"), (4, "more came", b"abc"), (3, "more came", b"abc"), (0, "more came", b"")],
)
def test_another_size(size_bytes: int, came: str, yielded: bytes) -> None:
    """What is too much is not handed on."""
    received: list[bytes] = []
    with pytest.raises(InvalidRequest, match=f"backups/b1/x can't be written: {size_bytes} bytes .* {came}"):
        received.extend(exactly(PLACE, "b1/x", [b"abc", b"de"], size_bytes))
    assert b"".join(received) == yielded


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 4, 7, 10, 11])
@pytest.mark.parametrize("parts", [[b""], [b"abcd"], [b"abcd", b"e"], [b"abcd", b"efgh", b"ij"]])
def test_parts(parts: list[bytes], piece_bytes: int) -> None:
    content = b"".join(parts)
    pieces = [content[start : start + piece_bytes] for start in range(0, len(content), piece_bytes)]
    assert [bytes(part) for part in in_parts(pieces, 4)] == parts


def test_no_part_is_the_last_before_the_pieces_have_ended() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"abcd"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        next(in_parts(pieces(), 4))
