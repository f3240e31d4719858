"""Answers of Google, as far as its library does not read them."""

from __future__ import annotations

import email
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import requests
from google.api_core import exceptions

from airflow_provider_vectorbackup.storage.gcs_checksums import Checksum

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/\d+")
_ANSWERED = re.compile(r"response-(\d+)>")


class Broken(requests.ConnectionError):
    """An answer that is not what was asked for: cut short, of other bytes, or damaged on the way."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as Google tells it after it was written.

    :param crc32c: as Google writes it; empty where it does not tell.
    """

    generation: str
    size_bytes: int
    crc32c: str

    def is_of(self, checksum: Checksum) -> bool:
        """Return whether it is the content that the checksum was made of, as far as that can be told."""
        return self.size_bytes == checksum.size_bytes and checksum.fits(self.crc32c)


def deletions_in(answer: requests.Response) -> Iterator[tuple[int, exceptions.GoogleAPICallError | None]]:
    """Read what a batch came to: None for what was done, by its number."""
    content_type = f"Content-Type: {answer.headers.get('Content-Type', '')}\r\n\r\n"
    message = email.message_from_bytes(content_type.encode() + answer.content)
    parts: Any = message.get_payload() if message.is_multipart() else ()
    for part in parts:
        number, payload = _ANSWERED.search(part.get("Content-ID", "")), part.get_payload(decode=True)
        head, _, body = payload.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        if number and status and status[0].isdigit():
            is_done = status[0].startswith(b"2")
            yield int(number[1]), None if is_done else exceptions.from_http_status(int(status[0]), _words(body))


def _words(body: bytes) -> str:
    with suppress(ValueError, TypeError, LookupError):
        return str(json.loads(body)["error"]["message"])
    return ""


def end_of(response: requests.Response, start: int, end: int | None) -> int:
    """Return where the bytes of an answer end in the object.

    :raises Broken: they are not those from ``start`` to ``end``.
    """
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        first, last = (int(found[1]), int(found[2]) + 1) if found else (-1, -1)
    else:
        first, last = 0, int(response.headers.get("Content-Length", -1))
    if end is not None and first == start and last < end:
        raise exceptions.RequestRangeNotSatisfiable(f"the object ends at {last}, before {end}")
    if first != start or last != (last if end is None else end) or last < first:
        raise Broken("other bytes were answered than were asked for")
    return last


def stored_in(told: Mapping[str, Any]) -> Stored:
    """Read what Google tells of an object.

    :raises Broken: it tells nothing of one.
    """
    with suppress(ValueError, TypeError, LookupError):
        return Stored(str(told["generation"]), int(told["size"]), str(told.get("crc32c") or ""))
    raise Broken("the answer tells of no object")
