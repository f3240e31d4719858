"""Requests to S3 that move bytes or list names, at about half of what each costs boto3, or less.

boto3 makes the first one. What it sent shows where the bucket is and how to sign, and further ones are made after it,
with botocore's signer, the client's own connections, and credentials that renew themselves. Whatever is not a plain
success is asked again by boto3, which knows of repeats, redirects and refusals: only its errors come out.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

if TYPE_CHECKING:
    from airflow_provider_vectorbackup.storage.s3_small import SmallObjects

Content = bytes | bytearray | memoryview

_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]*/\d{8}/(?P<region>[^/,]+)/s3/aws4_request,")
"""All that is followed: not anonymous requests, older signatures, nor directory buckets, which have their own."""

_GOOD = frozenset({200, 206})
_READING = frozenset({"GetObject", "ListObjectsV2"})


@dataclass(frozen=True, slots=True)
class Model:
    """How boto3 reached the bucket.

    :param bucket_url: what stands before an object's name.
    :param signs_content: whether the connection wants it; None if it does not say.
    """

    bucket_url: str
    region: str
    user_agent: str
    signs_content: bool | None

    @classmethod
    def of(cls, url: str, headers: Mapping[str, Any], name: str, settings: Config) -> Self | None:
        """Return what a request shows; None where it is made as it is not made here.

        :param name: of the object; empty if it was for the bucket.
        """
        plain, _, _ = url.partition("?")
        bucket_url = plain.removesuffix(quote(name)) if name else f"{plain.rstrip('/')}/"
        signed = _SIGNED.match(_text(headers.get("Authorization")))
        if not signed or (name and bucket_url == plain):
            return None
        signs_content = (settings.s3 or {}).get("payload_signing_enabled")
        return cls(bucket_url, signed["region"], _text(headers.get("User-Agent")), signs_content)

    def request(
        self, operation: str, name: str, query: Mapping[str, str], headers: Mapping[str, str], content: Content
    ) -> AWSRequest:
        """Return another request, not signed yet.

        :param name: of the object; empty if it is for the bucket.
        """
        method = "GET" if operation in _READING else "PUT"
        url = f"{self.bucket_url}{quote(name)}{'?' if query else ''}{urlencode(query, quote_via=quote)}"
        request = AWSRequest(method, url, {"User-Agent": self.user_agent, **headers}, content)
        request.context["client_config"] = _SIGNING if self.signs_content else _NOT_SIGNING
        request.stream_output = operation == "GetObject"
        return request


_SIGNING, _NOT_SIGNING = (Config(s3={"payload_signing_enabled": signs}) for signs in (True, False))
"""All that the signer looks at."""


class Requests:
    """Makes them for one bucket. Several threads may use it at once.

    Everything raises what the client raises.

    :param model: how, None as long as only boto3 can tell.
    """

    def __init__(self, client: Any, credentials: Any, bucket: str) -> None:
        self.client = client
        self.bucket = bucket
        self.model: Model | None = None
        self._credentials = credentials
        self._last = threading.local()
        self._small: SmallObjects | None = None
        client.meta.events.register("before-send.s3", self._remember)

    @property
    def small(self) -> SmallObjects:
        """The other way to small objects; its library is loaded by the first of them."""
        from airflow_provider_vectorbackup.storage.s3_small import SmallObjects

        if self._small is None:
            self._small = SmallObjects(self.client, self._credentials, self._remember)
        return self._small

    def send(
        self,
        operation: str,
        name: str,
        headers: Mapping[str, str],
        content: Content = b"",
        query: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """Return the answer, None if boto3 has to ask.

        :param name: of the object; empty if it is for the bucket.
        """
        if (model := self.model) is None:
            return None
        request = model.request(operation, name, query, headers, content)
        try:
            S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", model.region).add_auth(request)
            response = self._answer(operation, request.prepare())
        except BotoCoreError:
            return None
        if response.status_code in _GOOD:
            return response
        response.raw.close()
        return None

    def by_boto3(self, operation: str, name: str, **parameters: Any) -> Any:
        """Have boto3 ask, and learn from it."""
        answer = getattr(self.client, operation)(Bucket=self.bucket, Key=name, **parameters)
        return self.learned(answer, name)

    def learned(self, answer: Any, name: str = "") -> Any:
        """Return an answer that boto3 got in this thread just now, after a look at how it asked.

        :param name: of the object; empty if it asked for the bucket.
        """
        # After a redirect, this was the request that was answered.
        url, headers = self._last.sent
        self.model = Model.of(url, headers, name, self.client.meta.config) if self._credentials else None
        return answer

    def _answer(self, operation: str, request: AWSPreparedRequest) -> Any:
        """Have the client send it: through its hooks, with its certificates, proxies and time-outs."""
        _, answer = self.client.meta.events.emit_until_response(f"before-send.s3.{operation}", request=request)
        return answer or self.client._endpoint.http_session.send(request)  # noqa: SLF001

    def _remember(self, request: AWSPreparedRequest, **_: object) -> None:
        self._last.sent = request.url, request.headers


def md5(content: Content) -> str:
    """Return what Content-MD5 says of it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _text(header: str | bytes | None) -> str:
    return header.decode() if isinstance(header, bytes) else header or ""
