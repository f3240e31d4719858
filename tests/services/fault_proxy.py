"""A TCP proxy on the loopback that can be told to misbehave, for tests of outages.

Between Weaviate and its S3 server it makes crashes, outages, cancellations and early ends of backups reproducible.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.services.loopback import ADDRESS

_CHUNK_BYTES = 16384
_DELAY_SECONDS = 1.5
_SMALL_BYTES = 2000
_THREAD_SECONDS = 10.0


class FaultProxy:
    """Passes bytes on to `target_port`, as `mode` says; a new mode applies at once, also to open connections.

    | mode | what happens |
    |---|---|
    | `ok` | everything passes |
    | `down` | open connections are cut, new ones too |
    | `hang` | connections stay open, nothing passes until the mode changes |
    | `slow:BYTES`, `slowdown:BYTES` | uploads, downloads at so many bytes a second; small messages pass at once |
    | `block:TEXT` | a PUT with TEXT in its first line is cut |
    | `delayput:TEXT` | a PUT with TEXT in its first line is held for 1.5 s |
    | `hold:TEXT` | a request with TEXT in its first line is held until the mode changes |
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._mode = "ok"
        self._held = 0
        self._changed = asyncio.Event()
        self._listening = socket.create_server((ADDRESS, 0))
        self._listening.settimeout(0)
        self.port: int = self._listening.getsockname()[1]
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)

    @property
    def mode(self) -> str:
        """What it does now."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        """Change it at once; raises ValueError for an unknown one."""
        name, _, argument = mode.partition(":")
        if name not in _FAULTS or (name in ("slow", "slowdown") and float(argument) <= 0):
            raise ValueError(f"no such mode: {mode!r}")
        self._do(self._change(mode))

    @property
    def held(self) -> int:
        """How many requests it has held since the last change of mode."""
        return self._held

    def start(self) -> None:
        """Serve from now on, in a thread of its own."""
        self._loop.add_reader(self._listening, self._accept)
        self._thread.start()

    def stop(self) -> None:
        """Cut everything and end the thread."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_THREAD_SECONDS)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_THREAD_SECONDS)

    async def _close(self) -> None:
        self._loop.remove_reader(self._listening)
        self._listening.close()
        await self._change("down")
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _change(self, mode: str) -> None:
        self._mode = mode
        self._held = 0
        self._changed.set()
        self._changed = asyncio.Event()
        if mode == "down":
            await self._cut_all()

    async def changed(self) -> None:
        """Wait for the next mode; in the proxy's own loop."""
        await self._changed.wait()

    async def hold(self) -> None:
        """Keep a request until the next mode."""
        self._held += 1
        await self._changed.wait()

    async def _cut_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self) -> None:
        """Take a connection. Not by asyncio's own server: on its end that one leaks those it has just accepted."""
        connection, _ = self._listening.accept()
        task = self._loop.create_task(self._serve(connection))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(lambda _: connection.close())

    async def _serve(self, connection: socket.socket) -> None:
        if self._mode == "down":
            return
        with contextlib.suppress(OSError):
            async with (
                self._streams(sock=connection) as (client, to_client),
                self._streams(host=ADDRESS, port=self._target_port) as (server, to_server),
            ):
                await asyncio.gather(self._pump(client, to_server, up=True), self._pump(server, to_client, up=False))

    @asynccontextmanager
    async def _streams(self, **where: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(**where)
        self._writers.add(writer)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK_BYTES):
                name, _, argument = self._mode.partition(":")
                if not await _FAULTS[name](self, argument, data, up):
                    target.transport.abort()
                    return
                target.write(data)
                await target.drain()
        target.close()


_Fault = Callable[[FaultProxy, str, bytes, bool], Awaitable[bool]]


async def _ok(_proxy: FaultProxy, _argument: str, _data: bytes, _up: bool) -> bool:
    """Each fault waits as it likes, and says whether the connection goes on."""
    return True


async def _down(_proxy: FaultProxy, _argument: str, _data: bytes, _up: bool) -> bool:
    return False


async def _hang(proxy: FaultProxy, _argument: str, _data: bytes, _up: bool) -> bool:
    while proxy.mode == "hang":
        await proxy.changed()
    return proxy.mode != "down"


async def _slow(_proxy: FaultProxy, argument: str, data: bytes, up: bool) -> bool:
    if up and len(data) > _SMALL_BYTES:
        await asyncio.sleep(len(data) / float(argument))
    return True


async def _slowdown(_proxy: FaultProxy, argument: str, data: bytes, up: bool) -> bool:
    if not up and len(data) > _SMALL_BYTES:
        await asyncio.sleep(len(data) / float(argument))
    return True


async def _block(_proxy: FaultProxy, argument: str, data: bytes, up: bool) -> bool:
    return not (up and _puts(argument, data))


async def _delayput(_proxy: FaultProxy, argument: str, data: bytes, up: bool) -> bool:
    if up and _puts(argument, data):
        await asyncio.sleep(_DELAY_SECONDS)
    return True


async def _hold(proxy: FaultProxy, argument: str, data: bytes, up: bool) -> bool:
    line = _first_line(data)
    if up and argument.encode() in line and b" HTTP/" in line:
        await proxy.hold()
    return proxy.mode != "down"


def _puts(text: str, data: bytes) -> bool:
    """Look at a request's first line. It starts a chunk: clients wait for the answer before they send the next."""
    line = _first_line(data)
    return line.startswith(b"PUT ") and text.encode() in line


def _first_line(data: bytes) -> bytes:
    return data.split(b"\r\n", 1)[0]


_FAULTS: dict[str, _Fault] = {
    "ok": _ok,
    "down": _down,
    "hang": _hang,
    "slow": _slow,
    "slowdown": _slowdown,
    "block": _block,
    "delayput": _delayput,
    "hold": _hold,
}


@contextmanager
def fault_proxy(target_port: int) -> Iterator[FaultProxy]:
    """Run a proxy to a port of 127.0.0.1, in mode `ok`; connect to its `port` instead."""
    proxy = FaultProxy(target_port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
