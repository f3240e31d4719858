"""Backup ids: which are legal, and which one a task run gets."""

from __future__ import annotations

import hashlib
import re

from airflow_provider_vectorbackup.exceptions import InvalidRequest

MAX_LENGTH = 100
"""Longest id we make or accept. The server has no limit of its own; an over-long id fails in storage, half-way."""

_LEGAL = re.compile(r"[a-z0-9_-]+")
_HASH_LENGTH = 10


def is_legal_id(text: str) -> bool:
    """Whether a server and every storage accept this as a backup id."""
    return len(text) <= MAX_LENGTH and _LEGAL.fullmatch(text) is not None


def require_legal_id(backup_id: str) -> str:
    """Return ``backup_id`` if a server and every storage accept it.

    :raises InvalidRequest: it is empty, too long, or has other characters than ``a-z 0-9 _ -``.
    """
    if not isinstance(backup_id, str) or not _LEGAL.fullmatch(backup_id):
        raise InvalidRequest(
            f"{backup_id!r} is not a backup id.", hint="Use lowercase letters, digits, '_' and '-' only, at least one."
        )
    if len(backup_id) > MAX_LENGTH:
        raise InvalidRequest(
            f"The backup id {backup_id[:40]!r}… has {len(backup_id)} characters.", hint=f"Use at most {MAX_LENGTH}."
        )
    return backup_id


def default_id(prefix: str, dag_id: str, task_id: str, run_id: str, map_index: int = -1) -> str:
    """Return the id of one task run's backup: the same for every try, another for every other task run.

    The readable part is sanitised and cut; the hash at its end is over the unsanitised parts, so that two runs whose
    names differ only in what was replaced still get two ids.
    """
    parts = [prefix, dag_id, task_id, run_id, *([str(map_index)] if map_index >= 0 else [])]
    digest = hashlib.sha256("\x00".join([*parts[:4], str(map_index)]).encode()).hexdigest()[:_HASH_LENGTH]
    readable = re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower()).strip("-")
    # Room is kept for the attempt suffix, so that a retry's id is legal too.
    return f"{readable[: MAX_LENGTH - _HASH_LENGTH - 6].rstrip('-')}-{digest}"


def attempt_id(backup_id: str, attempt: int) -> str:
    """Return the id of the ``attempt``-th try (from 1): the id itself, then ``<id>-a2``, ``<id>-a3`` and so on."""
    return backup_id if attempt == 1 else f"{backup_id}-a{attempt}"
