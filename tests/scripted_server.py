"""A server on 127.0.0.1 that answers as the script says, however wrong, and remembers what it was sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Reply:
    """An answer. `drip_seconds`: between two bytes of the body. `cut`: the connection ends instead of an answer."""

    status: int = 200
    body: bytes = b'{"version": "1.39.2"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    cut: bool = False


@dataclass(frozen=True)
class Seen:
    """A request. `target` is what stood in its first line."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedServer(ThreadingHTTPServer):
    """Gives its replies in order; the last one again and again."""

    daemon_threads = False

    def __init__(self, replies: Sequence[Reply], tls: ssl.SSLContext | None) -> None:
        self.replies = list(replies)
        self.seen: list[Seen] = []
        self.stopping = threading.Event()
        self.scheme = "https" if tls else "http"
        super().__init__((ADDRESS, 0), _Handler)
        if tls:
            # The handshake is the handler's, so that one that fails ends only its own thread.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"{self.scheme}://{ADDRESS}:{self.port}"

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show bugs only: clients that go away in the middle are what many tests are about."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(Seen(self.command, self.path, dict(self.headers.items()), body))
        reply = self.server.next_reply()
        self.server.stopping.wait(reply.delay_seconds)
        if reply.cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in (
            [reply.body] if not reply.drip_seconds else [reply.body[i : i + 1] for i in range(len(reply.body))]
        ):
            self.wfile.write(piece)
            self.wfile.flush()
            if self.server.stopping.wait(reply.drip_seconds):
                return

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names are the library's


@contextmanager
def scripted_server(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Run a server; without replies it answers like a Weaviate asked for its version."""
    with ScriptedServer(replies or [Reply()], tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="scripted server")
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()


@contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port to which every connection is refused: bound, so that nobody else gets it, and not listening."""
    with contextlib.closing(socket.socket()) as bound:
        bound.bind((ADDRESS, 0))
        yield int(bound.getsockname()[1])
