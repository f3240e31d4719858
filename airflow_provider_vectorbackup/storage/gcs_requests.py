"""Requests to Google that its library does not make as we need them: streamed, in parts, in batches.

They go through the library's own session, which adds the credentials and renews them. What they raise is in FAILURES.
"""

from __future__ import annotations

import base64
import email
import http.client
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import google_crc32c
import requests
import urllib3
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY

from airflow_provider_vectorbackup.storage.store import (
    CONNECT_TIMEOUT_SECONDS,
    PIECE_BYTES,
    READ_TIMEOUT_SECONDS,
)

PATIENCE: dict[str, Any] = {
    "timeout": (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
    "retry": DEFAULT_RETRY.with_delay(initial=1.0, maximum=4.0).with_timeout(5.0),
}
"""For each request. The time-out of the repeats is for when they begin."""

FAILURES = (
    exceptions.GoogleAPIError,
    GoogleAuthError,
    OSError,  # those of requests too
    http.client.HTTPException,
    urllib3.exceptions.HTTPError,
)
"""What is raised: much of it is of the libraries below."""

BATCH = 100
"""The most that Google takes in one request."""

_REWRITE_TIMEOUT_SECONDS = 120
"""Google copies for a while before it answers with how far it came."""

_RESUMPTIONS = 2
"""Of a download, without a piece in between."""

_TRANSMISSIONS = 3

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/\d+")
_KEPT = re.compile(r"bytes=0-(\d+)")
_CRC32C = re.compile(r"crc32c=([^,\s]+)")
_ANSWERED = re.compile(r"response-(\d+)>")
_BOUNDARY = "a-deletion"
_NOT_ANSWERED = exceptions.ServiceUnavailable("nothing was answered")
_PASSING = (exceptions.ServerError, exceptions.TooManyRequests)


class Broken(requests.ConnectionError):
    """An answer that is not what was asked for: cut short, of other bytes, or damaged on the way."""


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


class Requests:
    """Makes them for one client. Several threads may use it at once."""

    def __init__(self, client: Client) -> None:
        self._session: requests.Session = client._http  # noqa: SLF001
        self._url: str = client._connection.get_api_base_url_for_mtls()  # noqa: SLF001

    def download(
        self, bucket: str, name: str, start: int = 0, end: int | None = None, generation: str | None = None
    ) -> Iterator[bytes]:
        """Yield an object's bytes as they lie there: not decompressed. What is cut is taken up again where it ended.

        :raises google.api_core.exceptions.PreconditionFailed: it has another generation, now or later on.
        """
        checksum, expected, position, resumptions = Checksum(), None, start, 0
        while True:
            with self._opened(bucket, name, position, end, generation) as response:
                if start == 0 and end is None:
                    expected = _CRC32C.search(response.headers.get("X-Goog-Hash", ""))
                generation = response.headers.get("X-Goog-Generation", generation)
                if position == end:
                    return
                end = _end(response, position, end)
                try:
                    for piece in response.raw.stream(PIECE_BYTES, decode_content=False):
                        checksum.update(piece)
                        position, resumptions = position + len(piece), 0
                        yield piece
                    if position != end:
                        raise Broken(f"there are {position} bytes, not {end}")
                except urllib3.exceptions.HTTPError:
                    if resumptions == _RESUMPTIONS:
                        raise
                    resumptions += 1
                    continue
            if not checksum.fits(expected and expected[1]):
                raise Broken("the bytes do not fit their checksum")
            return

    def insert(self, bucket: str, name: str, content: bytes | bytearray, *, replace: bool = True) -> None:
        """Write an object in one request.

        :raises google.api_core.exceptions.PreconditionFailed: there is one, and it is not to be replaced.
        """
        checksum = Checksum()
        checksum.update(content)
        answer = self._transmit(
            "POST",
            f"{self._url}/upload/storage/v1/b/{_quoted(bucket)}/o",
            params={"uploadType": "media", "name": name} | ({} if replace else {"ifGenerationMatch": "0"}),
            headers={"Content-Type": "application/octet-stream", **checksum.header},
            data=content or b"",  # requests sends an empty bytearray as if its length were not known
        )
        self._require_same(bucket, name, answer, checksum)

    def upload(self, bucket: str, name: str, parts: Iterable[bytearray], size_bytes: int) -> None:
        """Write an object from parts, all but the last multiples of 256 KiB; nothing of it shows before the last."""
        answer = self._send(
            "POST",
            f"{self._url}/upload/storage/v1/b/{_quoted(bucket)}/o",
            params={"uploadType": "resumable", "name": name},
            headers={"X-Upload-Content-Type": "application/octet-stream", "X-Upload-Content-Length": str(size_bytes)},
            data=b"",
        )
        upload_url, checksum = answer.headers.get("Location"), Checksum()
        if not upload_url:
            raise Broken("no upload was begun")
        try:
            answer = self._put_all(upload_url, parts, size_bytes, checksum)
        except BaseException as error:
            # First, so that what is found then stays as it is.
            self._cancel(upload_url)
            ended = checksum.size_bytes == size_bytes and isinstance(error, FAILURES)
            if not (ended and self._holds(bucket, name, checksum)):
                raise
        else:
            self._require_same(bucket, name, answer, checksum)

    def delete_many(self, bucket: str, names: Collection[str]) -> dict[str, Exception]:
        """Delete up to BATCH objects; return what was wrong, by name: also of those that were not there."""
        failures = {name: failure for name, failure in self._delete_batch(bucket, names) if failure}
        for name in [name for name, failure in failures.items() if isinstance(failure, _PASSING)]:
            try:
                self._send("DELETE", self._object_url(bucket, name))
            except FAILURES as failure:
                failures[name] = failure
            else:
                del failures[name]
        return failures

    def rewrite(self, bucket: str, name: str, target_bucket: str, target_name: str) -> None:
        """Copy an object inside Google, with its metadata."""
        target, done = self._object_url(target_bucket, target_name), False
        params: dict[str, str] = {}
        url = f"{self._object_url(bucket, name)}/rewriteTo{target.removeprefix(f'{self._url}/storage/v1')}"
        while not done:
            # Without a body: one would replace the metadata.
            answer = self._send(
                "POST", url, params=params, data=b"", timeout=(CONNECT_TIMEOUT_SECONDS, _REWRITE_TIMEOUT_SECONDS)
            ).json()
            done, token = answer.get("done") is True, answer.get("rewriteToken")
            if not done and not token:
                raise Broken("the copy neither ended nor goes on")
            params = {"rewriteToken": token}

    def _delete_batch(self, bucket: str, names: Collection[str]) -> list[tuple[str, Exception | None]]:
        calls = "".join(
            f"--{_BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\n"
            f"DELETE {self._object_url(bucket, name).removeprefix(self._url)} HTTP/1.1\r\n\r\n\r\n"
            for number, name in enumerate(names)
        )
        answer = self._send(
            "POST",
            f"{self._url}/batch/storage/v1",
            headers={"Content-Type": f"multipart/mixed; boundary={_BOUNDARY}"},
            data=f"{calls}--{_BOUNDARY}--\r\n".encode(),
        )
        outcomes = dict(_outcomes(answer))
        return [(name, outcomes.get(number, _NOT_ANSWERED)) for number, name in enumerate(names)]

    def _opened(self, bucket: str, name: str, start: int, end: int | None, generation: str | None) -> requests.Response:
        headers = {"Accept-Encoding": "gzip"}  # without it, Google decompresses
        if (start or end is not None) and start != end:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        response = self._send(
            "GET",
            f"{self._url}/download{self._object_url(bucket, name).removeprefix(self._url)}",
            params={"alt": "media"} | ({"ifGenerationMatch": generation} if generation else {}),
            headers=headers,
            stream=True,
        )
        if generation and response.headers.get("X-Goog-Generation", generation) != generation:
            # Stand-ins of Google do not look at the condition.
            response.close()
            raise exceptions.PreconditionFailed("it has another generation")
        return response

    def _put_all(
        self, upload_url: str, parts: Iterable[bytearray], size_bytes: int, checksum: Checksum
    ) -> requests.Response:
        first = 0
        for part in parts:
            checksum.update(part)
            rest, is_last = part, checksum.size_bytes == size_bytes
            while rest:
                content_range = f"bytes {first}-{first + len(rest) - 1}/{size_bytes}"
                headers = {"Content-Range": content_range, **(checksum.header if is_last else {})}
                answer = self._put(upload_url, headers, rest)
                if answer.status_code != HTTPStatus.PERMANENT_REDIRECT:
                    return answer
                kept = _KEPT.fullmatch(answer.headers.get("Range", ""))
                end = int(kept[1]) + 1 if kept else 0
                if not first < end <= first + len(rest):
                    raise Broken(f"the upload goes on at {end}, not after {first}")
                first, rest = end, rest[end - first :]
        raise Broken("the upload did not end")

    def _put(self, upload_url: str, headers: Mapping[str, str], part: bytearray) -> requests.Response:
        try:
            # Sent once more after a lost answer: Google passes over what it has already.
            return self._transmit("PUT", upload_url, headers=headers, data=part, also=HTTPStatus.PERMANENT_REDIRECT)
        except exceptions.GoogleAPICallError as error:
            if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                raise Broken("Google has forgotten the upload; begin it again") from error
            raise

    def _cancel(self, upload_url: str) -> None:
        with suppress(*FAILURES):
            self._session.request(
                "DELETE", upload_url, headers={"Content-Length": "0"}, timeout=PATIENCE["timeout"]
            ).close()

    def _holds(self, bucket: str, name: str, checksum: Checksum) -> bool:
        with suppress(*FAILURES):
            found = self._send("GET", self._object_url(bucket, name), params={"fields": "size,crc32c"}).json()
            return _same(found, checksum) and found.get("crc32c") == checksum.text
        return False

    def _require_same(self, bucket: str, name: str, answer: requests.Response, checksum: Checksum) -> None:
        """Raise Broken, and take the object away, if another was stored; Google itself compares before it stores."""
        stored = answer.json()
        if not _same(stored, checksum):
            if generation := stored.get("generation"):
                with suppress(*FAILURES):
                    self._send("DELETE", self._object_url(bucket, name), params={"generation": generation})
            raise Broken("what was stored does not fit its checksum")

    def _object_url(self, bucket: str, name: str) -> str:
        return f"{self._url}/storage/v1/b/{_quoted(bucket)}/o/{_quoted(name)}"

    def _transmit(self, method: str, url: str, **request: Any) -> requests.Response:
        """Send what may take longer than the patience with its repeats, counted from its beginning, lasts."""
        for _ in range(_TRANSMISSIONS - 1):
            with suppress(exceptions.RetryError):
                return self._send(method, url, **request)
        return self._send(method, url, **request)

    def _send(self, method: str, url: str, *, also: int | None = None, **request: Any) -> requests.Response:
        """Send a request, again if it failed in passing; ``also`` is a status that is no failure, beside 2xx."""

        def once() -> requests.Response:
            given = {"timeout": PATIENCE["timeout"], "allow_redirects": False, **request}
            response = self._session.request(method, url, **given)
            if response.status_code < HTTPStatus.MULTIPLE_CHOICES or response.status_code == also:
                return response
            raise exceptions.from_http_response(response)

        answer: requests.Response = PATIENCE["retry"](once)()
        return answer


def _outcomes(answer: requests.Response) -> Iterator[tuple[int, exceptions.GoogleAPICallError | None]]:
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


def _end(response: requests.Response, start: int, end: int | None) -> int:
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


def _same(stored: dict[str, Any], checksum: Checksum) -> bool:
    return stored.get("size") == str(checksum.size_bytes) and checksum.fits(stored.get("crc32c"))


def _quoted(name: str) -> str:
    return quote(name, safe="")
