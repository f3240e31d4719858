"""How the chunks of a backup are compressed."""

from __future__ import annotations

from enum import StrEnum


class Codec(StrEnum):
    """The values of a descriptor's ``compressionType``; one written before there was a choice is GZIP."""

    GZIP = "gzip"
    ZSTD = "zstd"
    NONE = "none"
