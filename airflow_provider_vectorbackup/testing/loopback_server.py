"""HTTP on 127.0.0.1, in a thread of this process."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from airflow_provider_vectorbackup.testing.faults import Fault
from airflow_provider_vectorbackup.testing.routes import Answer, SeenRequest, decoded

ADDRESS = "127.0.0.1"
_PREFIX = "/v1"
_POLL_SECONDS = 0.02

FaultOf = Callable[[SeenRequest], Fault | None]
AnswerTo = Callable[[SeenRequest], Answer]


class LoopbackServer:
    """Serves until it is stopped; ``port`` is one that was free.

    :param answer_to: gives the right answer to a request.
    :param fault_of: says what goes wrong with it.
    """

    def __init__(self, answer_to: AnswerTo, fault_of: FaultOf) -> None:
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._server = _Server(self, answer_to, fault_of)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="Weaviate stand-in"
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Cut all connections and end all threads."""
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def opened(self, connection: socket.socket) -> None:
        """Take note of a connection, so that it can be cut."""
        self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        self._connections.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # they are joined when the server is closed
    request_queue_size = 64

    def __init__(self, owner: LoopbackServer, answer_to: AnswerTo, fault_of: FaultOf) -> None:
        self.owner = owner
        self.answer_to = answer_to
        self.fault_of = fault_of
        super().__init__((ADDRESS, 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show bugs only; a client that goes away is none."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: the client would delay its acknowledgement of the first

    def setup(self) -> None:
        super().setup()
        self.server.owner.opened(self.connection)

    def finish(self) -> None:
        self.server.owner.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Say nothing; the requests are in ``WeaviateStandIn.requests``."""

    def _serve(self) -> None:
        request = self._request()
        fault = self.server.fault_of(request)
        if fault is None:
            self._send(*self.server.answer_to(request))
            return
        if self.server.owner.stopping.wait(fault.delay_seconds):
            self._cut()
            return
        right = self.server.answer_to(request) if fault.handled or fault.status is None else None
        if fault.drop:
            self._cut()
        elif fault.status is None and right is not None:
            self._send(*right)
        else:
            self._send(fault.status or 500, fault.body)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names are the library's

    def _request(self) -> SeenRequest:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return SeenRequest(
            self.command,
            parts.path.removeprefix(_PREFIX) if parts.path.startswith(_PREFIX) else f"/..{parts.path}",
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            decoded(body),
            dict(self.headers.items()),
        )

    def _send(self, status: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _cut(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
