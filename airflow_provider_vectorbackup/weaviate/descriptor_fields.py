"""The fields of a descriptor, read by name, with errors that say where in it something is not as it must be."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from airflow_provider_vectorbackup.exceptions import BrokenDescriptor

_SLASHES = re.compile(r"[/\\]")


@dataclass(frozen=True, slots=True)
class DescriptorFields:
    """A JSON object inside a descriptor. Fields that nobody asks for are not looked at.

    Null and absent are the same, as for the server that wrote it.

    :param key: of the descriptor in its location.
    :param path: where in the descriptor this object stands, like ``classes[0].shards[2].``.
    """

    key: str
    path: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, key: str, content: bytes) -> Self:
        """Read a descriptor.

        :raises BrokenDescriptor: it is not a JSON object.
        """
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BrokenDescriptor(f"The descriptor {key} can't be read: {error}.") from error
        if not isinstance(values, dict):
            raise BrokenDescriptor(f"The descriptor {key} can't be read: it is no JSON object.")
        return cls(key, "", values)

    def broken(self, name: str, problem: str) -> BrokenDescriptor:
        """Return the error for a field."""
        return BrokenDescriptor(f"The descriptor {self.key} can't be read: {self.path}{name} {problem}.")

    def text(self, name: str) -> str:
        """Return a text, empty where there is none."""
        return self._typed(name, str, "a text") or ""

    def name(self, name: str) -> str:
        """Return a text that must be there."""
        return self.text(name) or self._missing(name)

    def path_of(self, name: str) -> str:
        """Return a text that becomes part of keys, empty where there is none."""
        return self.require_path(self.text(name))

    def paths(self, name: str) -> tuple[str, ...]:
        """Return a list of texts that become keys or files' paths."""
        return tuple(self.require_path(text) for text in self.texts(name))

    def require_path(self, text: str) -> str:
        """Return ``text`` if it leads nowhere outside.

        :raises BrokenDescriptor: it is absolute, or has ``..`` or control characters.
        """
        if text and ({"", ".", ".."} & set(_SLASHES.split(text)) or not text.isprintable()):
            raise BrokenDescriptor(f"The descriptor {self.key} can't be read: {text!r} leads outside the backup.")
        return text

    def number(self, name: str) -> int | None:
        """Return a whole number, None where there is none."""
        value: int | None = self._typed(name, int, "a whole number")
        if isinstance(value, bool) or (value is not None and value < 0):
            raise self.broken(name, f"is {value!r}")
        return value

    def flag(self, name: str) -> bool:
        """Return a flag, False where there is none."""
        return bool(self._typed(name, bool, "true or false"))

    def time(self, name: str) -> datetime | None:
        """Return an RFC 3339 time in UTC; the server's zero time (year 1) and an absent one are None."""
        text = self.text(name)
        try:
            time = datetime.fromisoformat(text) if text else None
            if time and not time.tzinfo:
                raise ValueError("no time zone")  # noqa: TRY301 - one error for all that is no time
            return None if time is None or time.year == 1 else time.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self.broken(name, f"is {text!r} where a time belongs") from error

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, empty where there is none."""
        values = self._typed(name, list, "a list") or []
        if not all(isinstance(value, str) for value in values):
            raise self.broken(name, "is not a list of texts")
        return tuple(values)

    def objects(self, name: str) -> Iterator[DescriptorFields]:
        """Yield the objects of a list."""
        for index, value in enumerate(self._typed(name, list, "a list") or []):
            yield self._object(f"{name}[{index}]", value)

    def lists(self, name: str) -> Iterator[tuple[str, Iterator[DescriptorFields]]]:
        """Yield the names of an object's fields, and the objects of the list that each is."""
        inner = self.inner(name)
        for key in inner.values:
            yield key, inner.objects(key)

    def named_objects(self, name: str) -> Iterator[tuple[str, DescriptorFields]]:
        """Yield the names of an object's fields, and the object that each is."""
        inner = self.inner(name)
        for key, value in inner.values.items():
            yield key, inner._object(key, value)  # noqa: SLF001 - of the same class

    def inner(self, name: str) -> DescriptorFields:
        """Return an object, an empty one where there is none."""
        value = self.values.get(name)
        return self._object(name, {} if value is None else value)

    def encoded(self, name: str) -> Any:
        """Return what stands in a field as base64 of JSON; None where there is nothing."""
        text = self.text(name)
        try:
            return json.loads(base64.b64decode(text, validate=True)) if text else None
        except (ValueError, binascii.Error, RecursionError) as error:
            raise self.broken(name, "is not base64 of JSON") from error

    def encoded_object(self, name: str) -> DescriptorFields | None:
        """Return an object that stands in a field as base64 of JSON; None where there is none."""
        value = self.encoded(name)
        return None if value is None else self._object(name, value)

    def _object(self, name: str, value: object) -> DescriptorFields:
        if not isinstance(value, dict):
            raise self.broken(name, "is not an object")
        return DescriptorFields(self.key, f"{self.path}{name}.", value)

    def _typed(self, name: str, kind: type, words: str) -> Any:
        value = self.values.get(name)
        if value is not None and not isinstance(value, kind):
            raise self.broken(name, f"is not {words}")
        return value

    def _missing(self, name: str) -> str:
        raise self.broken(name, "is missing")
