"""Tenants that a backup would leave out without a word, and what to do about them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum

from airflow_provider_vectorbackup.actions.memory import Memory
from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.exceptions import PreflightFailed, Rejected
from airflow_provider_vectorbackup.weaviate import calls, features
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

log = logging.getLogger(__name__)

Tenants = Mapping[str, Mapping[str, str]]
"""collection -> tenant -> activity (COLD, FROZEN, …)."""

ACTIVATION_DEADLINE_SECONDS = 600.0
_POLL_SECONDS = 0.5
_BATCH = 100

_NO_ROOM = "memory pressure"
_ROOM_SECONDS = 30.0
"""Memory mappings that a server has set aside for tenants are free again after a minute or so."""
_SHOWN = 200
"""Of the server's words, which name each tenant."""

_ACTIVATED = "activated_tenants"
"""Where it is remembered which tenants are to be put back."""


class InactiveTenants(StrEnum):
    """What to do about tenants that the server would leave out."""

    WARN = "warn"
    FAIL = "fail"
    ACTIVATE = "activate"


def tenants_left_out(client: WeaviateClient, server: Server, chosen: Sequence[str]) -> Tenants:
    """Return the tenants of the chosen collections that this server's backups do not contain.

    Offloaded ones (FROZEN) never are; inactive ones (COLD) only since 1.35.17, 1.36.10 and 1.37.0.
    """
    cold_is_contained = features.INACTIVE_TENANTS.is_in(server.version)
    contained = {"HOT", "COLD"} if cold_is_contained else {"HOT"}
    found: dict[str, dict[str, str]] = {}
    for collection in server.collections:
        if collection.is_multi_tenant and collection.name in chosen:
            tenants = client.send(calls.read_tenants(collection.name))
            found[collection.name] = {t.name: t.activity for t in tenants if t.activity not in contained}
    return {name: tenants for name, tenants in found.items() if tenants}


def prepare_tenants(
    client: WeaviateClient,
    left_out: Tenants,
    policy: InactiveTenants,
    remember: Callable[[Tenants], None],
) -> Tenants:
    """Do what ``policy`` says about tenants that would be left out; return those made active, with what they were.

    :param remember: is told before anything is changed, so that a later try can put it back.
    :raises PreflightFailed: the policy is to fail, or a tenant did not become active.
    """
    if not left_out:
        return {}
    what = "; ".join(f"{name}: {names_shown(tenants)}" for name, tenants in sorted(left_out.items()))
    if policy is InactiveTenants.FAIL:
        raise PreflightFailed(
            f"This server's backup would leave out inactive tenants ({what}).",
            hint="Activate them, or set inactive_tenants to 'activate' (and put back afterwards) or 'warn'.",
        )
    if policy is InactiveTenants.WARN:
        log.warning("The backup will NOT contain these inactive tenants: %s", what)
        return {}
    remember(left_out)
    try:
        _activate(client, left_out)
    except BaseException:
        put_back(client, left_out)
        raise
    log.info("Activated for this backup, to be put back afterwards: %s", what)
    return left_out


@contextmanager
def activated(client: WeaviateClient, tenants: Tenants, memory: Memory) -> Iterator[None]:
    """Keep tenants active meanwhile, and put them back.

    :param memory: has them for :func:`put_back_left`, if this process is killed.
    :raises PreflightFailed: one did not become active.
    """
    memory.set(_ACTIVATED, {name: dict(activities) for name, activities in tenants.items()})
    try:
        _activate(client, tenants)
        yield
    finally:
        put_back(client, tenants)
        memory.delete(_ACTIVATED)


def put_back_left(client: WeaviateClient, memory: Memory) -> None:
    """Put back tenants that an earlier try of this task activated and was killed over."""
    if left := memory.get(_ACTIVATED):
        put_back(client, left)
        memory.delete(_ACTIVATED)


def put_back(client: WeaviateClient, tenants: Tenants) -> None:
    """Give tenants the activity they had."""
    for collection, activities in tenants.items():
        # A tenant found in a transition (FREEZING, UNFREEZING) can only be sent to where it was going or coming from.
        settled = {name: "COLD" if activity == "COLD" else "FROZEN" for name, activity in activities.items()}
        _set(client, collection, settled)
        log.info("Put back %d tenant(s) of %s.", len(settled), collection)


def _activate(client: WeaviateClient, tenants: Tenants) -> None:
    deadline = time.monotonic() + ACTIVATION_DEADLINE_SECONDS
    for collection, activities in tenants.items():
        _set_when_there_is_room(client, collection, dict.fromkeys(activities, "HOT"), deadline)
    for collection, activities in tenants.items():
        while waiting := _inactive(client, collection, activities):
            if time.monotonic() > deadline:
                raise PreflightFailed(
                    f"Tenants of {collection} did not become active in {ACTIVATION_DEADLINE_SECONDS:g} s: "
                    f"{names_shown(waiting)}."
                )
            time.sleep(_POLL_SECONDS)


def _set_when_there_is_room(
    client: WeaviateClient, collection: str, activities: Mapping[str, str], deadline: float
) -> None:
    """Set activities; a server that has just loaded many tenants may refuse more for some minutes."""
    while True:
        try:
            _set(client, collection, activities)
        except Rejected as error:
            if _NO_ROOM not in error.message:
                raise
            if time.monotonic() > deadline:
                raise PreflightFailed(
                    f"The server has no room for more active tenants of {collection}: {error.message[:_SHOWN]}",
                    hint="Raise vm.max_map_count on its nodes, or deactivate tenants that are not in use.",
                ) from error
        else:
            return
        log.info("The server has no room for more active tenants of %s just now; waiting.", collection)
        time.sleep(_ROOM_SECONDS)


def _inactive(client: WeaviateClient, collection: str, names: Mapping[str, str]) -> list[str]:
    tenants = client.send(calls.read_tenants(collection))
    return [tenant.name for tenant in tenants if tenant.name in names and not tenant.is_active]


def _set(client: WeaviateClient, collection: str, activities: Mapping[str, str]) -> None:
    """Set activities, 100 tenants a request: the server takes no more."""
    items = list(activities.items())
    for start in range(0, len(items), _BATCH):
        client.send(calls.set_tenants(collection, dict(items[start : start + _BATCH])))
