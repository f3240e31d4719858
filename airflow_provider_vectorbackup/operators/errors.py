"""Our errors as Airflow's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_vectorbackup.compat import AirflowFailException, AirflowSkipException
from airflow_provider_vectorbackup.exceptions import NothingToRestore, VectorBackupError


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn our errors into Airflow's: what can't pass by itself fails at once, the rest is left to retries."""
    try:
        yield
    except NothingToRestore as error:
        raise AirflowSkipException(str(error)) from error
    except VectorBackupError as error:
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from error
