"""A Weaviate server for tests: its API for backups and contents on 127.0.0.1, in memory, with faults on demand."""

from __future__ import annotations

import copy
import json
import re
import threading
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from airflow_provider_vectorbackup.backups.status import OperationKind
from airflow_provider_vectorbackup.testing import backup_calls, object_calls, restore_calls, routes
from airflow_provider_vectorbackup.testing.faults import Fault, Faults, encoded
from airflow_provider_vectorbackup.testing.loopback_server import ADDRESS, LoopbackServer
from airflow_provider_vectorbackup.testing.model import Collection, Key, ServerState, StoredBackup, StoredRestore
from airflow_provider_vectorbackup.testing.routes import Answer, SeenRequest

_BACKUP_TAKES = timedelta(seconds=2)


class WeaviateStandIn(ServerState):
    """Answers as Weaviate does to create, status, list, cancel, restore, and to meta, nodes, schema, tenants, aliases.

    It holds objects too: they can be written, listed, counted, searched by vector, and backups carry them.
    A context manager. An operation ends after ``running_polls`` looks at its status, or with :meth:`finish`. Paths are
    those below ``/v1``. What else can be set: :class:`~airflow_provider_vectorbackup.testing.model.ServerState`.

    >>> with WeaviateStandIn("1.37.0") as server:
    ...     server.add_collection("Article")
    ...     server.fail_next("GET", "/nodes", status=503)
    ...     server.url
    'http://127.0.0.1:…'

    :ivar requests: what was asked, in order.
    """

    def __init__(self, version: str = "1.39.2") -> None:
        super().__init__(version)
        self.requests: list[SeenRequest] = []
        self._faults = Faults()
        self._lock = threading.Lock()
        self._server: LoopbackServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen on a free port."""
        self._server = LoopbackServer(self._answer, self._take_fault)

    def stop(self) -> None:
        """Cut all connections; what the server knows stays."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def port(self) -> int:
        """Where it listens; another one after each start."""
        if self._server is None:
            raise RuntimeError("The stand-in was not started.")
        return self._server.port

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{ADDRESS}:{self.port}"

    def connection_json(self, **extra: Any) -> str:
        """Return an Airflow connection to it, as the value of a variable ``AIRFLOW_CONN_…``."""
        token = {"token": min(self.api_keys)} if self.api_keys else {}
        fields = {"conn_type": "weaviate_backup", "host": ADDRESS, "port": self.port, "extra": token | extra}
        return json.dumps(fields)

    def add_collection(self, name: str, tenants: Mapping[str, str] | None = None, **config: Any) -> Collection:
        """Make a collection.

        :param tenants: tenant -> HOT, COLD or FROZEN; None for no multi-tenancy.
        :param config: what the schema is to say of it, for instance ``vectorConfig``, ``properties``.
        """
        made = Collection(name, None if tenants is None else dict(tenants), copy.deepcopy(config))
        self.collections[name] = made
        return made

    def add_objects(self, collection: str, objects: Iterable[Mapping[str, Any]], tenant: str = "") -> tuple[str, ...]:
        """Put objects into a collection, whether the tenant is active or not; return their ids.

        :param objects: as the API takes them: ``id`` (else made up), ``properties``, ``vector``, ``vectors``.
        :raises KeyError: there is no such collection or tenant.
        """
        found = self.collections[collection]
        if tenant not in ([""] if found.tenants is None else found.tenants):
            raise KeyError(tenant)
        given = {str(fields.get("id") or uuid.uuid4()).lower(): object_calls.stored(fields) for fields in objects}
        found.objects_of(tenant).update(copy.deepcopy(given))
        return tuple(given)

    def add_backup(
        self,
        backup_id: str,
        collections: Iterable[str] = (),
        *,
        backend: str = "s3",
        bucket: str | None = None,
        path: str | None = None,
        status: str = "SUCCESS",
        error: str = "",
        started_at: datetime | None = None,
        nodes: Iterable[str] | None = None,
    ) -> StoredBackup:
        """Put a backup into storage that somebody made earlier.

        What the server has of the collections is in it as it is now; the others are empty.
        """
        began = started_at or self.now()
        made = StoredBackup(
            status,
            began,
            {name: self.collections.get(name, Collection(name)).copy() for name in collections},
            error,
            None if status == "STARTED" else began + _BACKUP_TAKES,
            nodes=tuple(nodes or self.nodes),
        )
        self.backups[self.key(backend, backup_id, {"bucket": bucket, "path": path})] = made
        return made

    def add_restore(self, backup_id: str, status: str, *, backend: str = "s3", error: str = "") -> None:
        """Put the state of an earlier restore into storage; CANCELLING makes every later one do nothing."""
        self.restores[self.key(backend, backup_id, {})] = StoredRestore(status, error)

    def backup(self, backup_id: str, backend: str = "s3") -> StoredBackup:
        """Return a backup of the default place. Raises KeyError."""
        return self.backups[self.key(backend, backup_id, {})]

    def end_next(self, status: str, error: str = "") -> None:
        """Let the next operation that ends do so with this status; more calls are for those after it."""
        self.ends.append((status, error))

    def finish(self, status: str | None = None, error: str = "") -> None:
        """End what is running, with this status or with what :meth:`end_next` said."""
        with self._lock:
            for slot in tuple(self.running.values()):
                of_its_kind = backup_calls if slot.kind is OperationKind.BACKUP else restore_calls
                of_its_kind.finish(self, slot, None if status is None else (status, error))

    def crash(self) -> None:
        """Forget what is running: storage shows it unfinished for ever."""
        with self._lock:
            self.running.clear()

    def fail_next(
        self,
        method: str,
        path_pattern: str,
        *,
        status: int = 503,
        body: Any = None,
        times: int = 1,
        handled: bool = False,
    ) -> None:
        """Answer the next requests with an error, or with any other answer.

        :param path_pattern: a regular expression that fits the whole path, without the query.
        :param body: bytes or text as they are (``b""``: nothing), else encoded as JSON; None: an error of its shape.
        :param handled: whether what was asked for is done all the same.
        """
        pattern = re.compile(path_pattern)
        self._faults.add(Fault(method, pattern, times, status, encoded(body), handled))

    def drop_next(self, method: str, path_pattern: str, *, times: int = 1, handled: bool = False) -> None:
        """Cut the connection instead of an answer to the next requests; ``handled``: after doing what was asked for."""
        self._faults.add(Fault(method, re.compile(path_pattern), times, handled=handled, drop=True, status=500))

    def delay_next(self, method: str, path_pattern: str, seconds: float, *, times: int = 1) -> None:
        """Answer the next requests rightly, but late."""
        self._faults.add(Fault(method, re.compile(path_pattern), times, delay_seconds=seconds))

    def clear_faults(self) -> None:
        """Forget all faults that have not happened yet."""
        self._faults.clear()

    def sent(self, method: str, path_pattern: str) -> list[SeenRequest]:
        """Return the requests of a kind that came so far; the pattern as for :meth:`fail_next`."""
        return [seen for seen in self.requests if seen.method == method and re.fullmatch(path_pattern, seen.path)]

    def _take_fault(self, request: SeenRequest) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            return self._faults.take(request.method, request.path)

    def _answer(self, request: SeenRequest) -> Answer:
        with self._lock:
            return routes.answer(self, request)


__all__ = ["Collection", "Key", "SeenRequest", "WeaviateStandIn"]
