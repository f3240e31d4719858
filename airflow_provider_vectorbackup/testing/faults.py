"""What tests make the stand-in do instead of answering as it should."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any


@dataclass
class Fault:
    """One thing that goes wrong, for the next ``times`` requests that it is meant for.

    :param status: the answer's code; None: the right answer.
    :param body: the answer's body.
    :param handled: whether the server does what it was asked before it goes wrong.
    :param drop: whether the connection is cut instead of an answer.
    :param delay_seconds: how long it waits first.
    """

    method: str
    path: re.Pattern[str]
    times: int
    status: int | None = None
    body: bytes = b""
    handled: bool = False
    drop: bool = False
    delay_seconds: float = 0.0

    def is_for(self, method: str, path: str) -> bool:
        """Whether a request is one that goes wrong."""
        return self.times > 0 and self.method == method and self.path.fullmatch(path) is not None


class Faults:
    """The faults to come, the oldest first."""

    def __init__(self) -> None:
        self._coming: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let something go wrong."""
        self._coming.append(fault)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for a request, and count it as used."""
        fault = next((fault for fault in self._coming if fault.is_for(method, path)), None)
        if fault is not None:
            fault.times -= 1
        return fault

    def clear(self) -> None:
        """Let everything go right again."""
        self._coming.clear()


def encoded(body: Any) -> bytes:
    """Return the bytes of an answer's body; None is the server's usual error body."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    return json.dumps({"error": [{"message": "injected fault"}]} if body is None else body).encode()
