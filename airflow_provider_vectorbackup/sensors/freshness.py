"""Sensor: watch that there is a backup that is whole and young enough."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.compat import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from airflow_provider_vectorbackup.exceptions import StorageUnreachable
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context


class WeaviateBackupFreshnessSensor(BaseSensorOperator):
    """Green only if storage holds a backup that is SUCCESS, whole by a quick verification, and young enough.

    It asks the storage alone, not the server: nobody else notices that backups stopped. Until then it says in its log,
    and in its error at the end, how old the newest whole backup is, and why newer ones do not count.

    With ``wait=False`` it is a plain task that looks once and fails at once, for a Dag that alerts.

    Returns (XCom): ``backup_id``, ``uri``, ``started_at`` (ISO 8601, UTC), ``age_seconds``.

    :param location: where the backups lie, such as ``s3://aws_default@bucket/path``.
    :param max_age: how old the newest one may be, from its start on, in seconds or as a timedelta.
    :param collections: what it must hold at least; a list, or the JSON text of one.
    :param id_prefix: what the ids of backups that count begin with, where several schedules share a location.
    :param wait: whether to look again, every ``poke_interval``, until the sensor's ``timeout``.
    :param multiple_outputs: whether each key of the result is an XCom too.
    """

    template_fields: Sequence[str] = ("location", "max_age", "collections", "id_prefix", "wait")
    ui_color = "#f1ecd2"

    def __init__(
        self,
        *,
        location: str,
        max_age: float | str | timedelta,
        collections: Sequence[str] | str | None = None,
        id_prefix: str = "",
        wait: bool | str = True,
        poke_interval: float | timedelta = 300.0,
        mode: str = "reschedule",
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, mode=mode, multiple_outputs=multiple_outputs, **kwargs)
        self.location = location
        self.max_age = max_age
        self.collections = collections
        self.id_prefix = id_prefix
        self.wait = wait
        self._news = ""

    def execute(self, context: Context) -> Any:
        """Look until there is one; the error at the end says what was seen last."""
        try:
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowSkipException) as error:
            raise type(error)(f"{error} {self._news}".rstrip()) from error

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once."""
        from airflow_provider_vectorbackup.actions.freshness import Wanted, look_for_fresh
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with airflow_errors():
            location = Location.parse(self.location)
            max_age = timedelta(seconds=arguments.seconds("max_age", self.max_age))
            wanted = Wanted(arguments.text(self.id_prefix) or "", arguments.names("collections", self.collections))
            waits = arguments.flag("wait", self.wait)
            try:
                with closing(open_store(location)) as store:
                    seen = look_for_fresh(store, location, max_age, datetime.now(UTC), wanted)
            except StorageUnreachable as error:
                if not waits:
                    raise
                self._tell(str(error))
                return False
        self._tell(seen.in_words(max_age))
        if seen.is_fresh:
            return PokeReturnValue(is_done=True, xcom_value=seen.summary(location))
        if not waits:
            raise AirflowFailException(f"{location}: {self._news}")
        return False

    def _tell(self, news: str) -> None:
        self._news = news
        self.log.info("%s", news)
