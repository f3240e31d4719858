"""Record what a cluster holds, and compare a cluster with what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_vectorbackup.backups.ids import require_legal_id
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.compat import memory_of
from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.hooks.weaviate import WeaviateBackupHook
from airflow_provider_vectorbackup.operators import arguments
from airflow_provider_vectorbackup.operators.base import id_of_run
from airflow_provider_vectorbackup.operators.errors import airflow_errors
from airflow_provider_vectorbackup.operators.killing import UnwindsWhenKilled

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_vectorbackup.actions.content_comparing import CompareOrder
    from airflow_provider_vectorbackup.actions.content_recording import RecordOrder
    from airflow_provider_vectorbackup.actions.content_records import RecordPlace
    from airflow_provider_vectorbackup.actions.server import Server
    from airflow_provider_vectorbackup.backups.content import SampleSize


class ContentTask(UnwindsWhenKilled, BaseOperator):
    """What every task on the contents of a cluster can be told.

    :param weaviate_conn_id: the connection, of type ``weaviate_backup`` or ``weaviate``.
    :param include: the collections; wildcards ``*`` and ``?`` are allowed. A list, or the JSON text of one. If neither
        ``include`` nor ``exclude`` is given: all.
    :param exclude: the collections to leave out; not together with ``include``.
    :param inactive_tenants: about tenants that are not active, whose content can't be read: ``warn`` (and leave them
        out), ``fail``, or ``activate`` (a hundred at a time, and put back afterwards).
    :param multiple_outputs: whether each key of the result is an XCom too.
    """

    template_fields: Sequence[str] = ("weaviate_conn_id", "include", "exclude", "inactive_tenants")
    template_fields_renderers = dict.fromkeys(("include", "exclude"), "json")
    ui_color = "#f3e8fb"

    def __init__(
        self,
        *,
        weaviate_conn_id: str = WeaviateBackupHook.default_conn_name,
        include: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str | None = None,
        inactive_tenants: str = "warn",
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.weaviate_conn_id = weaviate_conn_id
        self.include = include
        self.exclude = exclude
        self.inactive_tenants = inactive_tenants

    @property
    def hook(self) -> WeaviateBackupHook:
        """The hook for this task's connection."""
        return WeaviateBackupHook(self.weaviate_conn_id)

    def chosen(self) -> dict[str, tuple[str, ...]]:
        """Return the collections that are meant, as they are given."""
        return {
            "include": arguments.names("include", self.include),
            "exclude": arguments.names("exclude", self.exclude),
        }


class WeaviateContentRecordOperator(ContentTask):
    """Record what a cluster holds, to compare another one, or the same one later, with it.

    By collection and tenant: the number of objects, a digest of the configuration, and a sample of objects with their
    properties and all of their vectors, and what searches near these find. The record lies in storage, beside a backup;
    its URI is the XCom ``uri``.

    A cluster that is written to takes two records, one just before a backup of it and one just after, ``earlier`` being
    the first: then the same objects are looked at again. ``WeaviateCreateBackupOperator`` takes both by itself with
    ``content_record=True``.

    Returns (XCom): see :meth:`airflow_provider_vectorbackup.actions.content_recording.RecordResult.summary`.

    :param backup_id: the backup that it lies beside; if not given, an id of this task's own, under which there is none.
    :param location: where that backup lies, as a worker reaches it; the connection's location if not given.
    :param backend: whose location that is; the connection's default if not given.
    :param earlier: the URI of a record whose sample is looked at again.
    :param sample_objects: how many objects of each collection are looked at, over all of its tenants.
    :param sample_searches: near how many of these is searched, for each named vector.
    :param nearest: how many objects a search is to find.

    All other parameters: :class:`ContentTask`.
    """

    template_fields: Sequence[str] = (
        *ContentTask.template_fields,
        "backup_id",
        "location",
        "backend",
        "earlier",
        "sample_objects",
        "sample_searches",
        "nearest",
    )

    def __init__(
        self,
        *,
        backup_id: str | None = None,
        location: str | None = None,
        backend: str | None = None,
        earlier: str | None = None,
        sample_objects: int | str = 50,
        sample_searches: int | str = 10,
        nearest: int | str = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup_id = backup_id
        self.location = location
        self.backend = backend
        self.earlier = earlier
        self.sample_objects = sample_objects
        self.sample_searches = sample_searches
        self.nearest = nearest

    def execute(self, context: Context) -> dict[str, Any]:
        """Record what the cluster holds, and return what was recorded."""
        from airflow_provider_vectorbackup.actions.content_recording import record_content
        from airflow_provider_vectorbackup.actions.server import whole_server
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with airflow_errors(), self.unwinding(), self.hook.open_client() as client:
            server = whole_server(client)
            order = self._order(context, server)
            return record_content(client, server, order, memory_of(context), open_store).summary()

    def _order(self, context: Context, server: Server) -> RecordOrder:
        from airflow_provider_vectorbackup.actions.content_recording import RecordOrder
        from airflow_provider_vectorbackup.actions.content_records import RecordPlace
        from airflow_provider_vectorbackup.actions.tenants import InactiveTenants
        from airflow_provider_vectorbackup.backups.content import Moment
        from airflow_provider_vectorbackup.backups.selection import select_collections

        earlier, backup_id = arguments.text(self.earlier), arguments.text(self.backup_id) or id_of_run(context)
        place = RecordPlace.beside(
            self._location(), require_legal_id(backup_id), Moment.AFTER if earlier else Moment.BEFORE
        )
        return RecordOrder(
            select_collections(server.collection_names, **self.chosen(), where="the server"),
            place,
            RecordPlace.parse(earlier) if earlier else None,
            self._sample(),
            arguments.choice("inactive_tenants", self.inactive_tenants, InactiveTenants),
        )

    def _location(self) -> Location:
        given = arguments.text(self.location)
        uri = given or self.hook.location(self.hook.backend(arguments.text(self.backend)), None)
        if not uri:
            raise InvalidRequest(
                "There is no location to put the record into.",
                hint=f"Give location, or a location of the backend in the connection {self.weaviate_conn_id!r}.",
            )
        return Location.parse(uri)

    def _sample(self) -> SampleSize:
        from airflow_provider_vectorbackup.backups.content import SampleSize

        return SampleSize(
            arguments.positive("sample_objects", self.sample_objects),
            arguments.positive("sample_searches", self.sample_searches),
            arguments.positive("nearest", self.nearest),
        )


class WeaviateCompareContentOperator(ContentTask):
    """Compare what a cluster holds with what was recorded, just before and just after a backup of it.

    Counts must lie between the two records; objects and the answers of searches that are the same in both must be found
    again. To each collection one object is written and deleted, to prove that it takes writes. The task fails with a
    list of all that differs.

    Returns (XCom): see :meth:`airflow_provider_vectorbackup.backups.content_comparison.Comparison.summary`. A task that
    fails leaves the same as XCom ``report``.

    :param expected: the URI of a backup with records beside it, or of a record, or a list of the two records (or the
        JSON text of one).
    :param strict: whether nothing may have been written between the two records, and no other collection be there.
    :param vector_tolerance: by how much the values of a vector may differ, relative to its largest.
    :param min_recall: how many of the nearest objects that were found then must be found again, 0 to 1.
    :param probe_writes: whether an object is written to each collection, and deleted.

    All other parameters: :class:`ContentTask`.
    """

    template_fields: Sequence[str] = (
        *ContentTask.template_fields,
        "expected",
        "strict",
        "vector_tolerance",
        "min_recall",
        "probe_writes",
    )

    def __init__(
        self,
        *,
        expected: str | Sequence[str],
        strict: bool | str = False,
        vector_tolerance: float | str = 1e-5,
        min_recall: float | str = 0.95,
        probe_writes: bool | str = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.expected = expected
        self.strict = strict
        self.vector_tolerance = vector_tolerance
        self.min_recall = min_recall
        self.probe_writes = probe_writes

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare, and return the report's summary; fail if the cluster does not hold what was recorded."""
        from airflow_provider_vectorbackup.actions.content_comparing import compare_content, log_comparison
        from airflow_provider_vectorbackup.actions.server import whole_server
        from airflow_provider_vectorbackup.hooks.storage import open_store

        with airflow_errors(), self.unwinding(), self.hook.open_client() as client:
            comparison = compare_content(client, whole_server(client), self._order(), memory_of(context), open_store)
            log_comparison(comparison)
            if comparison.differences:
                context["ti"].xcom_push(key="report", value=comparison.summary())
            comparison.require_equal()
            return comparison.summary()

    def _order(self) -> CompareOrder:
        from airflow_provider_vectorbackup.actions.content_comparing import CompareOrder
        from airflow_provider_vectorbackup.actions.tenants import InactiveTenants
        from airflow_provider_vectorbackup.backups.content_comparison import Tolerance

        tolerance = Tolerance(
            arguments.number("vector_tolerance", self.vector_tolerance),
            arguments.fraction("min_recall", self.min_recall),
            is_strict=arguments.flag("strict", self.strict),
        )
        return CompareOrder(
            self._expected(),
            **self.chosen(),
            tolerance=tolerance,
            inactive=arguments.choice("inactive_tenants", self.inactive_tenants, InactiveTenants),
            probes_writes=arguments.flag("probe_writes", self.probe_writes),
        )

    def _expected(self) -> tuple[RecordPlace, ...]:
        from airflow_provider_vectorbackup.actions.content_records import RecordPlace, is_record, places_beside
        from airflow_provider_vectorbackup.hooks.storage import open_store

        given = self.expected
        uris = (given,) if isinstance(given, str) and not given.startswith("[") else arguments.names("expected", given)
        if len(uris) == 1 and not is_record(uris[0]):
            location, backup_id = Location.of_backup(uris[0])
            with closing(open_store(location)) as store:
                return places_beside(store, location, require_legal_id(backup_id))
        if len(uris) not in (1, 2):
            raise InvalidRequest(f"expected names {len(uris)} records.", hint="Give one, or those before and after.")
        return tuple(map(RecordPlace.parse, uris))
