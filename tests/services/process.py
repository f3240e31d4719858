"""Starts a service as a child process, waits until it serves, and ends it with everything that it started.

Only processes that we started are ever ended, by pid: the child's descendants and the members of the session that it
leads. The guard does the same for a parent that was killed.
"""

import atexit
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.guard import Guard
from tests.services.tree import Tree

Ready = Callable[[], bool]

_POLL_SECONDS = 0.05
_TAIL_LINES = 30
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
guard = Guard()
_started: set["ServiceProcess"] = set()
_owner = os.getpid()
_INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")


class ServiceFailed(RuntimeError):
    """A service ended early or never became ready; the message holds the end of its log and the log's path."""

    def __init__(self, what: str, log_path: Path) -> None:
        self.log_path = log_path
        self.log_tail = _tail(log_path)
        super().__init__(f"{what}\n--- last lines of {log_path}\n{self.log_tail}")


@dataclass(eq=False)
class ServiceProcess:
    """A command that can be started, stopped and started again. Its output is appended to `log_path`.

    `env` is all that it gets besides PATH, HOME and the like: a developer's own credentials don't reach it.
    """

    name: str
    argv: Sequence[str | Path]
    log_path: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    grace_seconds: float = 20.0
    """Between SIGTERM and SIGKILL."""
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _tree: Tree | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """Of the process started last; raises RuntimeError if none was."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child.pid

    @property
    def running(self) -> bool:
        """False before the start and once it has ended, for whatever reason."""
        return self._tree is not None and self._tree.root_is_alive()

    def start(self, ready: Ready, deadline_seconds: float = 60.0) -> None:
        """Do `spawn` and `wait_ready` in one."""
        self.spawn()
        self.wait_ready(ready, deadline_seconds)

    def spawn(self) -> None:
        """Start it and return at once, for services that become ready only together. Ctrl-C meanwhile ends it again."""
        if self.running:
            raise RuntimeError(f"{self.name} is running already, as pid {self.pid}")
        # One that died on its own may have left children, which hold its ports.
        self.kill()
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.log_path.open("ab") as log, _uninterrupted():
                self._child = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(self.env),
                    cwd=self.cwd,
                    start_new_session=True,
                )
                guard.watch(self._child.pid)
                self._tree = Tree(self._child.pid)
                _started.add(self)
        except BaseException:
            self.kill()
            raise

    def wait_ready(self, ready: Ready, deadline_seconds: float = 60.0) -> None:
        """Wait until `ready()` is true; raises ServiceFailed, and then nothing is left running."""
        try:
            self._wait(ready, deadline_seconds)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Send SIGTERM to the whole tree, SIGKILL after `grace_seconds`. No error if it has ended already."""
        self._end(self.grace_seconds)

    def kill(self) -> None:
        """Send SIGKILL to the whole tree, as a crash would."""
        self._end(0.0)

    def _wait(self, ready: Ready, deadline_seconds: float) -> None:
        deadline = time.monotonic() + deadline_seconds
        while not _is_ready(ready):
            if not self.running:
                self.kill()
                what = f"{self.name} ended with exit code {self._exit_code()} before it was ready"
                raise ServiceFailed(what, self.log_path)
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.name} was not ready after {deadline_seconds:.0f} s", self.log_path)
            time.sleep(_POLL_SECONDS)

    def _end(self, grace_seconds: float) -> None:
        if self._tree is None:
            return
        self._tree.end(grace_seconds)
        # Reaped only now: until then the dead child's pid, which names the session, can't be given to a stranger.
        guard.forget(self.pid)
        self._exit_code()
        self._tree = None
        _started.discard(self)

    def _exit_code(self) -> int | None:
        return self._child.wait() if self._child else None


@contextmanager
def running(process: ServiceProcess, ready: Ready, deadline_seconds: float = 60.0) -> Iterator[ServiceProcess]:
    """Start the process and have it ready; stop it at the end, also on Ctrl-C."""
    process.start(ready, deadline_seconds)
    try:
        yield process
    finally:
        process.stop()


def stop_all(processes: Iterable[ServiceProcess]) -> None:
    """Stop them at the same time: members of a cluster wait for one another."""
    threads = [threading.Thread(target=process.stop) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_until(predicate: Callable[[], bool], deadline_seconds: float, what: str, poll_seconds: float = 0.1) -> None:
    """Wait until `predicate()` is true, or raise TimeoutError that names `what`. Its own errors pass through."""
    deadline = time.monotonic() + deadline_seconds
    while not predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {deadline_seconds:g} s")
        time.sleep(poll_seconds)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and the like to the end of the block: in its midst there is a child that nobody knows yet."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    found = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}
    came: list[int] = []
    try:
        for number in found:
            signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
        for missed in came:
            signal.raise_signal(missed)


def _is_ready(ready: Ready) -> bool:
    """Ask, and take one that can't be reached yet for not ready; requests' errors are OSErrors."""
    try:
        return ready()
    except OSError:
        return False


def _tail(log_path: Path) -> str:
    try:
        lines = log_path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(lines[-_TAIL_LINES:])


@atexit.register
def _stop_what_is_left() -> None:
    """Help callers that leave without closing their context managers; a forked copy of us has none of its own."""
    if os.getpid() == _owner:
        stop_all(list(_started))
        guard.close()
