"""`make demo`, as somebody runs it: to its end, and stopped before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.services.process import wait_until

ROOT = Path(__file__).parents[2]


class Demo:
    """A demo whose processes are known by the TMPDIR that they all inherit."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.output = folder / "output"
        (folder / "tmp").mkdir()
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "demo.run", *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
                | {"TMPDIR": str(folder / "tmp")},
                process_group=0,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def left(self) -> list[str]:
        """Return what still runs, and the files that were left behind."""
        return [*self._processes(), *map(str, (self.folder / "tmp").iterdir())]

    def _processes(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TMPDIR") == str(self.folder / "tmp"):
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found


def test_once(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--once")
    assert demo.process.wait(timeout=600) == 0, demo.text
    for part in (
        "[6/6]",
        "s3://aws_default@backups/demo/",
        "gs://google_cloud_default@backups/demo/",
        "Airport        3,376     3,376  ✓",
        "Log in as",
    ):
        assert part in demo.text
    assert demo.text.splitlines()[-1].startswith("OK: ")
    assert demo.left() == []


@pytest.mark.parametrize("step", ["[2/6]", "[4/6]"])
def test_ctrl_c_before_the_end(tmp_path: Path, step: str) -> None:
    demo = Demo(tmp_path)
    wait_until(lambda: step in demo.text, 600, step)
    wait_until(lambda: len(demo.left()) > 1, 60, "a process of the demo's")
    os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.process.wait(timeout=60) == 130, demo.text
    assert demo.text.splitlines()[-1] == "Stopped before the end."
    assert demo.left() == []
