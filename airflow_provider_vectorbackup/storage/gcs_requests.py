"""Requests to Google that its library does not make as we need them: streamed, in parts, in batches.

They go through the library's own session, which adds the credentials and renews them. What they raise is in FAILURES.
"""

from __future__ import annotations

import http.client
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests
import urllib3
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.structures import CaseInsensitiveDict

from airflow_provider_vectorbackup.storage.gcs_answers import Broken, Stored, deletions_in, end_of, stored_in
from airflow_provider_vectorbackup.storage.gcs_checksums import Checksum
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

_LONG = (CONNECT_TIMEOUT_SECONDS, 120)
"""Google copies for a while before it answers with how far it came."""

_RESUMPTIONS = 2
"""Of a download, without a piece in between."""

_TRANSMISSIONS = 3

_KEPT = re.compile(r"bytes=0-(\d+)")
_CRC32C = re.compile(r"crc32c=([^,\s]+)")
_BOUNDARY = "a-deletion"
_NOT_ANSWERED = exceptions.ServiceUnavailable("nothing was answered")
_PASSING = (exceptions.ServerError, exceptions.TooManyRequests)


class _Body:
    """What is sent piece by piece, its size known before: once, for nothing of it is kept.

    In an envelope, of which the last line is sent only once the pieces have ended well: without it, nothing is stored.
    """

    def __init__(self, pieces: Iterable[bytes], size_bytes: int) -> None:
        self.checksum = Checksum()
        self._pieces: Iterator[bytes] | None = iter(pieces)
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/related; boundary={boundary}"
        self._head = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._size_bytes = len(self._head) + size_bytes + len(self._tail)

    def __len__(self) -> int:
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, None
        if pieces is None:
            # The library asks again once it has renewed the token, after a 401.
            raise Broken("Google refused the token, and what was sent is gone; it has a new one now")
        return self._sent(pieces)

    def _sent(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield self._head
        for piece in pieces:
            for start in range(0, len(piece), PIECE_BYTES):  # the time-out is for each that is sent
                sent = piece[start : start + PIECE_BYTES]
                self.checksum.update(sent)
                yield sent
        yield self._tail


class Requests:
    """Makes them for one client. Several threads may use it at once."""

    def __init__(self, client: Client) -> None:
        self._session: Any = client._http  # noqa: SLF001
        self._url: str = client._connection.get_api_base_url_for_mtls()  # noqa: SLF001
        # Proxies and CA bundle, once: the session would go through the whole environment twice a request.
        settings = self._session.merge_environment_settings(self._url, {}, None, None, None)
        self._session.proxies, self._session.verify = settings["proxies"], settings["verify"]
        self._session.trust_env = False

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
                end = end_of(response, position, end)
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

    def insert(self, bucket: str, name: str, content: bytes | bytearray, *, replace: bool = True) -> Stored:
        """Write an object in one request.

        :raises google.api_core.exceptions.PreconditionFailed: there is one, and it is not to be replaced.
        """
        checksum = Checksum()
        checksum.update(content)
        only_new = "" if replace else "&ifGenerationMatch=0"
        url = f"{self._url}/upload/storage/v1/b/{_quoted(bucket)}/o?uploadType=media&name={_quoted(name)}{only_new}"
        headers = {"Content-Type": "application/octet-stream", **checksum.header}
        # Of an empty bytearray, requests takes the length for unknown.
        answer = self._transmit("POST", url, headers=headers, data=content or b"", is_prepared=True)
        return self._require_same(bucket, name, answer, checksum)

    def send(self, bucket: str, name: str, pieces: Iterable[bytes], size_bytes: int) -> Stored:
        """Write an object in one request, from pieces that are not kept: a request that failed is not repeated.

        Google compares nothing before it stores the object, for the checksum is known only behind the last piece.
        """
        body = _Body(pieces, size_bytes)
        answer = self._send_once(
            "POST",
            f"{self._url}/upload/storage/v1/b/{_quoted(bucket)}/o",
            params={"uploadType": "multipart", "name": name},
            headers={"Content-Type": body.content_type},
            data=body,
        )
        return self._require_same(bucket, name, answer, body.checksum)

    def upload(self, bucket: str, name: str, parts: Iterable[bytearray], size_bytes: int) -> Stored:
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
            if not (ended and (found := self._found(bucket, name, checksum))):
                raise
            return found
        return self._require_same(bucket, name, answer, checksum)

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

    def rewrite(
        self, bucket: str, name: str, target_bucket: str, target_name: str, generation: str | None = None
    ) -> Stored:
        """Copy an object inside Google, with its metadata.

        :raises google.api_core.exceptions.PreconditionFailed: it has another generation; or NotFound, for which a
            bucket without versions has none of that generation.
        """
        target = self._object_url(target_bucket, target_name).removeprefix(f"{self._url}/storage/v1")
        # Both: stand-ins of Google look at the first only; where there are versions, it may be of an old one.
        params = {"sourceGeneration": generation, "ifSourceGenerationMatch": generation} if generation else {}
        while True:
            # Without a body: one would replace the metadata.
            answer = self._send(
                "POST", f"{self._object_url(bucket, name)}/rewriteTo{target}", params=params, data=b"", timeout=_LONG
            ).json()
            if answer.get("done") is True:
                return stored_in(answer.get("resource") or {})
            if not (token := answer.get("rewriteToken")):
                raise Broken("the copy neither ended nor goes on")
            params["rewriteToken"] = token

    def compose(self, bucket: str, sources: Sequence[tuple[str, str]], name: str) -> Stored:
        """Write an object of up to 32 others, one behind the other, inside Google.

        :param sources: their names and generations.
        :raises google.api_core.exceptions.PreconditionFailed: one has another generation; or NotFound.
        """
        which = [
            {"name": source, "generation": each, "objectPreconditions": {"ifGenerationMatch": each}}
            for source, each in sources
        ]
        made = {"sourceObjects": which, "destination": {"contentType": "application/octet-stream"}}
        answer = self._send("POST", f"{self._object_url(bucket, name)}/compose", json=made, timeout=_LONG)
        return stored_in(answer.json())

    def bucket(self, bucket: str, fields: str) -> dict[str, Any]:
        """Return what Google tells of a bucket."""
        told = self._send("GET", f"{self._url}/storage/v1/b/{_quoted(bucket)}", params={"fields": fields}).json()
        return told if isinstance(told, dict) else {}

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
        outcomes = dict(deletions_in(answer))
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

    def _found(self, bucket: str, name: str, checksum: Checksum) -> Stored | None:
        """Return the object if it is of that content, and Google says so."""
        with suppress(*FAILURES):
            told = self._send("GET", self._object_url(bucket, name), params={"fields": "size,crc32c,generation"})
            found = stored_in(told.json())
            return found if found.is_of(checksum) and found.crc32c == checksum.text else None
        return None

    def _require_same(self, bucket: str, name: str, answer: requests.Response, checksum: Checksum) -> Stored:
        """Raise Broken, and take the object away, if another was stored; Google itself compares before it stores."""
        stored = stored_in(answer.json())
        if not stored.is_of(checksum):
            self.take_away(bucket, name, stored)
            raise Broken("what was stored does not fit its checksum")
        return stored

    def take_away(self, bucket: str, name: str, stored: Stored) -> None:
        """Delete what was stored, and nothing that was written since; as far as that can be done."""
        with suppress(*FAILURES):
            self._send("DELETE", self._object_url(bucket, name), params={"generation": stored.generation})

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
        answer: requests.Response = PATIENCE["retry"](partial(self._send_once, method, url, also=also, **request))()
        return answer

    def _send_once(
        self, method: str, url: str, *, also: int | None = None, is_prepared: bool = False, **request: Any
    ) -> requests.Response:
        response = self._send_prepared(method, url, **request) if is_prepared else None
        if response is None or response.status_code == HTTPStatus.UNAUTHORIZED:  # the session gets a new token
            given = {"timeout": PATIENCE["timeout"], "allow_redirects": False, **request}
            response = self._session.request(method, url, **given)
        if response.status_code < HTTPStatus.MULTIPLE_CHOICES or response.status_code == also:
            return response
        raise exceptions.from_http_response(response)

    def _send_prepared(
        self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | bytearray
    ) -> requests.Response:
        """Send a request as it is, by the session's connections: to prepare it costs more than to send it.

        :param url: quoted, with its query.
        """
        session, timeout = self._session, PATIENCE["timeout"]
        request: Any = requests.PreparedRequest()
        request.method, request.url, request.body = method, url, data
        request.headers = CaseInsensitiveDict({**session.headers, **headers, "Content-Length": str(len(data))})
        renew = partial(session._auth_request, timeout=timeout)  # noqa: SLF001
        session.credentials.before_request(renew, method, url, request.headers)
        how = {"timeout": timeout, "verify": session.verify, "cert": session.cert, "proxies": session.proxies}
        response: requests.Response = session.get_adapter(url).send(request, **how)
        response.content  # noqa: B018 - reading it frees the connection
        return response


def _quoted(name: str) -> str:
    return quote(name, safe="")
