"""Templated arguments: text where a list, a flag or a number is meant, checked before anything is started."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from airflow_provider_vectorbackup.exceptions import InvalidRequest

_SHOWN = 80

E = TypeVar("E", bound=StrEnum)


def text(value: Any) -> str | None:
    """Return a text; None for what is not given, also where a template rendered None to text."""
    return None if value is None or value in ("", "None") else str(value)


def names(argument: str, value: Any, *, example: str = '["Article", "Author*"]') -> tuple[str, ...]:
    """Return a list of names, given as a list or as the JSON text of one.

    :raises InvalidRequest: it is neither, or holds something else than texts.
    """
    items = _decoded(argument, value, example) if isinstance(value, str) else value
    if items is None:
        return ()
    if not isinstance(items, list | tuple | set) or not all(isinstance(item, str) and item for item in items):
        raise _malformed(argument, value, example)
    return tuple(dict.fromkeys(items))


def mapping(argument: str, value: Any) -> dict[str, str]:
    """Return a mapping of names, given as a mapping or as the JSON text of one.

    :raises InvalidRequest: it is neither, or holds something else than texts.
    """
    example = '{"old-node": "new-node"}'
    items = _decoded(argument, value, example) if isinstance(value, str) else value
    if items is None:
        return {}
    if not isinstance(items, Mapping) or not all(
        isinstance(part, str) and part for pair in items.items() for part in pair
    ):
        raise _malformed(argument, value, example)
    return dict(items)


def flag(argument: str, value: Any) -> bool:
    """Return a flag, given as a bool or as text.

    :raises InvalidRequest: it is neither true nor false.
    """
    if isinstance(value, bool):
        return value
    if (given := text(value)) is None:
        return False
    if given.lower() in ("true", "false"):
        return given.lower() == "true"
    raise InvalidRequest(f"{argument} is {value!r}.", hint="Give True or False.")


def whole_number(argument: str, value: Any) -> int | None:
    """Return a whole number, given as one or as text; None for what is not given.

    :raises InvalidRequest: it is none.
    """
    try:
        return None if (given := text(value)) is None else int(given)
    except ValueError:  # of a number with thousands of digits, too
        raise InvalidRequest(f"{argument} is {shown(value)}.", hint="Give a whole number.") from None


def positive(argument: str, value: Any) -> int:
    """Return a whole number from 1 on, given as one or as text.

    :raises InvalidRequest: it is none, or nothing is given.
    """
    number_given = whole_number(argument, value)
    if number_given is None or number_given < 1:
        raise InvalidRequest(f"{argument} is {number_given!r}.", hint="Give 1 or more.")
    return number_given


def fraction(argument: str, value: Any) -> float:
    """Return a number from 0 to 1, given as one or as text.

    :raises InvalidRequest: it is none.
    """
    if 0 <= (given := _number(value)) <= 1:
        return given
    raise InvalidRequest(f"{argument} is {value!r}.", hint="Give a number from 0 to 1.")


def choice(argument: str, value: Any, kinds: type[E]) -> E:
    """Return a member of an enumeration, given by its value.

    :raises InvalidRequest: there is no such member.
    """
    try:
        return kinds(value)
    except ValueError:
        raise InvalidRequest(f"{argument} is {value!r}.", hint=f"Use one of {', '.join(kinds)}.") from None


def seconds(argument: str, value: float | str | timedelta, *, or_zero: bool = False) -> float:
    """Return a duration in seconds; a template renders to the text of a number.

    :raises InvalidRequest: it is not above 0.
    """
    length = value.total_seconds() if isinstance(value, timedelta) else _number(value)
    if 0 < length < math.inf or (or_zero and length == 0):
        return length
    raise InvalidRequest(
        f"{argument} is {value!r}.", hint=f"Give seconds above 0{', or 0' if or_zero else ''}, or a timedelta."
    )


def number(argument: str, value: Any) -> float:
    """Return a number above 0, given as one or as text.

    :raises InvalidRequest: it is none.
    """
    if 0 < (given := _number(value)) < math.inf:
        return given
    raise InvalidRequest(f"{argument} is {value!r}.", hint="Give a number above 0.")


def shown(value: Any) -> str:
    """Return a value for a message, cut to length."""
    try:
        text_shown = repr(value)
    except ValueError:  # of a number with thousands of digits
        return f"a {type(value).__name__} of great length"
    return text_shown if len(text_shown) <= _SHOWN else f"{text_shown[:_SHOWN]}…"


def _number(value: Any) -> float:
    """Return a number or the text of one, NaN for all else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _decoded(argument: str, value: str, example: str) -> Any:
    if (given := text(value)) is None:
        return None
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        raise _malformed(argument, value, example) from None


def _malformed(argument: str, value: Any, example: str) -> InvalidRequest:
    return InvalidRequest(
        f"{argument} is {shown(value)}, which is not of the form {example}.",
        hint="In a template, render it with '| tojson', or set render_template_as_native_obj=True on the Dag.",
    )
