"""Every answer that a real server was recorded to give is read, or becomes the right error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import (
    AlreadyExists,
    NotFound,
    OperationInProgress,
    Rejected,
    WeaviateError,
)
from airflow_provider_vectorbackup.weaviate import answers
from airflow_provider_vectorbackup.weaviate.calls import Call
from airflow_provider_vectorbackup.weaviate.errors import HttpAnswer, read_answer

FOLDER = Path(__file__).parent.parent / "exchanges"


@dataclass(frozen=True)
class Exchange:
    """A request and its answer."""

    name: str
    label: str
    method: str
    path: str
    request: Any
    status_code: int
    response: Any

    @property
    def call(self) -> Call[Any]:
        parse, has_answer = _parser(self.method, self.path)
        return Call(self.method, self.path, parse, body=self.request, has_answer=has_answer)  # type: ignore[arg-type]

    @property
    def answer(self) -> HttpAnswer:
        return HttpAnswer(self.status_code, b"" if self.response is None else json.dumps(self.response).encode())


PARSERS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("GET", r"/meta", answers.parse_meta),
    ("GET", r"/nodes", answers.parse_nodes),
    ("GET", r"/schema", answers.parse_schema),
    ("GET", r"/schema/\w+/tenants", answers.parse_tenants),
    ("GET", r"/aliases", answers.parse_aliases),
    ("POST", r"/backups/\w+", answers.parse_accepted),
    ("GET", r"/backups/\w+", answers.parse_list),
    ("GET", r"/backups/\w+/[^/]+", answers.parse_backup_status),
    ("POST", r"/backups/\w+/[^/]+/restore", answers.parse_accepted),
    ("GET", r"/backups/\w+/[^/]+/restore", answers.parse_restore_status),
)


def _parser(method: str, path: str) -> tuple[Callable[[Any], Any], bool]:
    for known_method, pattern, parse in PARSERS:
        if method == known_method and re.fullmatch(pattern, path.partition("?")[0]):
            return parse, True
    assert method == "DELETE", f"an exchange of a kind that no parser is for: {method} {path}"
    return answers.parse_nothing, False


def _exchanges() -> list[Exchange]:
    found = []
    for file in sorted(FOLDER.glob("*.json")):
        for number, entry in enumerate(json.loads(file.read_text())):
            fields = (entry[name] for name in ("label", "method", "path", "request", "status", "response"))
            found.append(Exchange(f"{file.stem} {number:02} {entry['label']}", *fields))
    return found


EXCHANGES = _exchanges()
ACCEPTED = [exchange for exchange in EXCHANGES if exchange.status_code < 300]
REFUSED = [exchange for exchange in EXCHANGES if exchange.status_code >= 300]


def named(exchange: Exchange) -> str:
    return exchange.name


def test_there_are_enough() -> None:
    assert len(ACCEPTED) > 100
    assert len(REFUSED) > 30


@pytest.mark.parametrize("exchange", ACCEPTED, ids=named)
def test_is_read(exchange: Exchange) -> None:
    read = read_answer(exchange.call, exchange.answer)
    assert (read is None) is (exchange.method == "DELETE")
    if isinstance(exchange.response, dict) and "status" in exchange.response:
        assert read.server_path == exchange.response["path"]
        if exchange.method == "GET":
            assert read.status is Status(exchange.response["status"])
        else:
            assert list(read.collections) == sorted(exchange.response["classes"])
    if isinstance(exchange.response, list):
        assert len(read) == len(exchange.response)


TAKEN = {"create dup id", "create k1 again"}
WHILE_ANOTHER_RAN = {"create custom path", "create BestSpeed", "create NoCompression", "create ZstdDefaultCompression"}
WHILE_ANOTHER_RAN |= {"create c2 concurrent", "create c3 concurrent other backend"}


def _expected(exchange: Exchange) -> type[WeaviateError]:
    """Say what an error means by what was asked for, and in which state: not by its text."""
    if exchange.label in TAKEN:
        return AlreadyExists
    if exchange.label in WHILE_ANOTHER_RAN:
        return OperationInProgress
    return NotFound if exchange.status_code == 404 else Rejected


@pytest.mark.parametrize("exchange", REFUSED, ids=named)
def test_is_the_right_error(exchange: Exchange) -> None:
    with pytest.raises(WeaviateError) as caught:
        read_answer(exchange.call, exchange.answer)
    error = caught.value
    assert type(error) is _expected(exchange)
    assert error.status_code == exchange.status_code
    assert error.may_have_started is (exchange.method == "POST" and exchange.status_code >= 500)
    assert exchange.path in error.message
    said = exchange.response.get("message") or exchange.response["error"][0]["message"]
    assert said[:60].rstrip(". ") in error.message
