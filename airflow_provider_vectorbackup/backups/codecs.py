"""How the chunks of a backup are compressed."""

from __future__ import annotations

from enum import StrEnum


class Codec(StrEnum):
    """The values of a descriptor's ``compressionType``; one written before there was a choice is GZIP."""

    GZIP = "gzip"
    ZSTD = "zstd"
    NONE = "none"


_BLOCK_BYTES = 512
_LEAST_BYTES = {Codec.GZIP: 20, Codec.ZSTD: 9, Codec.NONE: 2 * _BLOCK_BYTES}
"""Of a chunk: an archive without files."""

_MOST_RATIO = {Codec.GZIP: 1100, Codec.ZSTD: 50_000, Codec.NONE: 1}
"""By which the codec can shrink anything: deflate by 1032, zstd a block of 128 KiB to 4 bytes."""


def is_plausible(codec: Codec, stored_bytes: int, file_bytes: int = 0) -> bool:
    """Whether a chunk can be as small as this.

    :param file_bytes: of a file that is wholly in it, where that is known.
    """
    if codec is Codec.NONE and stored_bytes % _BLOCK_BYTES:
        return False
    return stored_bytes >= max(_LEAST_BYTES[codec], file_bytes / _MOST_RATIO[codec])
