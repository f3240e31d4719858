"""Whether a request was done whose answer nobody saw."""

from __future__ import annotations

import time
from collections.abc import Callable

from airflow_provider_vectorbackup.backups.status import OperationStatus
from airflow_provider_vectorbackup.exceptions import Unreachable, WeaviateError

LOST_ANSWER_SECONDS = 30.0
"""How long an operation may take to appear after its request was cut off: the server checks its storage before."""

_POLL_SECONDS = 1.0
_FROM_A_PROXY = (502, 503, 504)


def found_after_loss(
    error: WeaviateError,
    ask: Callable[[], OperationStatus | None],
    is_ours: Callable[[OperationStatus | None], bool],
) -> OperationStatus | None:
    """Return the operation that a request began although ``error`` came in place of its answer; None if it did not.

    An answer of the server's own, even a broken one, is its last word: one look will do. Where there was none, or a
    proxy's, the server may still be working on the request.
    """
    lost = isinstance(error, Unreachable) or error.status_code in _FROM_A_PROXY
    deadline = time.monotonic() + (LOST_ANSWER_SECONDS if lost else 0.0)
    while True:
        try:
            if is_ours(seen := ask()):
                return seen
        except WeaviateError as still:
            if not still.retryable:
                raise
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL_SECONDS)
