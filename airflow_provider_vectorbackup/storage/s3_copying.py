"""Copies that S3 makes by itself, each with one lean request where it is not too large."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from urllib.parse import quote

from airflow_provider_vectorbackup.storage.s3_requests import Requests

_COPIED = re.compile(
    rb"\s*(?:<\?xml[^>]*>)?\s*<CopyObjectResult[^>]*>.*?<ETag>([^<]+)</ETag>.*?</CopyObjectResult>\s*", re.DOTALL
)
"""An error may come with the status of a success, where S3 began to answer before it knew."""


def copy(requests: Requests, name: str, origin: Mapping[str, str], etag: str) -> str:
    """Copy an object that has this ETag; return the copy's. Raises what the client raises.

    :param origin: its Bucket and Key.
    """
    source = quote(f"{origin['Bucket']}/{origin['Key']}", safe="/~")
    headers = {"x-amz-copy-source": source, "x-amz-copy-source-if-match": etag}
    response = requests.send("CopyObject", name, headers)
    if response is not None and (copied := _COPIED.fullmatch(response.content)):
        return unescape(copied[1].decode())
    answer = requests.by_boto3("copy_object", name, CopySource=dict(origin), CopySourceIfMatch=etag)
    return str(answer["CopyObjectResult"]["ETag"])


def copied_parts(
    requests: Requests,
    name: str,
    upload_id: str,
    origin: Mapping[str, str],
    etag: str,
    *,
    size: int,
    part_bytes: int,
) -> Iterator[str]:
    """Copy an object that has this ETag as parts of an upload, and yield theirs. Raises what the client raises."""
    for number, start in enumerate(range(0, size, part_bytes), 1):
        answer = requests.client.upload_part_copy(
            Bucket=requests.bucket,
            Key=name,
            CopySource=dict(origin),
            CopySourceIfMatch=etag,
            CopySourceRange=f"bytes={start}-{min(start + part_bytes, size) - 1}",
            UploadId=upload_id,
            PartNumber=number,
        )
        yield str(answer["CopyPartResult"]["ETag"])
