from __future__ import annotations

from tests.operators.conftest import run, server

__all__ = ["run", "server"]
