"""Ports and HTTP on 127.0.0.1, where every service of this package listens."""

import random
import socket
from collections.abc import Callable

import requests

ADDRESS = "127.0.0.1"

# Below the range that Linux and macOS give to outgoing connections, so that none takes a port before its server does.
_FIRST, _LAST = 18000, 32000
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Find distinct ports that nothing listens on (TCP and UDP), never the same twice in one process."""
    return [port for (port,) in _free_runs(count, length=1)]


def free_port_pairs(count: int) -> list[tuple[int, int]]:
    """Find free ports in pairs of neighbours (port, port + 1)."""
    return [(first, second) for first, second in _free_runs(count, length=2)]


def session() -> requests.Session:
    """Open a session that goes straight to the loopback, whatever proxy the environment names."""
    direct = requests.Session()
    direct.trust_env = False
    return direct


def answers_ok(url: str, timeout_seconds: float = 2.0) -> Callable[[], bool]:
    """Make a readiness test: whether GET `url` answers 200."""

    def ready() -> bool:
        with session() as direct:
            return direct.get(url, timeout=timeout_seconds).status_code == 200

    return ready


def _free_runs(count: int, length: int) -> list[list[int]]:
    found: list[list[int]] = []
    for first in random.sample(range(_FIRST, _LAST), _LAST - _FIRST):
        if len(found) == count:
            return found
        run = list(range(first, first + length))
        if _given.isdisjoint(run) and all(_is_free(port) for port in run):
            _given.update(run)
            found.append(run)
    raise OSError(f"fewer than {count} free ports between {_FIRST} and {_LAST}")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                return False
    return True
