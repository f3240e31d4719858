"""What an Airflow connection says of a server: read once, here, into values that know nothing of Airflow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_vectorbackup.backups.locations import BACKENDS, Location, require_backend, require_location_of
from airflow_provider_vectorbackup.exceptions import InvalidConnection, InvalidRequest
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint, Timeouts


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
    extra = connection.extra_dejson
    try:
        endpoint = Endpoint(
            _base_url(connection, extra), _headers(connection, extra), verify=_verify(extra), timeouts=_timeouts(extra)
        )
        backend = extra.get("default_backend")
        return ConnectionSettings(endpoint, require_backend(backend) if backend else None, _locations(extra))
    except InvalidRequest as error:
        raise InvalidConnection(f"Connection {conn_id!r}: {error.message}", hint=error.hint) from error


def _base_url(connection: ConnectionFields, extra: Mapping[str, Any]) -> str:
    found = re.fullmatch(r"(?:(https?)://)?([^/:@\s]+|\[[0-9a-fA-F:]+\])(?::(\d+))?(/[^?#\s]*)?", connection.host or "")
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
    headers = {str(name): str(value) for name, value in _object(extra, "additional_headers").items()}
    token = extra.get("api_key") or extra.get("token") or extra.get("access_token")
    if token:
        return headers | {"Authorization": f"Bearer {token}"}
    if "authorization" in {name.lower() for name in headers}:
        return headers
    if extra.get("client_secret") or (connection.login and connection.password):
        raise InvalidConnection(
            "a login or client secret for OIDC is given, which this package can't exchange for a token.",
            hint="Give an API key or a bearer token (token).",
        )
    return headers


def _verify(extra: Mapping[str, Any]) -> bool | str:
    """Return how certificates are verified.

    The environment's CA bundle, which requests honours by itself, then holds for triggers too.
    """
    if not _flag(extra, "verify_tls", default=True):
        return False
    return extra.get("ca_file") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def _timeouts(extra: Mapping[str, Any]) -> Timeouts:
    usual = Timeouts()
    return Timeouts(
        connect=_seconds(extra, "connect_timeout", usual.connect),
        read=_seconds(extra, "read_timeout", usual.read),
        total=_seconds(extra, "total_timeout", usual.total),
    )


def _locations(extra: Mapping[str, Any]) -> dict[str, str]:
    given = {backend: extra.get(f"{backend}_location") for backend in BACKENDS}
    return {b: str(require_location_of(b, Location.parse(uri))) for b, uri in given.items() if uri}


def _seconds(extra: Mapping[str, Any], name: str, default: float) -> float:
    value = extra.get(name)
    if value in (None, ""):
        return default
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
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
