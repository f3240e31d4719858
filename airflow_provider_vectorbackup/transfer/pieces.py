"""A range of an object on its way from a store, hashed as it passes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from airflow_provider_vectorbackup.transfer.rate import Budget, RateLimit


class Stopped(Exception):
    """Another thread failed, or the process is to end: whatever is on its way is given up."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What all that is on its way shares."""

    limit: RateLimit
    budget: Budget
    stop: threading.Event

    def pass_on(self, size_bytes: int) -> None:
        """Return when so many more bytes may pass.

        :raises Stopped: none may any more.
        """
        self.limit.take(size_bytes)
        if self.stop.is_set():
            raise Stopped


class Pieces:
    """The bytes that ``read`` yields, once. As a context, it holds memory for them.

    :param held_bytes: of memory.
    :ivar failed: whether the source could not go on, as against whoever takes the pieces.
    """

    def __init__(self, read: Generator[bytes, None, None], flow: Flow, held_bytes: int) -> None:
        self.failed = False
        self._read = read
        self._flow = flow
        self._held_bytes = held_bytes
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        self._flow.budget.take(self._held_bytes, self._flow.stop.is_set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._read.close()
        self._flow.budget.give_back(self._held_bytes)

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._read:
                self._flow.pass_on(len(piece))
                self._digest.update(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException:
            self.failed = True
            raise

    @property
    def sha256(self) -> str:
        """Of the bytes that have passed, in hexadecimal."""
        return self._digest.hexdigest()
