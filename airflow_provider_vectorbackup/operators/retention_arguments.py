"""The arguments of a prune, as rules: checked before anything is looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_vectorbackup.backups.periods import Span
from airflow_provider_vectorbackup.backups.retention import Rules
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.operators import arguments

COUNTS = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
RULE_ARGUMENTS = ("id_prefix", "keep_within", "min_count", "max_total_gib", *COUNTS)
"""What rules for one prefix are made of."""

_GIBIBYTE = 2**30
_HOUR = timedelta(hours=1)
_EXAMPLE = '[{"id_prefix": "nightly-", "keep_daily": 7}, {"id_prefix": "hourly-", "keep_last": 24}]'


def zone(argument: str, value: Any) -> tzinfo:
    """Return a time zone by its name in the IANA database, such as ``Europe/Berlin``.

    :raises InvalidRequest: there is none of that name.
    """
    name = arguments.text(value) or "UTC"
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # also where the name is a folder's
        told = f"{argument} is {arguments.shown(value)}."
        raise InvalidRequest(told, hint="Give a name such as Europe/Berlin, or UTC.") from None


def duration(argument: str, value: Any, otherwise: timedelta) -> timedelta:
    """Return a length of time from 0 on, given in seconds or as one; ``otherwise`` for what is not given.

    :raises InvalidRequest: it is none.
    """
    if arguments.text(value) is None:
        return otherwise
    try:
        return timedelta(seconds=arguments.seconds(argument, value, or_zero=True))
    except OverflowError:
        raise InvalidRequest(f"{argument} is {arguments.shown(value)}.", hint="That is too long.") from None


def rules_of(given: Mapping[str, Any], zone: tzinfo) -> Rules:
    """Return the rules for one prefix.

    :param given: some of ``RULE_ARGUMENTS``, with their values.
    :raises InvalidRequest: one is no such argument, or can't have that value.
    """
    if unknown := sorted(map(str, given.keys() - set(RULE_ARGUMENTS))):
        raise InvalidRequest(f"There are no rules {', '.join(unknown)}.", hint=f"Use {', '.join(RULE_ARGUMENTS)}.")
    least = arguments.whole_number("min_count", given.get("min_count"))
    return Rules(
        id_prefix=arguments.text(given.get("id_prefix")) or "",
        keep_within=_span("keep_within", given.get("keep_within")),
        min_count=1 if least is None else least,
        max_total_bytes=_bytes("max_total_gib", given.get("max_total_gib")),
        zone=zone,
        **{name: arguments.whole_number(name, given.get(name)) or 0 for name in COUNTS},
    )


def all_rules_of(single: Mapping[str, Any], several: Any, zone: tzinfo) -> tuple[Rules, ...]:
    """Return the rules of all prefixes: those given by the arguments of their own, or a list of others.

    :param several: a list of mappings as :func:`rules_of` takes, or the JSON text of one.
    :raises InvalidRequest: both are given, or something in them is wrong.
    """
    listed = _decoded(several)
    if not listed:
        return (rules_of(single, zone),)
    if named := [name for name, value in single.items() if arguments.text(value) is not None]:
        raise InvalidRequest(
            f"Both rules and {', '.join(named)} are given.", hint="Put all into rules, one entry for each id_prefix."
        )
    return tuple(_entry(number, each, zone) for number, each in enumerate(listed, 1))


def _entry(number: int, given: Mapping[str, Any], zone: tzinfo) -> Rules:
    try:
        return rules_of(given, zone)
    except InvalidRequest as error:
        raise InvalidRequest(f"In rules, entry {number}: {error.message}", hint=error.hint) from error


def _decoded(several: Any) -> list[Mapping[str, Any]]:
    listed = several
    try:
        if isinstance(several, str):
            listed = json.loads(several) if arguments.text(several) else None
    except (ValueError, RecursionError):
        listed = several
    if listed is None:
        return []
    if not isinstance(listed, list | tuple) or not all(isinstance(each, Mapping) for each in listed):
        raise InvalidRequest(
            f"rules is {arguments.shown(several)}, which is not of the form {_EXAMPLE}.",
            hint="In a template, render it with '| tojson'.",
        )
    return list(listed)


def _span(argument: str, value: Any) -> Span | None:
    if isinstance(value, timedelta):
        if value < _HOUR or value % _HOUR:
            raise InvalidRequest(f"{argument} is {value}.", hint="Give whole hours, one or more, or text like 30d.")
        return Span(hours=value // _HOUR)
    given = arguments.text(value)
    try:
        return Span.parse(given) if given else None
    except InvalidRequest as error:
        raise InvalidRequest(f"{argument}: {error.message}", hint=error.hint) from None


def _bytes(argument: str, value: Any) -> int | None:
    if arguments.text(value) is None:
        return None
    size = arguments.number(argument, value) * _GIBIBYTE
    if not 1 <= size < math.inf:
        raise InvalidRequest(f"{argument} is {arguments.shown(value)}.", hint="Give the most GiB, such as 500.")
    return round(size)
