from __future__ import annotations

import pytest

from airflow_provider_vectorbackup import exceptions
from airflow_provider_vectorbackup.exceptions import InvalidRequest, VectorBackupError, WeaviateError

ALL = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, VectorBackupError)]
RETRYABLE = {
    "ServerNotReady",
    "BackupInUse",
    "CopyIncomplete",
    "OperationFailed",
    "OperationLost",
    "OperationInProgress",
    "ObjectChanged",
    "StorageUnreachable",
    "ServerFault",
    "Unreachable",
}


@pytest.mark.parametrize("kind", ALL)
def test_stands_in_the_tree_below_its_parent(kind: type[VectorBackupError]) -> None:
    lines = (exceptions.__doc__ or "").splitlines()
    depths = {
        line.strip("│├└─ ").split(" ")[0]: len(line) - len(line.lstrip("│├└─ ")) for line in lines if line.strip()
    }
    if kind is not VectorBackupError:
        parent = kind.__mro__[1]
        assert depths[kind.__name__] == depths[parent.__name__] + 4
    assert kind.__doc__


def test_what_may_pass_by_itself() -> None:
    assert {kind.__name__ for kind in ALL if kind.retryable} == RETRYABLE


@pytest.mark.parametrize("kind", ALL)
def test_fields(kind: type[VectorBackupError]) -> None:
    error = kind("What is wrong.", hint="What to do.", backup_id="x1")
    assert (str(error), error.message, error.hint, error.backup_id) == (
        "What is wrong. What to do.",
        "What is wrong.",
        "What to do.",
        "x1",
    )
    assert str(kind("What is wrong.")) == "What is wrong."


def test_answers_carry_their_code() -> None:
    error = WeaviateError("No.", status_code=503, may_have_started=True)
    assert (error.status_code, error.may_have_started) == (503, True)


def test_bad_values_are_value_errors() -> None:
    assert issubclass(InvalidRequest, ValueError)
