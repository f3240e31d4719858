"""The SHA-256 of an object, made while its bytes pass.

An object of one part has the SHA-256 of its bytes, as ``sha256sum`` prints it. One of several parts of one size has, as
S3 does it, the SHA-256 of its parts' digests one after another, with ``-`` and their number: parts can be made in any
order, and by several processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def joined(parts: Sequence[str]) -> str:
    """Return the SHA-256 of an object from those of its parts, in hexadecimal."""
    if len(parts) == 1:
        return parts[0]
    return f"{hashlib.sha256(b''.join(map(bytes.fromhex, parts))).hexdigest()}-{len(parts)}"


def digest_parts(pieces: Iterable[bytes], part_bytes: int = 0) -> tuple[str, ...]:
    """Return the SHA-256 of each part of what these pieces are together.

    :param part_bytes: the size of the parts but the last; 0 for one part.
    """
    digest = PartedDigest(part_bytes)
    for piece in pieces:
        digest.update(piece)
    return digest.parts()


class PartedDigest:
    """Takes an object's bytes in their order.

    :param part_bytes: the size of its parts but the last; 0 for an object of one part.
    """

    def __init__(self, part_bytes: int = 0) -> None:
        self._part_bytes = part_bytes
        self._left = part_bytes
        self._digest = hashlib.sha256()
        self._parts: list[str] = []

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        if not self._part_bytes:
            self._digest.update(piece)
            return
        rest = memoryview(piece)
        while rest:
            if not self._left:
                self._end_part()
            taken = rest[: self._left]
            self._digest.update(taken)
            self._left -= len(taken)
            rest = rest[len(taken) :]

    def parts(self) -> tuple[str, ...]:
        """Return the digests of all parts, once all bytes were taken."""
        return (*self._parts, self._digest.hexdigest())

    def _end_part(self) -> None:
        self._parts.append(self._digest.hexdigest())
        self._digest, self._left = hashlib.sha256(), self._part_bytes
