"""Uploads to Google in parts: each part is an object of its own, and the object is composed of them.

Google's own uploads have no ids that could be kept: their URLs allow anybody to go on with them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.storage.gcs_answers import Broken, Stored
from airflow_provider_vectorbackup.storage.gcs_checksums import combined
from airflow_provider_vectorbackup.storage.gcs_requests import Requests
from airflow_provider_vectorbackup.storage.store import require_key

_COMPOSED_TOGETHER = 32
"""The most that Google takes in one request."""

_UPLOAD_ID = re.compile(r".*[0-9a-f]{16}", re.DOTALL)
"""What is deleted lies below one: nothing that another name could mean."""


@dataclass(frozen=True, slots=True)
class Component:
    """An object that is a part of another.

    :param name: the whole one.
    """

    name: str
    stored: Stored


def new_upload(scratch: str) -> str:
    """Return the id of an upload: the key of a folder that nobody else uses.

    :raises InvalidRequest: it would leave the location.
    """
    return require_upload(f"{scratch}{secrets.token_hex(8)}")


def require_upload(upload_id: str) -> str:
    """Return an upload's id if it is one.

    :raises InvalidRequest: it is none, or would leave the location.
    """
    if not _UPLOAD_ID.fullmatch(require_key(upload_id)):
        raise InvalidRequest(f"{upload_id!r} is no unfinished upload.")
    return upload_id


def key_of_part(upload_id: str, number: int) -> str:
    """Return the key under which a part lies.

    :raises InvalidRequest: the upload's id is none.
    """
    return f"{require_upload(upload_id)}/{number:05}"


def receipt_of(stored: Stored) -> str:
    """Return what tells a part from others that lay under its key."""
    return f"{stored.generation}:{stored.crc32c}"


def components(names: Iterable[str], receipts: Iterable[str], there: Mapping[str, Stored]) -> list[Component] | None:
    """Return the parts that the receipts are of, None where one is missing or another one by now.

    :param names: of the parts, whole ones, in their order.
    :param there: what lies below the upload's folder, by name.
    """
    found = [Component(name, there[name]) for name in names if name in there]
    is_complete = [receipt_of(each.stored) for each in found] == list(receipts)
    return found if found and is_complete else None


def compose(requests: Requests, bucket: str, parts: Sequence[Component], folder: str, name: str) -> Stored:
    """Write an object of its parts, inside Google; where they are many, by way of others in ``folder``.

    :raises Broken: another content was stored; it was taken away again.
    """
    sources = [(part.name, part.stored.generation) for part in parts]
    while len(sources) > _COMPOSED_TOGETHER:
        some, sources = sources[:_COMPOSED_TOGETHER], sources[_COMPOSED_TOGETHER:]
        # Under a name of its own, so that a request that is repeated finds the sources of the first.
        made = f"{folder}/but-{len(sources):05}"
        sources.insert(0, (made, requests.compose(bucket, some, made).generation))
    stored, expected = requests.compose(bucket, sources, name), reduce(_joined, (part.stored for part in parts))
    is_same = stored.crc32c == expected.crc32c or not (stored.crc32c and expected.crc32c)
    if stored.size_bytes != expected.size_bytes or not is_same:
        requests.take_away(bucket, name, stored)
        raise Broken("what was composed does not fit the checksums of its parts")
    return stored


def _joined(first: Stored, second: Stored) -> Stored:
    is_known = first.crc32c and second.crc32c
    crc32c = combined(first.crc32c, second.crc32c, second.size_bytes) if is_known else ""
    return Stored("", first.size_bytes + second.size_bytes, crc32c)
