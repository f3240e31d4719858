"""What hypothesis makes of the values that several tests are about."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from airflow_provider_vectorbackup import exceptions
from airflow_provider_vectorbackup.backups.operation import Operation
from airflow_provider_vectorbackup.backups.status import BackupAddress, OperationKind, OperationStatus, Status
from airflow_provider_vectorbackup.exceptions import VectorBackupError

times = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
texts = st.text(max_size=20)
kinds = st.sampled_from(OperationKind)
addresses = st.builds(
    BackupAddress,
    st.sampled_from(["s3", "gcs", "azure", "filesystem"]),
    st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True),
    st.none() | texts,
    st.none() | texts,
)
statuses = st.builds(
    OperationStatus,
    kinds,
    st.sampled_from(Status),
    texts,
    texts,
    times,
    times,
    st.none() | st.integers(min_value=0),
    st.none() | texts,
)
operations = st.builds(
    Operation,
    kinds,
    addresses,
    bucket=st.none() | texts,
    path=st.none() | texts,
    server_path=texts,
    location=st.none() | texts,
    collections=st.lists(texts, max_size=3).map(tuple),
    base_backup_id=st.none() | texts,
    server_version=texts,
    attempts=st.integers(1, 50),
    reactivated=st.dictionaries(texts, st.dictionaries(texts, texts, max_size=2), max_size=2),
)


def _errors_below(kind: type[VectorBackupError]) -> list[type[VectorBackupError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in _errors_below(below))]


# A part's own, which it does not let out, may be loaded by now as well.
ERROR_KINDS = tuple(
    kind for kind in dict.fromkeys(_errors_below(VectorBackupError)) if kind.__module__ == exceptions.__name__
)


@st.composite
def _error(draw: st.DrawFn) -> VectorBackupError:
    kind = draw(st.sampled_from(ERROR_KINDS))
    return kind(draw(texts), hint=draw(texts), backup_id=draw(st.none() | texts))


errors = _error()
