"""The hook: from an Airflow connection to a client of the server it names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_vectorbackup.backups.locations import Location, require_backend, require_location_of
from airflow_provider_vectorbackup.exceptions import InvalidRequest, VectorBackupError
from airflow_provider_vectorbackup.hooks import connection_form

if TYPE_CHECKING:
    from airflow_provider_vectorbackup.actions.sharing import SharedClient
    from airflow_provider_vectorbackup.hooks.connection import ConnectionSettings
    from airflow_provider_vectorbackup.weaviate.client import WeaviateClient


class WeaviateBackupHook(BaseHook):
    """Reaches a Weaviate server's backup API.

    :param weaviate_conn_id: a connection of type ``weaviate_backup``, or of Airflow's own type ``weaviate``.
    """

    conn_name_attr = "weaviate_conn_id"
    default_conn_name = "weaviate_default"
    conn_type = "weaviate_backup"
    hook_name = "Weaviate Backup"

    def __init__(self, weaviate_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weaviate_conn_id = weaviate_conn_id

    # Airflow below 3.2 asks the hook for its form; later versions read the same fields from the provider info.
    get_connection_form_widgets = staticmethod(connection_form.widgets)
    get_ui_field_behaviour = staticmethod(connection_form.field_behaviour)

    @cached_property
    def settings(self) -> ConnectionSettings:
        """The connection, read.

        :raises InvalidConnection: a field of it can't be used.
        """
        from airflow_provider_vectorbackup.hooks.connection import read_settings

        return read_settings(self.weaviate_conn_id, self.get_connection(self.weaviate_conn_id))

    def open_client(self) -> WeaviateClient:
        """Return a client for tasks; use it as a context manager."""
        from airflow_provider_vectorbackup.weaviate.client import WeaviateClient

        return WeaviateClient(self.settings.endpoint)

    @asynccontextmanager
    async def shared_client(self) -> AsyncIterator[SharedClient]:
        """Yield the client that all triggers on this server share.

        :raises VectorBackupError: the connection can't be used.
        """
        from asgiref.sync import sync_to_async

        from airflow_provider_vectorbackup.actions.sharing import shared_client

        # Reading a connection and masking its secrets block on Airflow's supervisor, which an event loop must not do.
        settings = await sync_to_async(lambda: self.settings)()
        async with shared_client(settings.endpoint) as client:
            yield client

    def backend(self, given: str | None) -> str:
        """Return the backend to use: the given one, else the connection's default.

        :raises InvalidRequest: there is none, or the server has no such backend.
        """
        backend = given or self.settings.default_backend
        if not backend:
            raise InvalidRequest(
                "No backend is given.",
                hint=f"Set backend, or default_backend in the connection {self.weaviate_conn_id!r}.",
            )
        return require_backend(backend)

    def location(self, backend: str, given: str | None) -> str | None:
        """Return where the backups of a backend lie, as a worker reaches them: the given URI, else the connection's.

        :raises InvalidRequest: it is no location, or not one of this backend.
        """
        uri = given or self.settings.locations.get(backend)
        return str(require_location_of(backend, Location.parse(uri))) if uri else None

    def test_connection(self) -> tuple[bool, str]:
        """Say which backends are enabled and which nodes are healthy (the "Test" button of the connection form)."""
        from airflow_provider_vectorbackup.actions.server import describe_server

        try:
            with self.open_client() as client:
                return describe_server(client)
        except VectorBackupError as error:
            return False, str(error)
