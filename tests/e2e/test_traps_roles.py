"""What a user may back up who has a role for one collection; more on roles is in test_permissions.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_vectorbackup.compat import AirflowFailException
from tests.e2e.traps_lab import COLLECTIONS, PREFIX, TEMPLATE, VERSIONS, Server, connect_server, on_triggerer
from tests.operators.contexts import TaskRun
from tests.services.fixtures import BUCKET
from tests.services.object_stores import S3Settings
from tests.services.process import wait_until
from tests.services.weaviate import ApiKeys, weaviate_server

KEYS = ApiKeys({"root": "root-key", "limited": "limited-key"}, rbac_root="root")
ROLE = {
    "name": "airports",
    "permissions": [
        {"action": "manage_backups", "backups": {"collection": "Airport"}},
        {"action": "read_collections", "collections": {"collection": "*"}},
        {"action": "create_collections", "collections": {"collection": "*"}},
        {"action": "read_nodes", "nodes": {"verbosity": "minimal"}},
        {"action": "read_cluster"},
        {"action": "read_aliases", "aliases": {"collection": "*", "alias": "*"}},
    ],
}


@pytest.fixture(scope="module", params=["new", "old"])
def guarded(
    request: pytest.FixtureRequest, services_folder: Path, minio: S3Settings, trap_servers: dict[str, Server]
) -> Iterator[Server]:
    """A server beside the other two; tasks on it are run by the user "limited", who may back up Airport."""
    name, other = f"guarded_{request.param}", trap_servers[request.param]
    store, version = minio.weaviate_env(BUCKET, PREFIX), VERSIONS[request.param]
    with weaviate_server(services_folder / name, backups=[store], version=version, api_keys=KEYS) as node:
        server = connect_server(Server(name, node, other.line, other.bucket, KEYS.header()), token="limited-key")
        for collection in COLLECTIONS:
            server.do("POST", "/schema", {"class": collection})
        server.do("POST", "/authz/roles", ROLE)
        server.do("POST", "/authz/users/limited/assign", {"roles": ["airports"], "userType": "db"})
        yield server


def test_trap_21_everything_is_not_narrowed(guarded: Server) -> None:
    """Trap 21: 1.39.2 narrows "everything" to what the user may back up, 1.37.0 refuses it; neither is a success."""
    backup_id, run = f"narrowed-{guarded.name}".replace("_", "-"), TaskRun()
    narrowing = "new" in guarded.name
    expected = r"Missing: Barley, Car\..* lacks manage_backups" if narrowing else r"403 to POST .* create_backups"
    for _ in ("try", "retry"):
        with pytest.raises(AirflowFailException, match=expected):
            on_triggerer(guarded.create(backup_id), run)
    assert bool(guarded.bucket.keys(backup_id)) is narrowing
    if narrowing:
        ends = ("CANCELED", "SUCCESS")
        wait_until(lambda: guarded.status(backup_id) in ends, 30, "the end of the narrowed backup")
        with pytest.raises(AirflowFailException, match=expected):
            on_triggerer(guarded.create(backup_id), run)


def test_trap_21_named_ones_are_refused(guarded: Server) -> None:
    """Trap 21: what is left when some are excluded is named in the request, and so is never narrowed."""
    with pytest.raises(AirflowFailException, match=r"403 to POST .*create_backups.*Collection: Barley"):
        guarded.create("left-over", exclude=["Car"]).execute(TaskRun().context)
    assert guarded.bucket.keys("left-over") == set()


def test_trap_21_restore_is_refused(guarded: Server) -> None:
    """Trap 21: a restore of everything would be narrowed just so; ours names all that the backup holds."""
    guarded.empty()
    with pytest.raises(AirflowFailException, match=r"403 to (GET|POST) .*Collection: (Barley|Car)"):
        guarded.restore(TEMPLATE).execute(TaskRun().context)
    assert guarded.collections() == []
