"""Reads the part of GraphQL that queries for objects are written in: fields with aliases, arguments, selections."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from airflow_provider_vectorbackup.testing.model import Refused

_BETWEEN = re.compile(r"[\s,]*")
_NAME = re.compile(r"[A-Za-z_]\w*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Field:
    """A field that is asked for; without an alias, its name is that too."""

    name: str
    alias: str
    arguments: dict[str, Any]
    fields: tuple[Field, ...]

    def selected(self) -> dict[str, Any]:
        """Return the names of what is asked for below it: name -> the same of that."""
        return {field.name: field.selected() for field in self.fields}


def read(text: str) -> tuple[Field, ...]:
    """Return what a query asks for.

    :raises Refused: it is none, or has something that is not read here.
    """
    reader = _Reader(text)
    found = reader.selection()
    reader.require_end()
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def selection(self) -> tuple[Field, ...]:
        self._require("{")
        found = []
        while not self._takes("}"):
            found.append(self._field())
        return tuple(found)

    def require_end(self) -> None:
        if self._next():
            raise self._refusal()

    def _field(self) -> Field:
        alias = name = self._name()
        if self._takes(":"):
            name = self._name()
        arguments = self._pairs(")") if self._takes("(") else {}
        fields = self.selection() if self._next() == "{" else ()
        return Field(name, alias, arguments, fields)

    def _pairs(self, end: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._takes(end):
            name = self._name()
            self._require(":")
            found[name] = self._pairs("}") if self._takes("{") else self._value()
        return found

    def _value(self) -> Any:
        self._next()
        try:
            value, self._at = _DECODER.raw_decode(self._text, self._at)
        except ValueError:
            raise self._refusal() from None
        return value

    def _name(self) -> str:
        self._next()
        found = _NAME.match(self._text, self._at)
        if not found:
            raise self._refusal()
        self._at = found.end()
        return found[0]

    def _next(self) -> str:
        """Go to what comes next and return its first character, empty at the end."""
        between = _BETWEEN.match(self._text, self._at)
        self._at = between.end() if between else self._at
        return self._text[self._at : self._at + 1]

    def _takes(self, character: str) -> bool:
        if self._next() != character:
            return False
        self._at += 1
        return True

    def _require(self, character: str) -> None:
        if not self._takes(character):
            raise self._refusal()

    def _refusal(self) -> Refused:
        return Refused(422, f"The stand-in can't read this query from character {self._at} on: {self._text[:80]!r}")
