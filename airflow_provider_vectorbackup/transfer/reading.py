"""Read an object to its end, over connections that break."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import closing

from airflow_provider_vectorbackup.exceptions import StorageUnreachable
from airflow_provider_vectorbackup.storage.store import Store, StoredObject

log = logging.getLogger(__name__)

_PAUSES_SECONDS = (0.5, 2.0, 8.0)
"""Before each new attempt that follows one without progress."""


def read_through(
    store: Store, stored: StoredObject, start: int = 0, end: int | None = None
) -> Generator[bytes, None, None]:
    """Yield an object's bytes from ``start`` up to ``end``; where the connection breaks, go on from there.

    :raises ObjectNotFound, ObjectChanged: it is not the object any more that was listed.
    :raises StorageUnreachable: several attempts in a row brought not one byte.
    """
    offset, failures = start, 0
    while True:
        try:
            with closing(store.stream(stored.key, start=offset, end=end, etag=stored.etag)) as pieces:
                for piece in pieces:
                    offset, failures = offset + len(piece), 0
                    yield piece
        except StorageUnreachable as error:
            if failures == len(_PAUSES_SECONDS):
                raise
            log.warning("Going on with %s from byte %d: %s", stored.key, offset, error.message)
            time.sleep(_PAUSES_SECONDS[failures])
            failures += 1
        else:
            return
