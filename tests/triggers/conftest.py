from __future__ import annotations

from tests.operators.conftest import quick, run, server

__all__ = ["quick", "run", "server"]
