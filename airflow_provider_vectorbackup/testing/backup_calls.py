"""How the stand-in makes backups: create, status, list, cancel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.testing import choosing
from airflow_provider_vectorbackup.testing.model import (
    ORDER,
    OTHER_CODES,
    SIZE,
    TIMES,
    End,
    Key,
    Refused,
    Running,
    ServerState,
    StoredBackup,
)
from airflow_provider_vectorbackup.weaviate import features
from airflow_provider_vectorbackup.weaviate.calls import CPU_PERCENTAGES, GZIP_LEVELS, OTHER_LEVELS

ZERO_TIME = "0001-01-01T00:00:00.000Z"
_BYTES_PER_COLLECTION = 1 << 20
_CANCELED = 'producer: write files for shard "aBcD": context canceled'
_ID = "base backup cannot be the same as the new backup ID: "


def create(state: ServerState, backend: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``POST /backups/{backend}``."""
    config = body.get("config") or {}
    require_config(state, config)
    short = state.require_backend(backend, word="backend")
    backup_id, base_id = str(body.get("id") or ""), _base_id(state, body)
    if base_id == backup_id:
        raise Refused(500, _ID + backup_id)
    require_id(backup_id, 422)
    chosen = choosing.for_backup(state, body)
    key = state.key(short, backup_id, {"bucket": config.get("Bucket"), "path": config.get("Path")})
    _require_unused(state, key)
    compression = _compression(config)
    if base_id:
        _require_base(state, key, base_id, compression)
    if (slot := state.running.get(OperationKind.BACKUP)) is not None:
        raise Refused(422, f"backup {slot.key.backup_id} already in progress")
    _start(state, key, chosen, base_id, compression)
    answer = {"backend": short, "classes": chosen, "id": backup_id, "path": key.uri, "status": "STARTED"}
    return answer | ({"bucket": config["Bucket"]} if config.get("Bucket") else {})


def status(state: ServerState, backend: str, backup_id: str, params: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``GET /backups/{backend}/{id}``; a running one is found by its id alone, wherever it is asked for."""
    short = state.require_backend(backend)
    slot = state.running.get(OperationKind.BACKUP)
    if slot is not None and slot.key.backup_id == backup_id:
        early = _advance(state, slot)
        return _told(state, slot.key, state.backups[slot.key], "SUCCESS" if early else None)
    key = state.key(short, backup_id, params)
    if key not in state.backups:
        raise Refused(404, f'coordinator cannot get status: metadata not found: "": {_not_found(key)}')
    return _told(state, key, state.backups[key])


def list_all(state: ServerState, backend: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """Answer ``GET /backups/{backend}``: what is in the default place, the newest first."""
    order = params.get("order", "desc")
    if state.knows(ORDER) and order not in ("asc", "desc"):
        raise Refused(422, "order in query should be one of [asc desc]", framework=606)
    short = state.backend_of(backend)
    if short is None:
        if state.knows(OTHER_CODES):
            raise Refused(422, f'no backup backend "{backend}": backup: {backend} not found')
        raise Refused(500, f"backup: {backend} not found")
    default = state.key(short, "", {})
    found = [(key, made) for key, made in state.backups.items() if key._replace(backup_id="") == default]
    found.sort(key=lambda item: item[1].started_at, reverse=not (state.knows(ORDER) and order == "asc"))
    fields = ("id", "classes", "status", "startedAt", "completedAt", "size")
    entries = [_told(state, key, made) | {"classes": list(made.collections)} for key, made in found]
    return [{name: entry[name] for name in fields if name in entry} for entry in entries]


def cancel(state: ServerState, backend: str, backup_id: str, params: Mapping[str, str]) -> None:
    """Answer ``DELETE /backups/{backend}/{id}``; one that is not there is no error."""
    short = state.require_backend(backend)
    require_id(backup_id, 422 if state.knows(OTHER_CODES) else 500)
    slot = state.running.get(OperationKind.BACKUP)
    if slot is not None and slot.key.backup_id == backup_id:
        slot.canceled = not state.cancels_too_late
        slot.polls_left = 1 if slot.polls_left is None else min(slot.polls_left, 1)
        return
    made = state.backups.get(state.key(short, backup_id, params))
    if made is not None and made.status == "SUCCESS":
        raise Refused(422, f'backup "{backup_id}" already succeeded')


def finish(state: ServerState, slot: Running, end: End | None = None) -> None:
    """End a running backup as it was told to end."""
    ended, error = end or (("CANCELED", _CANCELED) if slot.canceled else state.next_end())
    slot.ended, slot.polls_left = True, 0
    if ended == "SUCCESS":
        # A real server takes each shard at a moment of its own. Here it is the end for all, so that a test can make
        # objects that come while a backup runs part of it.
        _take(state, state.backups[slot.key])
    if ended != "SUCCESS":
        state.free(slot, status=ended, error=error, completed_at=state.now())
    elif not slot.early_polls_left:
        _write_success(state, slot)


def require_id(backup_id: str, status_code: int) -> None:
    """Refuse an id with other characters than the server takes."""
    if not re.fullmatch(r"[a-z0-9_-]+", backup_id):
        raise Refused(status_code, f"invalid backup id: '{backup_id}' allowed characters are lowercase, 0-9, _, -")


def require_config(state: ServerState, config: Mapping[str, Any]) -> None:
    """Refuse what the API's description forbids, before anything else is looked at."""
    percentage, level = config.get("CPUPercentage") or CPU_PERCENTAGES[-1], config.get("CompressionLevel")
    if percentage > CPU_PERCENTAGES[-1]:
        raise Refused(422, "config.CPUPercentage in body should be less than or equal to 80", framework=608)
    if percentage < CPU_PERCENTAGES[0]:
        raise Refused(422, "config.CPUPercentage in body should be greater than or equal to 1", framework=609)
    levels = [*GZIP_LEVELS, *(OTHER_LEVELS if state.knows(features.ZSTD_AND_NONE) else ())]
    if level and level not in levels:
        listed = " ".join(levels)
        raise Refused(422, f"config.CompressionLevel in body should be one of [{listed}]", framework=606)


def _start(state: ServerState, key: Key, chosen: list[str], base_id: str, compression: str) -> None:
    made = StoredBackup(
        "STARTED",
        state.now(),
        {name: state.collections[name] for name in chosen},
        nodes=tuple(state.nodes),
        base_id=base_id,
        compression=compression,
    )
    _take(state, made)
    state.backups[key] = made
    polls, early = state.running_polls, state.early_success_polls
    state.running[OperationKind.BACKUP] = Running(OperationKind.BACKUP, key, tuple(chosen), polls, early)


def _take(state: ServerState, made: StoredBackup) -> None:
    """Let a backup hold what its collections are now; one that was deleted meanwhile stays as it was."""
    left_out = frozenset({"FROZEN"} if state.knows(features.INACTIVE_TENANTS) else {"FROZEN", "COLD"})
    left = [name for name in made.collections if name in state.collections]
    made.collections |= {name: state.collections[name].copy(left_out) for name in left}
    made.aliases = {alias: name for alias, name in state.aliases.items() if name in made.collections}


def _advance(state: ServerState, slot: Running) -> bool:
    """Take one look's worth of time; return whether SUCCESS is answered that is not in storage yet."""
    if not slot.ended:
        if slot.polls_left is None:
            return False
        if slot.polls_left:
            slot.polls_left -= 1
            return False
        finish(state, slot)
    if OperationKind.BACKUP not in state.running:
        return False
    if slot.early_polls_left:
        slot.early_polls_left -= 1
        return True
    _write_success(state, slot)
    return False


def _write_success(state: ServerState, slot: Running) -> None:
    if state.loses_final_write:
        state.free(slot)
    else:
        state.free(slot, status="SUCCESS", completed_at=state.now())


def _told(state: ServerState, key: Key, made: StoredBackup, status_now: str | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "backend": key.backend,
        "id": key.backup_id,
        "path": key.uri,
        "status": status_now or made.status,
    }
    if made.error:
        answer["error"] = made.error
    if state.knows(TIMES):
        answer |= {"startedAt": wire_time(made.started_at), "completedAt": wire_time(made.completed_at)}
    if state.knows(SIZE) and made.status == "SUCCESS":
        answer["size"] = len(made.collections) * _BYTES_PER_COLLECTION / 2**30
    return answer


def wire_time(time: datetime | None) -> str:
    """Return a time as the server writes it; the year 1 stands for none."""
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z" if time else ZERO_TIME


def _base_id(state: ServerState, body: Mapping[str, Any]) -> str:
    """Read the base; an older server does not see the field."""
    given = body.get("incremental_base_backup_id") if state.knows(features.INCREMENTAL) else None
    return str(given or "")


def _require_unused(state: ServerState, key: Key) -> None:
    made = state.backups.get(key)
    if made is None or key == _running_key(state):
        return
    if made.status == "CANCELED":
        raise Refused(422, f'check if backup "{key.backup_id}" exists at "{key.uri}": %!w(<nil>)')
    raise Refused(422, f'backup "{key.backup_id}" already exists at "{key.uri}"')


def _running_key(state: ServerState) -> Key | None:
    slot = state.running.get(OperationKind.BACKUP)
    return slot.key if slot else None


def _require_base(state: ServerState, key: Key, base_id: str, compression: str) -> None:
    problem = "resolve base backup chain: "
    base_key = key._replace(backup_id=base_id)
    base = state.backups.get(base_key)
    if base is None:
        raise Refused(422, f"{problem}could not fetch base backup: {_not_found(base_key)}")
    if base.status != "SUCCESS":
        raise Refused(422, f'{problem}base backup "{base_id}" has status "{base.status}", expected "SUCCESS"')
    if base.compression != compression:
        raise Refused(
            422,
            f'{problem}base backup "{base_id}" has compression type "{base.compression}", expected "{compression}"',
        )


def _compression(config: Mapping[str, Any]) -> str:
    level = str(config.get("CompressionLevel") or "")
    return "zstd" if level.startswith("Zstd") else "none" if level == "NoCompression" else "gzip"


def _not_found(key: Key) -> str:
    place = f"{key.backup_id}/backup_config.json"
    return f"get object contents from {key.bucket}:{place} not found {place}: The specified key does not exist."
