"""Where a server is and how to talk to it: everything a client needs, and no transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds: to connect; between two bytes of an answer; for one request with all its repeats."""

    connect: float = 10.0
    read: float = 60.0
    total: float = 120.0


@dataclass(frozen=True, slots=True)
class Retries:
    """Bounded repeats of what is safe to repeat, for faults that pass: waits of ``first_wait * 2**n`` seconds."""

    attempts: int = 4
    first_wait: float = 0.5

    def wait_before(self, attempt: int) -> float:
        """Return the seconds to wait before the ``attempt``-th try (from 2)."""
        return self.first_wait * 2.0 ** (attempt - 2)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server.

    :param base_url: ``scheme://host:port`` with an optional path, no slash at the end.
    :param headers: sent with every request; hold the secrets, so they are never shown.
    :param verify: whether certificates are checked; a text is the path of the CA bundle to check against.
    """

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | str = True
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes it another endpoint, hashable; holds secrets."""
        return self.base_url, tuple(sorted(self.headers.items())), self.verify, self.timeouts, self.retries

    def url(self, path: str) -> str:
        """Return the URL of a path below ``/v1``."""
        return f"{self.base_url}/v1{path}"
