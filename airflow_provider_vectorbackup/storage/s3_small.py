"""Small objects of S3 through obstore, whose Rust does what takes Python most of the time that one costs.

It knows less than botocore does: where settings, hooks or names are not plain, and after failures, it is not used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.request import getproxies

import obstore
from obstore.exceptions import PreconditionError
from obstore.store import S3Store as RustStore

from airflow_provider_vectorbackup.storage.store import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig

    from airflow_provider_vectorbackup.storage.s3_requests import Model

T = TypeVar("T")

_MOST_FAILURES = 3
"""In a row; then there is more to it than a bad moment."""

_PROCESS = os.getpid()
"""Where it was loaded. It has threads, which a forked process has not: it would wait for them for ever."""

_PLAIN_NAME = re.compile(r"(?!/)(?:(?:^|/)(?!\.{1,2}(?:/|$))[A-Za-z0-9._=-]+)+")
"""Names that every library understands alike."""

_STRAY = re.compile(
    r"AWS_(SERVER_SIDE_ENCRYPTION|SSE_|CHECKSUM_|PROXY_|HTTP\d|DEFAULT_(HEADERS|CONTENT)|REQUEST_PAYER|ALLOW_|S3_EXPRESS)"
)
"""Variables that obstore obeys, and botocore does not know."""

_ROUTES = frozenset({"http", "https", "all"})


class SmallObjects:
    """Reads and writes them, as far as it can. Several threads may use it at once.

    :param hook: the client's only hook before requests that need not see ours.
    """

    def __init__(self, client: Any, credentials: Any, hook: Callable[..., None]) -> None:
        self._client = client
        self._credentials = credentials
        self._hook = hook
        self._failures = 0
        self._made: tuple[object, RustStore] | None = None

    def get(self, model: Model, name: str, start: int, end: int, etag: str | None) -> bytes | None:
        """Return that part of an object, None if another way has to be tried.

        :param etag: another content is not returned.
        """
        options: GetOptions = {"range": (start, end)}
        if etag:
            options["if_match"] = etag

        def read(store: RustStore) -> bytes | None:
            answer = obstore.get(store, name, options=options)
            content = answer.bytes().to_bytes()
            is_it = (answer.range == (start, end)) and not (etag and answer.meta["e_tag"] not in {etag, None})
            return content if is_it and len(content) == end - start else None

        return self._tried("GetObject", model, name, read)

    def put(self, model: Model, name: str, content: bytes) -> str | None:
        """Write an object and return its ETag, None if another way has to be tried.

        The server compares the content's SHA-256, which is signed.
        """
        return self._tried(
            "PutObject", model, name, lambda store: obstore.put(store, name, content, use_multipart=False)["e_tag"]
        )

    def _tried(self, operation: str, model: Model, name: str, does: Callable[[RustStore], T | None]) -> T | None:
        if self._failures >= _MOST_FAILURES or os.getpid() != _PROCESS:
            return None
        if not _PLAIN_NAME.fullmatch(name) or self._is_hooked(operation):
            return None
        result = None
        try:
            if (store := self._store(model)) is None:
                self._failures = _MOST_FAILURES
            else:
                result = does(store)
        except (FileNotFoundError, PreconditionError):
            return None  # Nothing is wrong with the way.
        except Exception:  # noqa: BLE001 - whatever it is, there is another way, and that one's errors are told
            result = None
        self._failures = self._failures + 1 if result is None else 0
        return result

    def _is_hooked(self, operation: str) -> bool:
        """Tell whether someone else wants to see requests; there is no public way to ask."""
        try:
            hooks = self._client.meta.events._emitter._handlers.prefix_search(f"before-send.s3.{operation}")  # noqa: SLF001
        except AttributeError:
            return True
        return any(hook != self._hook for hook in hooks)

    def _store(self, model: Model) -> RustStore | None:
        """Return the one for these settings and credentials, None where they can't be told to it."""
        keys = self._credentials.get_frozen_credentials()
        if (made := self._made) and made[0] == (model, keys):
            return made[1]
        options = _options(self._client, model)
        if options is None:
            return None
        given = {"access_key_id": keys.access_key, "secret_access_key": keys.secret_key, "token": keys.token}
        store = RustStore(
            endpoint=model.bucket_url.rstrip("/"),
            # The bucket is in the URL already, whichever way.
            virtual_hosted_style_request=True,
            bucket="-",
            region=model.region,
            skip_signature=False,
            unsigned_payload=False,
            # Not as settings: what these leave out would be taken from the environment.
            credential_provider=lambda: {**given, "expires_at": None},  # type: ignore[arg-type]
            client_options=options,
            retry_config={"max_retries": 0},
        )
        self._made = ((model, keys), store)
        return store


def _options(client: Any, model: Model) -> ClientConfig | None:
    """Return how to connect, None where that can't be told: proxies, and certificates other than the usual."""
    session = client._endpoint.http_session  # noqa: SLF001
    is_tls = model.bucket_url.startswith("https:")
    is_plain = not (is_tls and (isinstance(session._verify, str) or session._cert_file))  # noqa: SLF001
    proxies = session._proxy_config.proxy_url_for(model.bucket_url) or _ROUTES & getproxies().keys()  # noqa: SLF001
    if not is_plain or proxies or any(map(_STRAY.match, os.environ)) or model.signs_content is not None:
        return None
    config = client.meta.config
    connect, read = config.connect_timeout or CONNECT_TIMEOUT_SECONDS, config.read_timeout or READ_TIMEOUT_SECONDS
    return {
        "allow_http": not is_tls,
        "allow_invalid_certificates": session._verify is False,  # noqa: SLF001
        "connect_timeout": timedelta(seconds=connect),
        "read_timeout": timedelta(seconds=read),
        # Of a whole request; none lasts longer than a few of those waits.
        "timeout": timedelta(seconds=connect + 3 * read),
        "user_agent": model.user_agent,
    }
