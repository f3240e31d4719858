"""Ends the services of a process that died without doing so itself, even by SIGKILL.

A small process of its own reads from a pipe which pids to look after. The kernel closes the pipe when we die, however
that happens; then the guard ends the trees that are still on its list, and itself.
"""

import subprocess
import sys
import threading
from pathlib import Path

import psutil

from tests.services.tree import Tree

_GRACE_SECONDS = 10.0


class Guard:
    """The list of pids, and the process that holds a copy of it; it is started with the first of them."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Of the guarding process, if there is one."""
        return self._process.pid if self._process else None

    def watch(self, pid: int) -> None:
        """Make sure that from now on this process and its tree don't outlive us."""
        with self._lock:
            self._pids.add(pid)
            self._tell([f"+{pid}"])

    def forget(self, pid: int) -> None:
        """Take it off the list: it has ended, and its number may go to somebody else."""
        with self._lock:
            self._pids.discard(pid)
            self._tell([f"-{pid}"])

    def close(self) -> None:
        """Let the process end what is left on its list, and itself."""
        with self._lock:
            if self._process:
                self._process.communicate()
                self._process = None

    def _tell(self, lines: list[str]) -> None:
        if self._process is None or self._process.poll() is not None:
            self._process, lines = _start(), [f"+{pid}" for pid in self._pids]
        assert self._process.stdin is not None
        self._process.stdin.write("".join(line + "\n" for line in lines))
        self._process.stdin.flush()


def _start() -> subprocess.Popen[str]:
    """Start it in a session of its own, so that Ctrl-C in a terminal doesn't end it first."""
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )


def main() -> None:
    """Read until the pipe closes, then end what is left."""
    trees: dict[int, Tree] = {}
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "-":
            trees.pop(pid, None)
            continue
        try:
            trees[pid] = Tree(pid)
        except psutil.NoSuchProcess:
            continue
    threads = [threading.Thread(target=tree.end, args=(_GRACE_SECONDS,)) for tree in trees.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
