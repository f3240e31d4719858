"""CRC32C, which Google makes of every object: of bytes as they pass, and of parts that are put together."""

from __future__ import annotations

import base64

import google_crc32c

from airflow_provider_vectorbackup.storage.store import PIECE_BYTES

_POLYNOMIAL = 0x82F63B78
"""Of CRC32C, its bits the other way round, as in all numbers here: the highest bit stands for x**0."""

_ONE = 1 << 31
_X = 1 << 30


class Checksum:
    """Of bytes in their order. Without its implementation in C it would take longer than the transfer: then, none."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._crc32c = google_crc32c.Checksum() if google_crc32c.implementation == "c" else None

    def update(self, content: bytes | bytearray) -> None:
        """Take the next bytes."""
        self.size_bytes += len(content)
        if self._crc32c:
            for start in range(0, len(content), PIECE_BYTES):
                # A copy, because the implementation takes nothing but bytes.
                self._crc32c.update(bytes(content[start : start + PIECE_BYTES]))

    @property
    def text(self) -> str:
        """As Google writes it; empty where there is none."""
        return base64.b64encode(self._crc32c.digest()).decode() if self._crc32c else ""

    @property
    def header(self) -> dict[str, str]:
        """What has Google compare it before it stores the object."""
        return {"X-Goog-Hash": f"crc32c={self.text}"} if self._crc32c else {}

    def fits(self, text: str | None) -> bool:
        """Return whether it is the one that Google tells, as far as both are known."""
        return not (self._crc32c and text) or text == self.text


def combined(first: str, second: str, second_size_bytes: int) -> str:
    """Return the checksum of two contents, one behind the other, from theirs; all as Google writes them.

    A checksum is the remainder of the content taken as a polynomial over GF(2): that of the first is moved up by as
    many bits as the second has, and that of the second added. Takes a few dozen steps, whatever the sizes.

    :raises ValueError: one is no checksum.
    """
    moved = _times(_power_of_x(8 * second_size_bytes), _number(first))
    return base64.b64encode((moved ^ _number(second)).to_bytes(4, "big")).decode()


def _number(text: str) -> int:
    content = base64.b64decode(text, validate=True)
    if len(content) != 4:  # noqa: PLR2004 - 32 bits
        raise ValueError(f"{text!r} is no CRC32C")
    return int.from_bytes(content, "big")


def _power_of_x(exponent: int) -> int:
    power, square = _ONE, _X
    while exponent:
        if exponent & 1:
            power = _times(power, square)
        square = _times(square, square)
        exponent >>= 1
    return power


def _times(first: int, second: int) -> int:
    """Multiply two polynomials, modulo CRC32C's."""
    product, bit = 0, _ONE
    while bit:
        if first & bit:
            product ^= second
        second = second >> 1 ^ (_POLYNOMIAL if second & 1 else 0)
        bit >>= 1
    return product
