"""A lab for migrations: an old server that is in use, a newer one to take over, and a cluster of three nodes."""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from airflow.sdk import DAG

from airflow_provider_vectorbackup.operators.migration import PlanMigrationOperator
from tests.conftest import DAGS_FOLDER
from tests.e2e.copy_lab import Places, sizes
from tests.e2e.running import DagRunResult, run
from tests.e2e.traps_lab import connect
from tests.operators.contexts import TaskRun
from tests.services.fault_proxy import FaultProxy
from tests.services.weaviate import ApiKeys
from tests.test_dags import load
from tests.trees.filling import Server, fill_two

KEYS = ApiKeys({"root": "root-key", "limited": "limited-key"}, rbac_root="root")
MIGRATION, DRILL = "vectorbackup_environment_migration", "vectorbackup_restore_drill_weekly"
_MOST_WRITES = 20_000


@dataclass(frozen=True)
class Side:
    """A cluster that takes part, and its Airflow connection, under its name."""

    name: str
    server: Server
    port: int

    @property
    def collections(self) -> list[str]:
        """The names of all of them."""
        return sorted(schema["class"] for schema in self.call("GET", "/schema")["classes"])

    @property
    def aliases(self) -> dict[str, str]:
        """Alias -> collection."""
        return {entry["alias"]: entry["class"] for entry in self.call("GET", "/aliases")["aliases"]}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request as the root user."""
        return self.server.call(method, path, body)

    def empty(self) -> None:
        """Delete all collections and aliases."""
        for alias in self.aliases:
            self.call("DELETE", f"/aliases/{alias}")
        for name in self.collections:
            self.call("DELETE", f"/schema/{name}")

    def held(self) -> dict[tuple[str, ...], Any]:
        """Return all objects with properties and vectors, and what each tenant is; inactive ones are read, too."""
        found = dict[tuple[str, ...], Any]()
        for schema in self.call("GET", "/schema")["classes"]:
            name, tenants = schema["class"], {"": ""}
            if schema["multiTenancyConfig"]["enabled"]:
                tenants = {t["name"]: t["activityStatus"] for t in self.call("GET", f"/schema/{name}/tenants")}
            found |= {(name, tenant): state for tenant, state in tenants.items() if tenant}
            cold = [tenant for tenant, state in tenants.items() if state == "COLD"]
            self._set(name, cold, "HOT")
            for tenant in tenants:
                query = f"/objects?class={name}&limit=10000&include=vector" + (f"&tenant={tenant}" if tenant else "")
                for entry in self.call("GET", query)["objects"]:
                    found[name, tenant, entry["id"]] = [entry.get(key) for key in ("properties", "vector", "vectors")]
            self._set(name, cold, "COLD")
        return found

    def _set(self, name: str, tenants: list[str], activity: str) -> None:
        if tenants:
            body = [{"name": tenant, "activityStatus": activity} for tenant in tenants]
            self.call("PUT", f"/schema/{name}/tenants", body)


def side(name: str, host: str, port: int, places: Mapping[str, str], *, key: str = "root") -> Side:
    """Make Airflow's connection to a server, and return that.

    :param places: backend -> location; the first is the default.
    """
    extra = {"default_backend": next(iter(places)), "token": KEYS.keys[key]}
    extra |= {f"{backend}_location": location for backend, location in places.items()}
    connect(name, conn_type="weaviate_backup", host=host, port=port, extra=extra)
    return Side(name, Server(f"http://{host}:{port}", headers=KEYS.header()), port)


def fill(production: Side) -> None:
    """Give it what a cluster may have: shards, tenants of which one sleeps, named vectors, an alias, a user, a role."""
    server = production.server
    fill_two(server, "hnsw")
    server.call("PUT", "/schema/Product/tenants", [{"name": "west", "activityStatus": "COLD"}])
    server.define("Author", index="hnsw", shards=2)
    server.write("Author", range(40))
    vectors = {name: {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"} for name in ("title", "picture")}
    server.define("Photo", vectorConfig=vectors)
    server.write("Photo", range(30), vectors=tuple(vectors))
    server.call("POST", "/aliases", {"alias": "Story", "class": "Article"})
    reading = {"action": "read_data", "data": {"collection": "*", "tenant": "*", "object": "*"}}
    server.call("POST", "/authz/roles", {"name": "reader", "permissions": [reading]})


def add_user(production: Side, name: str, role: str) -> str:
    """Make a database user with a role, and return its key."""
    key = str(production.call("POST", f"/users/db/{name}", {})["apikey"])
    production.call("POST", f"/authz/users/{name}/assign", {"roles": [role], "userType": "db"})
    return key


def ids_of(held: Mapping[tuple[str, ...], Any], collection: str) -> set[str]:
    """Return the ids of the objects of a collection without tenants."""
    return {key[2] for key in held if key[0] == collection and len(key) == 3}


@contextmanager
def written_to(production: Side, collection: str) -> Iterator[list[str]]:
    """Write objects to a collection all the time; yield their ids, as they are written."""
    written, stop = list[str](), threading.Event()

    def write() -> None:
        for number in itertools.takewhile(lambda count: not stop.is_set() and count < _MOST_WRITES, itertools.count()):
            body = {"class": collection, "id": str(uuid.uuid4()), "vector": [1.0, number % 7] + [0.5] * 6}
            production.call("POST", "/objects", body | {"properties": {"title": "new", "year": number}})
            written.append(str(body["id"]))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        stop.set()
        thread.join()


def example(dag_id: str) -> DAG:
    """Load an example Dag."""
    return load(DAGS_FOLDER / f"{dag_id}.py")


def migrate(source: str, target: str, **conf: Any) -> DagRunResult:
    """Run the example Dag, as somebody who fills in the form."""
    given = {"source": source, "target": target, "dry_run": False, "approval": False}
    return run(example(MIGRATION), given | conf)


def preflight(source: str, target: str, **fields: Any) -> dict[str, Any]:
    """Run the first step alone."""
    task = PlanMigrationOperator(task_id="preflight", source=source, target=target, **fields)
    return task.execute(TaskRun(task_id="preflight").context)


@dataclass(frozen=True)
class MigrationLab:
    """The clusters; ``line`` is what stands between the three nodes and their store."""

    production: Side
    staging: Side
    three: Side
    places: Places
    line: FaultProxy

    def stored(self) -> dict[str, int]:
        """Return the sizes of all that lies in any of the places."""
        found = dict[str, int]()
        for name in PLACES.values():
            for backend in ("s3", "gcs", "filesystem"):
                there = sizes(self.places.location(backend, name))
                found |= {f"{backend} {name} {key}": size for key, size in there.items()}
        return found


PLACES = {"production": "mig-production", "staging": "mig-staging", "three": "mig-three"}


def shown(value: Any) -> str:
    """Return a report for the message of an assertion."""
    return json.dumps(value, default=str, indent=1)
