"""The content of S3's objects on its way in: whole or in parts, and how the server is brought to compare it.

Everything goes with its CRC-32, which costs next to nothing. Until the server has shown that it knows what that is, by
repeating it, it goes with its MD5 too: every server compares that, and buckets with Object Lock insist on one of them.
Both are signed, so the content need not be. A small object goes with its SHA-256, as its signature.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from botocore.exceptions import ClientError
from isal import isal_zlib

from airflow_provider_vectorbackup.storage.s3_errors import FAILURES, ContentDiffers, code_of, status_of
from airflow_provider_vectorbackup.storage.s3_reading import SMALL_BYTES
from airflow_provider_vectorbackup.storage.s3_requests import Content, Requests, md5
from airflow_provider_vectorbackup.storage.store import PART_BYTES

_CRC32 = "x-amz-checksum-crc32"
_MD5 = re.compile(r'"([0-9a-f]{32})"')

_NOT_UNDERSTOOD = frozenset({400, 501})
"""What servers answer to headers that they do not take."""


class Buffers:
    """Memory for parts, used again: to ask the system for it anew takes as long as to send what it holds.

    As much is kept as was in use at once.
    """

    def __init__(self) -> None:
        self._free = deque[bytearray]()

    @contextmanager
    def joined(self, pieces: Iterable[bytes], size_bytes: int) -> Iterator[Content]:
        """Yield pieces, of ``size_bytes`` together, as one, to be used inside the ``with`` only."""
        if size_bytes <= SMALL_BYTES:
            yield b"".join(pieces)
            return
        try:
            memory = self._free.pop()
        except IndexError:
            memory = bytearray()
        if len(memory) < size_bytes:
            memory = bytearray(max(size_bytes, PART_BYTES))
        content, end = memoryview(memory)[:size_bytes], 0
        for piece in pieces:
            start, end = end, end + len(piece)
            content[start:end] = piece
        yield content
        # Not after an error, with which something may still hold it.
        self._free.append(memory)


class Writing:
    """Writes objects of one bucket. Several threads may use it at once.

    Everything raises what the client raises, and ContentDiffers.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._repeats_crc32: bool | None = None
        self._etags_are_md5 = True

    def put(self, name: str, content: Content) -> str:
        """Write an object; return its ETag."""
        if (etag := self._put_small(name, content)) or (etag := self._send("PutObject", name, content, {})):
            return etag.partition(" ")[0]
        # It would make a file of bytes, and wait for the server's word before it sends a file.
        answer = self._requests.by_boto3("put_object", name, Body=bytearray(content), ContentMD5=md5(content))
        self._learn(etag := str(answer.get("ETag", "")), content)
        return etag

    def begin(self, name: str, *, checksums: bool = True) -> str:
        """Begin an upload; return its id.

        :param checksums: whether its parts will have them; those that S3 copies have none of ours.
        """
        if not checksums:
            return str(self._requests.by_boto3("create_multipart_upload", name)["UploadId"])
        try:
            answer = self._requests.by_boto3("create_multipart_upload", name, ChecksumAlgorithm="CRC32")
        except ClientError as error:
            if status_of(error) not in _NOT_UNDERSTOOD:
                raise
            answer = self._requests.by_boto3("create_multipart_upload", name)
        if answer.get("ChecksumAlgorithm") == "CRC32":
            self._repeats_crc32 = True
        return str(answer["UploadId"])

    def put_part(self, name: str, upload_id: str, number: int, content: Content) -> str:
        """Upload a part; return its receipt: its ETag and, after a space, its CRC-32 where the server keeps that."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        if receipt := self._send("UploadPart", name, content, query):
            return receipt
        given = {"UploadId": upload_id, "PartNumber": number, "Body": bytearray(content), "ContentMD5": md5(content)}
        try:
            answer = self._requests.by_boto3("upload_part", name, **given, ChecksumCRC32=_crc32(content))
        except ClientError as error:
            if status_of(error) not in _NOT_UNDERSTOOD:
                raise
            answer = self._requests.by_boto3("upload_part", name, **given)
        return f"{answer['ETag']} {answer.get('ChecksumCRC32', '')}".rstrip()

    def complete(self, name: str, upload_id: str, size_bytes: int, receipts: Sequence[str]) -> str:
        """Make an object of all its parts, by their receipts; return its ETag."""
        target, parts = {"Bucket": self._requests.bucket, "Key": name}, [receipt.split() for receipt in receipts]
        named = [
            {"PartNumber": number, "ETag": etag, **({"ChecksumCRC32": crc32[0]} if crc32 else {})}
            for number, (etag, *crc32) in enumerate(parts, 1)
        ]
        made = _etag_of(etag for etag, *_ in parts)
        try:
            answer = self._requests.client.complete_multipart_upload(
                **target, UploadId=upload_id, MultipartUpload={"Parts": named}
            )
        except ClientError as error:
            # Asked again after a lost answer.
            if code_of(error) == "NoSuchUpload" and self._holds(target, made, size_bytes):
                return made
            raise
        return str(answer.get("ETag") or made)

    def _put_small(self, name: str, content: Content) -> str | None:
        """Return the ETag of a small object, None if it was not, or not surely, written as it is."""
        if len(content) > SMALL_BYTES or (model := self._requests.model) is None:
            return None
        etag = self._requests.small.put(model, name, bytes(content))
        return etag if etag and not (self._etags_are_md5 and _is_of_other(etag, content)) else None

    def _send(self, operation: str, name: str, content: Content, query: Mapping[str, str]) -> str | None:
        """Return a receipt, None if boto3 has to ask."""
        if self._requests.model is None:
            return None
        crc32, by_crc32 = _crc32(content), self._repeats_crc32
        headers = {_CRC32: crc32} | ({} if by_crc32 else {"Content-MD5": md5(content)})
        response = self._requests.send(operation, name, headers, content, query)
        told = response.headers if response is not None else {}
        echo, etag = told.get(_CRC32, ""), told.get("etag", "")
        if not by_crc32 or response is not None:
            self._repeats_crc32 = bool(echo)
        if echo and echo != crc32:
            raise ContentDiffers(sent=crc32, stored=echo)
        if not etag or (by_crc32 and not echo):
            return None
        if not query:
            self._learn(etag, content)
        return f"{etag} {echo}".rstrip()

    def _learn(self, etag: str, content: Content) -> None:
        """Remember whether ETags tell of the content, from one that the server compared; encrypted objects' do not."""
        if len(content) <= SMALL_BYTES:
            self._etags_are_md5 = not _is_of_other(etag, content)

    def _holds(self, target: Mapping[str, str], etag: str, size_bytes: int) -> bool:
        with suppress(*FAILURES):
            found = self._requests.client.head_object(**target)
            return bool((found["ETag"], found["ContentLength"]) == (etag, size_bytes))
        return False


def _crc32(content: Content) -> str:
    return base64.b64encode(isal_zlib.crc32(content).to_bytes(4, "big")).decode()


def _is_of_other(etag: str, content: Content) -> bool:
    """Tell whether an ETag looks like an MD5, and not like this content's."""
    told = _MD5.fullmatch(etag)
    return bool(told and told[1] != hashlib.md5(content, usedforsecurity=False).hexdigest())


def _etag_of(etags: Iterable[str]) -> str:
    """Return the ETag of what these parts make, empty where they tell nothing of their content."""
    with suppress(ValueError):
        digests = [bytes.fromhex(etag.strip('"')) for etag in etags]
        return f'"{hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"'
    return ""
