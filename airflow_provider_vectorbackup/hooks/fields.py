"""The fields of an Airflow connection, read by name, with errors that name them and show no secret."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from airflow_provider_vectorbackup.exceptions import InvalidConnection


class ConnectionFields(Protocol):
    """The fields of an Airflow connection that are read here."""

    conn_id: str
    conn_type: str | None
    host: str | None
    login: str | None
    password: str | None
    extra: str | None

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """The connection's extra, decoded; reading it masks its secrets in logs."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a connection holds; blank fields, as forms save them, count as not given.

    :param extra: under plain names, without the prefix ``extra__<type>__`` of old forms.
    :param conn_id: None where there is no connection.
    """

    host: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    conn_id: str | None = None
    conn_type: str | None = None

    @classmethod
    def of(cls, connection: ConnectionFields) -> Self:
        """Read a connection.

        :raises InvalidConnection: its extra is no JSON object, which Airflow takes for an empty one.
        """
        prefix = f"extra__{connection.conn_type}__"
        given = {name: value for name, value in _decoded(connection).items() if value not in (None, "", {}, [])}
        return cls(
            connection.host or None,
            _clean("login", connection.login or None),
            _clean("password", connection.password or None),
            {name.removeprefix(prefix): value for name, value in given.items()},
            connection.conn_id,
            connection.conn_type,
        )

    def text(self, name: str) -> str | None:
        """Return a text of extra.

        :raises InvalidConnection: it is something else, or holds characters that no header or URL can carry.
        """
        value = self.extra.get(name)
        if value is not None and not isinstance(value, str):
            raise InvalidConnection(f"{name} is not a text.", hint="Put it in quotes.")
        return _clean(name, value)

    def flag(self, name: str) -> bool:
        """Return a flag of extra, False where there is none; a connection made by URI has it as text."""
        value = self.extra.get(name, False)
        flag = as_flag(value)
        if flag is None:
            raise InvalidConnection(f"{name} is {value!r}.", hint="Give true or false.")
        return flag

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a JSON object of extra, empty where there is none; forms and URIs have it as text."""
        value = self.extra.get(name, {})
        if isinstance(value, str):
            value = _json(value)
        if not isinstance(value, dict):
            raise InvalidConnection(f"{name} is not a JSON object.", hint='Write it like {"name": "value"}.')
        return value

    def nested(self, name: str) -> Fields:
        """Return a JSON object of extra as fields of their own."""
        return Fields(extra=self.mapping(name))

    def refuse(self, names: Iterable[str], hint: str) -> None:
        """Refuse a connection that has one of these fields, which would be needed and can't be used here."""
        if needed := [name for name in names if name in self.extra]:
            raise InvalidConnection(f"{', '.join(needed)} can't be used by this package.", hint=hint)


def as_flag(value: object) -> bool | None:
    """Return what a value says as a flag, None if it is none."""
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())


def _clean(name: str, value: str | None) -> str | None:
    """Return a text; a pasted line break would make the libraries show the secret in their errors."""
    if value is not None and (value != value.strip() or not value.isprintable()):
        raise InvalidConnection(f"{name} holds a line break, or blanks around it.", hint="Enter it again.")
    return value


def _decoded(connection: ConnectionFields) -> dict[str, Any]:
    if connection.extra and not isinstance(_json(connection.extra), dict):
        raise InvalidConnection("extra is not a JSON object.", hint='Write it like {"name": "value"}.')
    return connection.extra_dejson


def _json(text: str) -> object:
    """Decode JSON; None for what is none, without an error that holds the text."""
    try:
        decoded: object = json.loads(text)
    except ValueError:
        return None
    return decoded
