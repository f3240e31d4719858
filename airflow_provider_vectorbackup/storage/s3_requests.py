"""Requests to S3 that move bytes, at about half of what each costs boto3: most of the work on a small object is that.

boto3 makes the first one. What it sent shows where the bucket is and how to sign, and further ones are made after it,
with botocore's signer, the client's own connections, and credentials that renew themselves. Whatever is not a plain
success is asked again by boto3, which knows of repeats, redirects and refusals: only its errors come out.

What is written goes with its MD5, which every server compares, and buckets with Object Lock insist on. It is signed, so
the content need not be.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import quote, urlencode

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.httpchecksum import Crc32Checksum, Sha256Checksum, StreamingChecksumBody
from botocore.response import StreamingBody

_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]*/\d{8}/(?P<region>[^/,]+)/s3/aws4_request,")
"""All that is followed: not anonymous requests, older signatures, nor directory buckets, which have their own."""

_GOOD = frozenset({200, 206})

_CHECKSUMS = {"x-amz-checksum-crc32": Crc32Checksum, "x-amz-checksum-sha256": Sha256Checksum}
"""Those that need no further library, and that boto3 compares too."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An object's content on its way; close the body.

    :param headers: read by names in lower case.
    """

    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class _Model:
    """How boto3 asked for an object of the bucket.

    :param bucket_url: what stands before an object's name.
    :param settings: what the signer looks at.
    """

    bucket_url: str
    region: str
    user_agent: str
    settings: Config

    @classmethod
    def of(cls, url: str, headers: Mapping[str, Any], name: str, settings: Config) -> Self | None:
        """Return what a request for that object shows; None where it is made as it is not made here."""
        plain, _, _ = url.partition("?")
        bucket_url = plain.removesuffix(quote(name))
        signed = _SIGNED.match(_text(headers.get("Authorization")))
        if not signed or bucket_url == plain:
            return None
        signs_content = (settings.s3 or {}).get("payload_signing_enabled", False)
        settings = Config(s3={"payload_signing_enabled": signs_content})
        return cls(bucket_url, signed["region"], _text(headers.get("User-Agent")), settings)

    def request(
        self, method: str, name: str, query: Mapping[str, str], headers: Mapping[str, str], content: bytes | bytearray
    ) -> AWSRequest:
        """Return another request, not signed yet."""
        url = f"{self.bucket_url}{quote(name)}{'?' if query else ''}{urlencode(query, quote_via=quote)}"
        request = AWSRequest(method, url, {"User-Agent": self.user_agent, **headers}, content)
        request.context["client_config"] = self.settings
        request.stream_output = method == "GET"
        return request


class Requests:
    """Makes them for one bucket. Several threads may use it at once.

    Everything raises what the client raises.
    """

    def __init__(self, client: Any, credentials: Any, bucket: str) -> None:
        self._client = client
        self._credentials = credentials
        self._bucket = bucket
        self._model: _Model | None = None
        self._last = threading.local()
        client.meta.events.register("before-send.s3", self._remember)

    def get(self, name: str, conditions: Mapping[str, str]) -> Answer:
        """Begin to read an object.

        :param conditions: the headers Range and If-Match.
        """
        whole = {} if "Range" in conditions else {"x-amz-checksum-mode": "ENABLED"}
        if (response := self._send("GetObject", name, {**conditions, **whole})) is not None:
            return Answer(response.headers, _body(response, compares=bool(whole)))
        parameters = {header.replace("-", ""): value for header, value in conditions.items()}
        answer = self._by_boto3("get_object", name, **parameters)
        return Answer(answer["ResponseMetadata"]["HTTPHeaders"], answer["Body"])

    def put(self, name: str, content: bytes | bytearray) -> None:
        """Write an object."""
        digest = md5(content)
        if self._send("PutObject", name, {"Content-MD5": digest}, content) is None:
            self._by_boto3("put_object", name, Body=content, ContentMD5=digest)

    def put_part(self, name: str, upload_id: str, number: int, content: bytes | bytearray) -> str:
        """Upload a part; return its ETag."""
        digest, query = md5(content), {"partNumber": str(number), "uploadId": upload_id}
        response = self._send("UploadPart", name, {"Content-MD5": digest}, content, query)
        if response is not None and (etag := response.headers.get("etag")):
            return str(etag)
        answer = self._by_boto3(
            "upload_part", name, UploadId=upload_id, PartNumber=number, Body=content, ContentMD5=digest
        )
        return str(answer["ETag"])

    def _send(
        self,
        operation: str,
        name: str,
        headers: Mapping[str, str],
        content: bytes | bytearray = b"",
        query: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """Return the answer, None if boto3 has to ask."""
        model = self._model
        if model is None:
            return None
        request = model.request("GET" if operation == "GetObject" else "PUT", name, query, headers, content)
        try:
            S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", model.region).add_auth(request)
            response = self._answer(operation, request.prepare())
        except BotoCoreError:
            return None
        if response.status_code in _GOOD:
            return response
        response.raw.close()
        return None

    def _answer(self, operation: str, request: AWSPreparedRequest) -> Any:
        """Have the client send it: through its hooks, with its certificates, proxies and time-outs."""
        _, answer = self._client.meta.events.emit_until_response(f"before-send.s3.{operation}", request=request)
        return answer or self._client._endpoint.http_session.send(request)  # noqa: SLF001

    def _by_boto3(self, operation: str, name: str, **parameters: Any) -> Any:
        answer = getattr(self._client, operation)(Bucket=self._bucket, Key=name, **parameters)
        # After a redirect, this was the request that was answered.
        url, headers = self._last.sent
        self._model = _Model.of(url, headers, name, self._client.meta.config) if self._credentials else None
        return answer

    def _remember(self, request: AWSPreparedRequest, **_: object) -> None:
        self._last.sent = request.url, request.headers


def md5(content: bytes | bytearray) -> str:
    """Return what Content-MD5 says of it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _body(response: Any, *, compares: bool) -> Any:
    """Return the content of an answer; where it has all been read, its length is compared, and its checksum if told."""
    length = response.headers.get("content-length")
    for header, checksum in _CHECKSUMS.items() if compares else ():
        told = response.headers.get(header, "-")
        if "-" not in told:  # a checksum of the parts' checksums has one
            return StreamingChecksumBody(response.raw, length, checksum(), told)
    return StreamingBody(response.raw, length)


def _text(header: str | bytes | None) -> str:
    return header.decode() if isinstance(header, bytes) else header or ""
