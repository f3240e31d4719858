"""The content of S3's objects: whole or in part, small or not."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from botocore.httpchecksum import Sha256Checksum, StreamingChecksumBody
from botocore.response import StreamingBody
from isal import isal_zlib

from airflow_provider_vectorbackup.storage.s3_requests import Requests

SMALL_BYTES = 2**20
"""Up to this size, an object is no work for Python."""


class Crc32:
    """A CRC-32 as botocore wants checksums, at several times the speed of its own."""

    def __init__(self) -> None:
        self._sum = 0

    def update(self, piece: bytes) -> None:
        """Add to it."""
        self._sum = isal_zlib.crc32(piece, self._sum)

    def digest(self) -> bytes:
        """Return it as S3 encodes it, before base64."""
        return self._sum.to_bytes(4, "big")

    def b64digest(self) -> str:
        """Return it as S3 writes it."""
        return base64.b64encode(self.digest()).decode()


_CHECKSUMS: Mapping[str, Callable[[], Any]] = {"x-amz-checksum-crc32": Crc32, "x-amz-checksum-sha256": Sha256Checksum}
"""Those that need no further library, and that boto3 compares too."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An object's content on its way; close the body.

    :param headers: read by names in lower case.
    :param body: as botocore's StreamingBody.
    """

    headers: Mapping[str, str]
    body: Any


def get(requests: Requests, name: str, conditions: Mapping[str, str]) -> Answer:
    """Begin to read an object.

    :param conditions: the headers Range and If-Match.
    """
    whole = {} if "Range" in conditions else {"x-amz-checksum-mode": "ENABLED"}
    if (response := requests.send("GetObject", name, {**conditions, **whole})) is not None:
        return Answer(response.headers, _body(response, compares=bool(whole)))
    parameters = {header.replace("-", ""): value for header, value in conditions.items()}
    answer = requests.by_boto3("get_object", name, **parameters)
    return Answer(answer["ResponseMetadata"]["HTTPHeaders"], answer["Body"])


def get_small(requests: Requests, name: str, start: int, end: int | None, etag: str | None) -> bytes | None:
    """Return a part of an object, where it is small and this is plainly answered, else None."""
    if end is None or not 0 < end - start <= SMALL_BYTES or (model := requests.model) is None:
        return None
    return requests.small.get(model, name, start, end, etag)


def head(client: Any, target: Mapping[str, str], **conditions: str) -> Any:
    """Return what S3 says of an object; a refusal of HEAD has no words, that of GET has.

    :param target: Bucket and Key.
    """
    try:
        return client.head_object(**target, **conditions)
    except ClientError:
        client.get_object(**target, **conditions, Range="bytes=0-0")["Body"].close()
        raise


def _body(response: Any, *, compares: bool) -> Any:
    """Return the content of an answer; where it has all been read, its length is compared, and its checksum if told."""
    length = response.headers.get("content-length")
    for header, checksum in _CHECKSUMS.items() if compares else ():
        told = response.headers.get(header, "-")
        if "-" not in told:  # a checksum of the parts' checksums has one
            return StreamingChecksumBody(response.raw, length, checksum(), told)
    return StreamingBody(response.raw, length)
