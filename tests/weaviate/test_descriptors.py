from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.backups.status import OperationKind, Status
from airflow_provider_vectorbackup.exceptions import BrokenDescriptor
from airflow_provider_vectorbackup.weaviate.descriptors import StoredState, global_key, node_key, parse_state


def test_state_of_a_backup() -> None:
    content = {
        "id": "x1",
        "status": "STARTED",
        "error": "",
        "startedAt": "2026-11-22T03:00:00.123456789Z",
        "nodes": {"w2": {"classes": ["Article"]}, "w1": {"classes": []}},
        "somethingNew": [1],
    }
    state = parse_state("x1/backup_config.json", json.dumps(content).encode())
    # To the nanosecond: a restore has no other mark of its own.
    assert state == StoredState(Status.STARTED, "", "2026-11-22T03:00:00.123456789Z", ("w1", "w2"))


def test_keys() -> None:
    assert global_key(OperationKind.BACKUP, "x1") == "x1/backup_config.json"
    assert global_key(OperationKind.RESTORE, "x1") == "x1/restore_config.json"
    assert node_key("x1", "w1") == "x1/w1/backup.json"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"text"', b'{"status": "SUCCESS", "nodes": 5}'])
def test_broken_one_is_named(content: bytes) -> None:
    with pytest.raises(BrokenDescriptor, match=r"The descriptor x1/w1/backup\.json can't be read"):
        parse_state("x1/w1/backup.json", content)


@given(st.recursive(st.none() | st.booleans() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_whatever_it_holds_is_read_or_refused(content: Any) -> None:
    try:
        state = parse_state("x1/backup_config.json", json.dumps(content).encode())
    except BrokenDescriptor:
        return
    assert isinstance(state.status, Status)
