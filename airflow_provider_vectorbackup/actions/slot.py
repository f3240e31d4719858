"""Wait until the server may have done with another operation."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from airflow_provider_vectorbackup.actions.sharing import SharedClient
from airflow_provider_vectorbackup.actions.waiting import jittered, wait, wait_async
from airflow_provider_vectorbackup.backups.slot import SlotWait
from airflow_provider_vectorbackup.exceptions import VectorBackupError
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


def wait_for_slot(client: WeaviateClient, slot: SlotWait) -> None:
    """Return when the blocking operation has ended and some time has passed."""
    if watch := slot.watch():
        # It may be known to another node only, or lie in another place: then time must do.
        with suppress(VectorBackupError):
            wait(client, watch, _quietly)
    time.sleep(jittered(slot.pause(time.time())))


async def wait_for_slot_async(client: SharedClient, slot: SlotWait) -> None:
    """Do what :func:`wait_for_slot` does, on an event loop."""
    if watch := slot.watch():
        with suppress(VectorBackupError):
            await wait_async(client, watch, _quietly)
    await asyncio.sleep(jittered(slot.pause(time.time())))


def _quietly(line: str) -> None:
    """Another operation's progress is not this task's news."""
