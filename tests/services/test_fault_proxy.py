"""Every fault of the proxy, in front of a server that answers each request line with its length."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.loopback import ADDRESS
from tests.services.process import wait_until

_BIG = 20_000


class _Answer(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            size = _BIG if line.startswith(b"GET /big") else 0
            self.wfile.write(b"x" * size + b"%d\n" % len(line))


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with _Server((ADDRESS, 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with fault_proxy(server.server_address[1]) as started:
            yield started
        server.shutdown()
        thread.join()


def _connect(proxy: FaultProxy, timeout_seconds: float = 10.0) -> socket.socket:
    return socket.create_connection((ADDRESS, proxy.port), timeout_seconds)


def _ask(connection: socket.socket, line: bytes) -> bytes:
    """Return the answer's last line; empty if the connection was cut."""
    with contextlib.suppress(ConnectionError):
        connection.sendall(line + b"\r\n")
    return _rest(connection).lstrip(b"x")


def _rest(connection: socket.socket) -> bytes:
    """Read to the end of a line, or of the connection."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while not answer.endswith(b"\n") and (more := connection.recv(65536)):
            answer += more
    return answer


def test_it_passes_everything_on(proxy: FaultProxy) -> None:
    with _connect(proxy) as one, _connect(proxy) as two:
        assert _ask(one, b"GET /a") == b"8\n"
        assert _ask(two, b"GET /ab") == b"9\n"
        assert _ask(one, b"PUT /" + b"a" * 100_000) == b"100007\n"


def test_down_cuts_open_connections_and_new_ones_until_it_is_over(proxy: FaultProxy) -> None:
    with _connect(proxy) as before:
        assert _ask(before, b"GET /a") == b"8\n"
        proxy.mode = "down"
        assert _rest(before) == b""
        with _connect(proxy) as during:
            assert _ask(during, b"GET /a") == b""
        proxy.mode = "ok"
        with _connect(proxy) as after:
            assert _ask(after, b"GET /a") == b"8\n"


def test_hang_keeps_the_connection_and_answers_once_it_is_over(proxy: FaultProxy) -> None:
    with _connect(proxy, timeout_seconds=0.4) as connection:
        proxy.mode = "hang"
        with pytest.raises(TimeoutError):
            _ask(connection, b"GET /a")
        connection.settimeout(10)
        proxy.mode = "ok"
        assert connection.recv(100) == b"8\n"


def _seconds(connection: socket.socket, line: bytes) -> float:
    begin = time.monotonic()
    assert _ask(connection, line).endswith(b"\n")
    return time.monotonic() - begin


def test_slow_uploads_are_slow_and_downloads_are_not(proxy: FaultProxy) -> None:
    proxy.mode = f"slow:{_BIG * 2}"
    with _connect(proxy) as connection:
        assert _seconds(connection, b"PUT /" + b"a" * _BIG) >= 0.4
        assert _seconds(connection, b"GET /big") < 0.4


def test_slow_downloads_are_slow_and_uploads_are_not(proxy: FaultProxy) -> None:
    proxy.mode = f"slowdown:{_BIG * 2}"
    with _connect(proxy) as connection:
        assert _seconds(connection, b"GET /big") >= 0.4
        assert _seconds(connection, b"PUT /" + b"a" * _BIG) < 0.4


def test_block_cuts_only_the_put_that_is_named(proxy: FaultProxy) -> None:
    proxy.mode = "block:config.json"
    with _connect(proxy) as one, _connect(proxy) as two:
        assert _ask(one, b"PUT /chunk") != b""
        assert _ask(one, b"GET /config.json") != b""
        assert _ask(one, b"PUT /x/config.json HTTP/1.1") == b""
        assert _ask(two, b"PUT /chunk") != b""


def test_delayput_holds_only_the_put_that_is_named(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.services.fault_proxy._DELAY_SECONDS", 0.4)
    proxy.mode = "delayput:config.json"
    with _connect(proxy) as connection:
        assert _seconds(connection, b"PUT /config.json") >= 0.4
        assert _seconds(connection, b"PUT /chunk") < 0.4


def test_hold_keeps_only_the_request_that_is_named_until_it_is_over(proxy: FaultProxy) -> None:
    proxy.mode = "hold:GET /chunk"
    with _connect(proxy) as one, _connect(proxy) as two:
        one.sendall(b"GET /chunk HTTP/1.1\r\n")
        wait_until(lambda: proxy.held == 1, 10, "the request")
        assert _ask(two, b"PUT /chunk HTTP/1.1") == b"21\n"
        one.settimeout(0.0)
        with pytest.raises(BlockingIOError):
            one.recv(100)
        one.settimeout(10)
        proxy.mode = "ok"
        assert one.recv(100) == b"21\n"
        assert proxy.held == 0


@pytest.mark.parametrize("mode", ["", "off", "slow:", "slow:0", "slow:fast"])
def test_an_unknown_mode_is_refused(mode: str, proxy: FaultProxy) -> None:
    with pytest.raises(ValueError, match=r"mode|float"):
        proxy.mode = mode
    assert proxy.mode == "ok"


@pytest.mark.parametrize("mode", ["hang", "hold:PUT /", "slow:1"])
def test_it_ends_with_its_context_even_while_it_waits(mode: str) -> None:
    with _Server((ADDRESS, 0), _Answer) as server:
        threads = threading.active_count()
        with fault_proxy(server.server_address[1]) as proxy:
            proxy.mode = mode
            connection = _connect(proxy)
            connection.sendall(b"PUT / HTTP/1.1\r\n" + b"a" * _BIG)
            wait_until(lambda: len(proxy._writers) == 2, 10, "the connection to the server")
        with connection:
            assert _rest(connection) == b""
        assert threading.active_count() == threads
        with pytest.raises(ConnectionRefusedError):
            _connect(proxy)
