"""How the stand-in restores: start, status, cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.testing import choosing
from airflow_provider_vectorbackup.testing.backup_calls import require_config, require_id
from airflow_provider_vectorbackup.testing.model import (
    OTHER_CODES,
    RESTORE_STATES,
    Collection,
    EmptyAnswer,
    End,
    Key,
    Refused,
    Running,
    ServerState,
    StoredBackup,
    StoredRestore,
)
from airflow_provider_vectorbackup.weaviate import features

CANCELED_BY_USER = "restore canceled by user"


def restore(state: ServerState, backend: str, backup_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``POST /backups/{backend}/{id}/restore``."""
    config = body.get("config") or {}
    require_config(state, config)
    short = state.require_backend(backend, word="backend")
    key = state.key(short, backup_id, {"bucket": config.get("Bucket"), "path": config.get("Path")})
    made = _require_success(state, key)
    chosen = choosing.for_restore(state, body, list(made.collections))
    _require_nodes(state, made, body.get("node_mapping") or {})
    answer = {"backend": short, "classes": chosen, "id": backup_id, "path": key.uri, "status": "STARTED"}
    if _left_cancelling(state, key):
        return answer  # and nothing is done, now or ever
    if (slot := state.running.get(OperationKind.RESTORE)) is not None:
        raise Refused(422, f"restoration {slot.key.backup_id} already in progress")
    first = "TRANSFERRING" if state.knows(RESTORE_STATES) else "STARTED"
    state.restores[key] = StoredRestore(first)
    state.running[OperationKind.RESTORE] = Running(
        OperationKind.RESTORE,
        key,
        tuple(chosen),
        state.running_polls,
        overwrite_alias=bool(body.get("overwriteAlias")) and state.knows(features.OVERWRITE_ALIAS),
    )
    return answer


def status(state: ServerState, backend: str, backup_id: str, params: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``GET /backups/{backend}/{id}/restore``: of the running one, else of the last one there ever was."""
    short = state.require_backend(backend, code=500 if state.knows(OTHER_CODES) else 422)
    slot = state.running.get(OperationKind.RESTORE)
    if slot is not None and slot.key.backup_id == backup_id:
        key = slot.key
        _advance(state, slot)
    else:
        key = state.key(short, backup_id, params)
    if key not in state.restores:
        place = f"{backup_id}/restore_config.json"
        raise Refused(
            404,
            'coordinator cannot get status: metadata not found: "": '
            f"get object contents from {key.bucket}:{place} not found {place}: The specified key does not exist.",
        )
    last = state.restores[key]
    answer = {"backend": key.backend, "id": backup_id, "path": key.uri, "status": last.status}
    return answer | ({"error": last.error} if last.error else {})


def cancel(state: ServerState, backend: str, backup_id: str, params: Mapping[str, str]) -> None:
    """Answer ``DELETE /backups/{backend}/{id}/restore``; one that is not there is no error."""
    short = state.require_backend(backend)
    require_id(backup_id, 422 if state.knows(OTHER_CODES) else 500)
    slot = state.running.get(OperationKind.RESTORE)
    if slot is not None and slot.key.backup_id == backup_id:
        _cancel_running(state, slot)
        return
    key = state.key(short, backup_id, params)
    last = state.restores.get(key)
    if last is not None and last.status == "SUCCESS":
        raise Refused(422, f'restore "{backup_id}" already succeeded')
    if last is None and not state.knows(OTHER_CODES):
        state.restores[key] = StoredRestore("CANCELED")  # older servers make a state for what never was


def finish(state: ServerState, slot: Running, end: End | None = None) -> None:
    """End a running restore as it was told to end.

    Collections that are in the way make it fail; the others are restored all the same.
    """
    ended, error = end or (("SUCCESS", "") if slot.canceled else state.next_end())
    if ended == "SUCCESS" and (conflicts := _apply(state, slot)):
        ended, error = "FAILED", f"could not restore classes: [{', '.join(conflicts)}]"
    slot.ended = True
    state.free(slot, status=ended, error=error)


def _advance(state: ServerState, slot: Running) -> None:
    if slot.polls_left is None:
        return
    if slot.polls_left == 0:
        finish(state, slot)
        return
    slot.polls_left -= 1
    slot.looks += 1
    slot.finalizing = slot.polls_left == 0 and slot.looks > 1 and not slot.canceled
    if slot.finalizing and state.knows(RESTORE_STATES):
        state.restores[slot.key].status = "FINALIZING"


def _cancel_running(state: ServerState, slot: Running) -> None:
    if slot.finalizing:
        name = slot.key.backup_id
        raise Refused(422, f'restore "{name}" is applying schema changes and cannot be cancelled')
    if state.cancels_too_late:
        # CANCELED is shown for a moment, while the move to FINALIZING is being written; then it goes on.
        state.restores[slot.key] = StoredRestore("CANCELED", CANCELED_BY_USER)
        slot.canceled, slot.polls_left = True, 1
    else:
        state.free(slot, status="CANCELED", error=CANCELED_BY_USER)


def _require_success(state: ServerState, key: Key) -> StoredBackup:
    made = state.backups.get(key)
    if made is None:
        place = f"{key.backup_id}/backup_config.json"
        raise Refused(
            404,
            f'backup id "{key.backup_id}" does not exist: get object contents from {key.bucket}:{place} not found '
            f"{place}: The specified key does not exist.: metadata not found",
        )
    if made.status != "SUCCESS":
        raise Refused(422, f"invalid backup in scheduler {key.uri} status: {made.status}")
    return made


def _require_nodes(state: ServerState, made: StoredBackup, mapping: Mapping[str, str]) -> None:
    if set(mapping).difference(made.nodes):
        if not state.knows(OTHER_CODES):
            raise EmptyAnswer
        node = next(iter(mapping.values()))
        raise Refused(
            500, f'node "{node}": cannot commit : restorer cannot validate: metadata not found: "{node}/backup.json"'
        )
    for node in made.nodes:
        if (target := mapping.get(node, node)) not in state.nodes:
            raise Refused(
                500 if state.knows(OTHER_CODES) else 422,
                f'cannot resolve hostname for "{target}", nodes=map[{" ".join(made.nodes)}], nodeMapping=map[]',
            )


def _left_cancelling(state: ServerState, key: Key) -> bool:
    return key in state.restores and state.restores[key].status == "CANCELLING"


def _apply(state: ServerState, slot: Running) -> list[str]:
    """Put the collections into the schema; return what the server says of those that it could not put there."""
    made, conflicts = state.backups[slot.key], []
    brought: dict[str, Collection] = {}
    for name in slot.collections:
        if problem := _in_the_way(state, name):
            conflicts.append(f'"{name}": error when trying to restore class: {problem}')
            continue
        brought[name] = made.collections[name].copy()
        for alias, target in made.aliases.items():
            if target == name and (alias not in state.aliases or slot.overwrite_alias):
                state.aliases[alias] = name
    if state.after_restore is not None:
        state.after_restore(brought)
    state.collections |= brought
    return conflicts


def _in_the_way(state: ServerState, name: str) -> str:
    if name in state.collections:
        return f"class name {name} already exists"
    similar = next((other for other in state.collections if other.casefold() == name.casefold()), None)
    if similar:
        return f'class name {name} already exists as a different case, found similar class "{similar}"'
    return f"alias name {name} already exists" if name in state.aliases else ""
