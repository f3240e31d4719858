"""What an Airflow connection says of a server: read once, here, into values that know nothing of Airflow."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_vectorbackup.backups.locations import BACKENDS, Location, require_backend, require_location_of
from airflow_provider_vectorbackup.exceptions import InvalidConnection, InvalidRequest
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint, Timeouts

_HOST = re.compile(r"(?:(https?)://)?([^/:@?#\s]+|\[[0-9a-fA-F:]+\])(?::(\d+))?(/[^?#\s]*)?")
"""Scheme, host, port and path, all but the host optional."""

_TOKENS = ("api_key", "token", "access_token")
"""Where the type ``weaviate`` may have it, in the order in which Airflow's own hook looks."""


class ConnectionFields(Protocol):
    """The fields of an Airflow connection that are read here."""

    host: str | None
    port: int | None
    login: str | None
    password: str | None

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """The connection's extra, decoded."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """A connection, read: the server, and the defaults for backups on it.

    :param locations: backend -> the location of its backups, as a worker reaches it.
    """

    endpoint: Endpoint
    default_backend: str | None = None
    locations: Mapping[str, str] = field(default_factory=dict)


def read_settings(conn_id: str, connection: ConnectionFields) -> ConnectionSettings:
    """Read a connection of type ``weaviate`` (Airflow's own) or ``weaviate_backup`` (this package's).

    :raises InvalidConnection: a field is missing, contradicts another, or can't be used here.
    """
    try:
        extra = _extra(connection)
        endpoint = Endpoint(
            _base_url(connection, extra), _headers(connection, extra), verify=_verify(extra), timeouts=_timeouts(extra)
        )
        return ConnectionSettings(endpoint, _default_backend(extra), _locations(extra))
    except InvalidRequest as error:
        raise InvalidConnection(f"Connection {conn_id!r}: {error.message}", hint=error.hint) from error


@contextmanager
def _field(name: str) -> Iterator[None]:
    """Let errors from in there name the field."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidConnection(f"{name}: {error.message}", hint=error.hint) from error


def _extra(connection: ConnectionFields) -> Mapping[str, Any]:
    extra: object = connection.extra_dejson
    if not isinstance(extra, dict):
        raise InvalidConnection("extra is not a JSON object.", hint='Write it like {"http_secure": true}.')
    return extra


def _base_url(connection: ConnectionFields, extra: Mapping[str, Any]) -> str:
    if "@" in (connection.host or ""):
        # Not shown: before the @ stands a password.
        raise InvalidConnection("the host holds credentials.", hint="Write the host alone, and an API key into token.")
    found = _HOST.fullmatch(connection.host or "")
    if not found:
        raise InvalidConnection(
            f"the host {connection.host!r} is not a host name.", hint="Write it like weaviate.example.com."
        )
    scheme, host, port, path = found.groups()
    secure = scheme == "https" if scheme else _flag(extra, "http_secure", default=False)
    return (
        f"{'https' if secure else 'http'}://{host}:{connection.port or port or (443 if secure else 80)}"
        f"{(path or '').rstrip('/')}"
    )


def _headers(connection: ConnectionFields, extra: Mapping[str, Any]) -> dict[str, str]:
    given = _object(extra, "additional_headers")
    headers = {_sendable("additional_headers", n): _sendable("additional_headers", v) for n, v in given.items()}
    if token := next((name for name in _TOKENS if extra.get(name)), None):
        others = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        return others | {"Authorization": f"Bearer {_sendable(token, extra[token])}"}
    if "authorization" in {name.lower() for name in headers}:
        return headers
    if extra.get("client_secret") or (connection.login and connection.password):
        raise InvalidConnection(
            "a login or client secret for OIDC is given, which this package can't exchange for a token.",
            hint="Give an API key or a bearer token (token).",
        )
    return headers


def _sendable(field: str, value: object) -> str:
    """Return a text for a header; a pasted line break would make the libraries show the secret in their errors."""
    text = str(value)
    if not text or text != text.strip() or not (text.isascii() and text.isprintable()):
        raise InvalidConnection(
            f"{field} holds a line break, blanks around it, or another character that no HTTP header can carry.",
            hint="Enter it again.",
        )
    return text


def _verify(extra: Mapping[str, Any]) -> bool | str:
    """Return how certificates are verified.

    The environment's CA bundle, which requests honours by itself, then holds for triggers too.
    """
    if not _flag(extra, "verify_tls", default=True):
        return False
    return _text(extra, "ca_file") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def _timeouts(extra: Mapping[str, Any]) -> Timeouts:
    usual = Timeouts()
    return Timeouts(
        connect=_seconds(extra, "connect_timeout", usual.connect),
        read=_seconds(extra, "read_timeout", usual.read),
        total=_seconds(extra, "total_timeout", usual.total),
    )


def _locations(extra: Mapping[str, Any]) -> dict[str, str]:
    locations = {}
    for backend in BACKENDS:
        name = f"{backend}_location"
        if uri := _text(extra, name):
            with _field(name):
                locations[backend] = str(require_location_of(backend, Location.parse(uri)))
    return locations


def _default_backend(extra: Mapping[str, Any]) -> str | None:
    name = _text(extra, "default_backend")
    with _field("default_backend"):
        return require_backend(name) if name else None


def _text(extra: Mapping[str, Any], name: str) -> str | None:
    value = extra.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidConnection(f"{name} is not a text.", hint="Put it in quotes.")
    return value


def _seconds(extra: Mapping[str, Any], name: str, default: float) -> float:
    value = extra.get(name)
    if value in (None, ""):
        return default
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not (seconds > 0 and math.isfinite(seconds)):
        raise InvalidConnection(f"{name} is {value!r}.", hint="Give a number of seconds above 0.")
    return seconds


def _flag(extra: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Return a flag; a connection made by environment variable or URI has it as text."""
    value = extra.get(name)
    if value is None or value == "":
        return default
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false", "1", "0"):
        return str(value).lower() in ("true", "1")
    raise InvalidConnection(f"{name} is {value!r}.", hint="Give true or false.")


def _object(extra: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = extra.get(name) or {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise InvalidConnection(f"{name} is not a JSON object.", hint='Write it like {"X-Name": "value"}.')
    return value
