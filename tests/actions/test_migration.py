"""The plan of a migration, from two stand-in servers and two directories; nothing of which it may change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorbackup.actions.migration import End, MigrationOrder, plan_migration
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.migration import MigrationPlan
from airflow_provider_vectorbackup.exceptions import (
    Forbidden,
    InvalidRequest,
    PreflightFailed,
    ServerFault,
    ServerNotReady,
    StorageError,
    Unauthenticated,
    VectorBackupError,
)
from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.client import WeaviateClient
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint, Retries
from tests.transfer.acting_store import ActingStore, Faults

FROM, TO = "s3://one@backups/a", "s3://two@other/b"
STATUS = "/backups/s3/probe"
ALL_ACTIONS = ("manage_backups", "read_collections", "read_data", "create_data", "delete_data")


class Pair:
    """A source with two collections, an empty target, and the places where their backups lie."""

    def __init__(self, source: WeaviateStandIn, target: WeaviateStandIn, folder: Path) -> None:
        self.source = source
        self.target = target
        source.modules["backup-s3"] = {"bucketName": "backups", "rootName": "a"}
        target.modules["backup-s3"] = {"bucketName": "other", "rootName": "b"}
        for name in ("Author", "Article"):
            source.add_collection(name)
        self.stores = {FROM: ActingStore(folder / "from"), TO: ActingStore(folder / "to")}
        for store in self.stores.values():
            store.put("old/backup_config.json", b"{}")
        self.opened: list[str] = []
        self.ends: dict[str, dict[str, Any]] = {"source": {"location": FROM}, "target": {"location": TO}}
        self.key = ""

    def end(self, server: WeaviateStandIn, side: str) -> tuple[WeaviateClient, End]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        client = WeaviateClient(Endpoint(server.url, headers, retries=Retries(first_wait=0.01)))
        given = self.ends[side]
        location = Location.parse(given["location"]) if given["location"] else None
        return client, End(client, given.get("backend", "s3"), location)

    def open(self, location: Location) -> ActingStore:
        self.opened.append(str(location))
        return self.stores[str(location)]

    def plan(self, **fields: Any) -> MigrationPlan:
        (one, source), (other, target) = self.end(self.source, "source"), self.end(self.target, "target")
        with one, other:
            return plan_migration(source, target, MigrationOrder("probe", **fields), self.open)

    def refused(self, kind: type[VectorBackupError] = PreflightFailed, **fields: Any) -> VectorBackupError:
        with pytest.raises(kind) as caught:
            self.plan(**fields)
        assert type(caught.value) is kind
        return caught.value


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Whatever is planned in a test, nothing is written to a server or a storage."""
    with WeaviateStandIn() as source, WeaviateStandIn() as target:
        found = Pair(source, target, tmp_path)
        yield found
        for server in (source, target):
            assert {seen.method for seen in server.requests if seen.path != "/graphql"} <= {"GET"}
        for store in found.stores.values():
            assert [call for call in store.calls if call.changes] == []
            assert store.contents() == {"old/backup_config.json": b"{}"}


class TestPlan:
    def test_tells_what_would_be_done(self, pair: Pair) -> None:
        pair.source.aliases |= {"Story": "Article", "Text": "Author"}
        plan = pair.plan()
        assert (plan.source.url, plan.target.url) == (pair.source.url, pair.target.url)
        assert (plan.source.version, plan.target.version) == ("1.39.2", "1.39.2")
        assert (plan.source.nodes, plan.target.nodes) == (("node1",), ("node1",))
        assert (plan.source.location, plan.target.location) == (FROM, TO)
        assert plan.collections == ("Article", "Author")
        assert plan.aliases == {"Story": "Article", "Text": "Author"}
        assert (plan.node_mapping, plan.is_copied) == ({}, True)
        # Both servers use their own places.
        assert (plan.bucket, plan.path) == (None, None)
        assert (plan.base, plan.access, plan.warnings) == (None, "", ())

    def test_looks_at_both_places_and_asks_the_target_to(self, pair: Pair) -> None:
        pair.plan()
        assert pair.opened == [FROM, TO]
        assert [store.called("list") for store in pair.stores.values()] == [["probe/"], ["probe/"]]
        (asked,) = pair.target.sent("GET", STATUS)
        assert asked.params == {}
        assert pair.source.sent("GET", STATUS) == []

    @pytest.mark.parametrize("fields", [{"include": ("Aut*",)}, {"exclude": ("Article",)}])
    def test_of_some_collections(self, pair: Pair, fields: dict[str, Any]) -> None:
        pair.source.aliases["Story"] = "Article"
        pair.target.add_collection("Article")
        plan = pair.plan(**fields)
        assert (plan.collections, plan.aliases) == (("Author",), {})

    def test_of_renamed_nodes(self, pair: Pair) -> None:
        pair.source.nodes = dict.fromkeys(("w1", "w2", "w3"), "HEALTHY")
        pair.target.nodes = dict.fromkeys(("x1", "w2", "x3"), "HEALTHY")
        assert pair.plan().node_mapping == {"w1": "x1", "w3": "x3"}
        assert pair.plan(node_mapping={"w1": "x3"}).node_mapping == {"w1": "x3", "w3": "x1"}

    def test_warnings(self, pair: Pair) -> None:
        pair.source.roles["reader"] = []
        pair.source.nodes = dict.fromkeys(("w1", "w2"), "HEALTHY")
        pair.source.holders |= {"Article": {"w2"}, "Author": {"w2"}}
        first, second = pair.plan().warnings
        assert "The source has more nodes than the target (2, 1)." in first
        assert "a node that holds data (w2)" in first
        assert second.startswith("The source has roles; they and its users are not restored")

    def test_is_json_for_the_next_tasks(self, pair: Pair) -> None:
        summary = pair.plan(incremental_base="latest").summary()
        assert json.loads(json.dumps(summary)) == summary
        assert set(summary) == {
            *("source_url", "target_url", "source_version", "target_version", "source_location", "target_location"),
            *("collections", "aliases", "node_mapping", "is_copied", "bucket", "path", "base", "warnings", "markdown"),
        }
        assert (summary["collections"], summary["base"]) == (["Article", "Author"], "latest")

    def test_can_be_read_by_whoever_approves_it(self, pair: Pair) -> None:
        pair.source.aliases["Story"] = "Article"
        pair.source.nodes, pair.target.nodes = {"w1": "HEALTHY"}, {"x1": "HEALTHY"}
        for server in (pair.source, pair.target):
            server.roles["reader"] = []
        text = pair.plan(incremental_base="latest", roles_options="all", users_options="all").in_markdown()
        for row in (
            f"| From | `{pair.source.url}`: Weaviate 1.39.2, 1 node (w1), {FROM} |",
            f"| To | `{pair.target.url}`: Weaviate 1.39.2, 1 node (x1), {TO} |",
            "| Collections | 2: Article, Author |",
            "| Aliases | Story of Article |",
            "| Backup | incremental, on latest |",
            "| Copied | to the target's location |",
            "| Nodes | w1 to x1 |",
            "| Users and roles | users and roles, in place of the target's |",
        ):
            assert row in text.splitlines()
        assert "To be known:\n\n- Users or roles of the target are replaced" in text

    def test_that_changes_little_says_so(self, pair: Pair) -> None:
        text = pair.plan().in_markdown()
        for row in ("| Backup | full |", "| Nodes | as they are called |", "| Users and roles | not restored |"):
            assert row in text.splitlines()
        assert "To be known" not in text

    def test_of_many_collections_is_short(self, pair: Pair) -> None:
        for number in range(58):
            pair.source.add_collection(f"C{number:02}")
        (row,) = (line for line in pair.plan().in_markdown().splitlines() if line.startswith("| Collections"))
        assert row.startswith("| Collections | 60: Article, Author, C00, ")
        assert row.endswith(", C47 and 10 more |")


class TestPlaces:
    def test_one_for_both_is_not_copied(self, pair: Pair) -> None:
        pair.target.modules["backup-s3"] = dict(pair.source.modules["backup-s3"])
        pair.ends["target"]["location"] = FROM
        plan = pair.plan()
        assert (plan.is_copied, plan.bucket, plan.path) == (False, None, None)
        assert "no, both clusters use one place" in plan.in_markdown()
        (warning,) = plan.warnings
        assert "ENABLE_CLEANUP_UNFINISHED_BACKUPS" in warning

    def test_one_for_both_that_the_target_is_told_of(self, pair: Pair) -> None:
        pair.ends["target"]["location"] = FROM
        plan = pair.plan()
        assert (plan.is_copied, plan.bucket, plan.path, plan.warnings) == (False, "backups", "a", ())

    @pytest.mark.parametrize(
        ("place", "told"), [("s3://two@third/x/y", ("third", "x/y")), ("s3://two@other/c", ("other", "c"))]
    )
    def test_target_is_told_another_place_than_its_own(self, pair: Pair, place: str, told: tuple[str, str]) -> None:
        pair.ends["target"]["location"] = place
        pair.stores[place] = pair.stores[TO]
        plan = pair.plan()
        assert (plan.bucket, plan.path, plan.is_copied) == (*told, True)
        (asked,) = pair.target.sent("GET", STATUS)
        assert asked.params == {"bucket": told[0], "path": told[1]}

    def test_target_that_can_not_be_told(self, pair: Pair) -> None:
        pair.source.version = pair.target.version = "1.27.1"
        pair.ends["target"]["location"] = "s3://two@third/x"
        error = pair.refused()
        assert error.message == (
            "Target: The server reads backups from bucket 'other', path 'b', and can't be told to read "
            "s3://two@third/x."
        )
        assert "Copy the backup to the server's own place, or update the server." in error.hint
        pair.ends["target"]["location"] = TO
        assert pair.plan().is_copied

    def test_directories(self, pair: Pair) -> None:
        """A server's directory may be mounted anywhere on the worker, so that nothing can be told."""
        places = {"source": "file:///mnt/one", "target": "file:///mnt/two"}
        for (side, place), store in zip(places.items(), list(pair.stores.values()), strict=True):
            pair.ends[side] = {"location": place, "backend": "filesystem"}
            pair.stores[place] = store
        plan = pair.plan()
        assert (plan.bucket, plan.path, plan.is_copied, plan.warnings) == (None, None, True, ())

    @pytest.mark.parametrize(("side", "name"), [("source", "Source"), ("target", "Target")])
    def test_that_is_not_known(self, pair: Pair, side: str, name: str) -> None:
        pair.ends[side]["location"] = None
        error = pair.refused(InvalidRequest)
        assert error.message == f"{name}: Where the backups of backend 's3' lie is not known."
        assert "put one for the backend into the connection" in error.hint


class TestWhatIsNotTold:
    """A user who may not see all of it, or a server that does not know it, keeps nothing from being planned."""

    @pytest.fixture(autouse=True)
    def key(self, pair: Pair) -> None:
        pair.key = "k"
        for server in (pair.source, pair.target):
            server.api_keys.add("k")

    def test_what_the_user_may_do(self, pair: Pair) -> None:
        for server in (pair.source, pair.target):
            server.fail_next("GET", "/users/own-info", status=404)
            server.fail_next("GET", "/authz/roles", status=403)
            server.fail_next("GET", "/cluster/statistics", status=403)
        assert pair.plan().warnings == ()

    def test_which_roles_there_are(self, pair: Pair) -> None:
        pair.source.roles["reader"] = pair.target.roles["reader"] = []
        pair.plan(roles_options="all")
        pair.target.fail_next("GET", "/authz/roles", status=403)
        assert "let the connection's user read roles" in pair.refused(roles_options="all").hint

    def test_which_nodes_hold_data(self, pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
        pair.source.nodes = dict.fromkeys(("w1", "w2"), "HEALTHY")
        pair.source.holders |= {"Article": {"w1"}, "Author": {"w1"}}
        assert pair.plan().node_mapping == {"w1": "node1"}
        nodes = {"nodes": [{"name": name, "status": "HEALTHY"} for name in pair.source.nodes]}
        pair.source.fail_next("GET", "/nodes", status=200, body=nodes)
        pair.source.fail_next("GET", "/nodes", status=403)
        assert "The collections lie on 2 nodes (w1, w2) and the target has 1 (node1)" in pair.refused().message
        assert "Which nodes hold the collections is not known, so all of them count." in caplog.text

    def test_where_inactive_tenants_lie(self, pair: Pair) -> None:
        pair.source.nodes = dict.fromkeys(("w1", "w2"), "HEALTHY")
        pair.source.holders |= {"Article": {"w1"}, "Author": {"w1"}}
        pair.source.add_collection("Shop", {"west": "COLD"})
        assert "The collections lie on 2 nodes (w1, w2)" in pair.refused().message
        assert pair.plan(exclude=("Shop",)).collections == ("Article", "Author")

    def test_aliases_of_old_servers(self, pair: Pair) -> None:
        for server in (pair.source, pair.target):
            server.version, server.aliases["Story"] = "1.31.9", "Article"
        assert pair.plan().aliases == {}
        assert [server.sent("GET", "/aliases") for server in (pair.source, pair.target)] == [[], []]


class TestPermissions:
    @pytest.mark.parametrize(
        ("side", "action"), [("source", "read_data"), ("target", "create_data"), ("target", "delete_data")]
    )
    def test_that_lack(self, pair: Pair, side: str, action: str) -> None:
        pair.key = "k"
        for name, server in (("source", pair.source), ("target", pair.target)):
            held = [known for known in ALL_ACTIONS if (name, known) != (side, action)]
            server.api_keys.add("k")
            server.roles["own"] = [{"action": known, "data": {"collection": "A*"}} for known in held]
            server.own_roles = ["own"]
        error = pair.refused()
        assert error.message.endswith(f": The {side}'s user lacks the permission {action} on Article, Author.")
        getattr(pair, side).roles["own"].append({"action": action, "data": {"collection": "*"}})
        assert pair.plan().collections == ("Article", "Author")


class TestRefused:
    def test_with_all_that_is_in_the_way(self, pair: Pair) -> None:
        pair.source.add_collection("Photo", vectorizer="img2vec-neural")
        pair.target.add_collection("ARTICLE")
        pair.stores[FROM].before = Faults(lambda: StorageError("from: AccessDenied."), lambda call: call.name == "list")
        pair.stores[TO].before = Faults(lambda: StorageError("to: NoSuchBucket."), lambda call: call.name == "list")
        pair.target.fail_next("GET", STATUS, status=403)
        message = pair.refused().message
        assert message.startswith(f"{pair.source.url} can't be migrated to {pair.target.url}: The target has already")
        for text in (
            "has already: collection ARTICLE.",
            "(Photo: img2vec-neural)",
            "The worker can't list the source's location: from: AccessDenied.",
            "The worker can't list the target's location: to: NoSuchBucket.",
            f"The target's server can't read {TO}: Weaviate answered 403",
        ):
            assert text in message

    @pytest.mark.parametrize("status", [403, 422, 500])
    def test_target_that_can_not_read_its_place(self, pair: Pair, status: int) -> None:
        pair.target.fail_next("GET", STATUS, status=status)
        error = pair.refused()
        assert f"The target's server can't read {TO}: Weaviate answered {status} to GET {STATUS}" in error.message
        assert error.hint == "Look at its bucket, its credentials and its network."

    @pytest.mark.parametrize(("side", "place"), [("source", FROM), ("target", TO)])
    def test_place_that_the_worker_can_not_list(self, pair: Pair, side: str, place: str) -> None:
        failing = Faults(lambda: StorageError("AccessDenied.", hint="Allow it."), lambda call: call.name == "list")
        pair.stores[place].before = failing
        error = pair.refused()
        assert error.message.endswith(f": The worker can't list the {side}'s location: AccessDenied.")
        assert error.hint == "Allow it."

    def test_one_cluster(self, pair: Pair) -> None:
        url = pair.source.url
        pair.target = pair.source
        pair.ends["target"]["location"] = FROM
        assert pair.refused().message.endswith(f": Source and target are the same cluster ({url}).")
        assert pair.opened == []

    def test_one_cluster_under_two_addresses(self, pair: Pair) -> None:
        pair.target.cluster_id = pair.source.cluster_id
        assert pair.plan().collections == ("Article", "Author")
        pair.target.collections |= pair.source.collections
        assert pair.refused().message.endswith(f": Source and target are the same cluster ({pair.target.url}).")

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"include": ("Articel",)}, "Source: There is no collection 'Articel'."),
            ({"include": ("Z*",)}, "Source: The pattern 'Z*' of include matches no collection."),
            ({"exclude": ("A*",)}, "Source: There is no collection left to work on"),
        ],
    )
    def test_collections_that_are_not_there(self, pair: Pair, fields: dict[str, Any], text: str) -> None:
        assert pair.refused(InvalidRequest, **fields).message.startswith(text)

    def test_source_that_writes_elsewhere(self, pair: Pair) -> None:
        pair.ends["source"]["location"] = "s3://one@backups/z"
        text = "Source: The location s3://one@backups/z is not where the server writes: bucket 'backups', path 'a'."
        assert pair.refused(InvalidRequest).message == text


@pytest.mark.parametrize(("side", "name"), [("source", "Source: "), ("target", "Target: ")])
class TestServer:
    """Errors name which of the two servers they are of, and stay what they are."""

    def test_without_the_backend(self, pair: Pair, side: str, name: str) -> None:
        pair.ends[side]["backend"] = "gcs"
        error = pair.refused()
        assert error.message.startswith(f"{name}Backend 'gcs' is not enabled on this server")
        assert "Add backup-gcs to ENABLE_MODULES" in error.hint

    def test_that_is_not_healthy(self, pair: Pair, side: str, name: str) -> None:
        getattr(pair, side).nodes["node1"] = "UNHEALTHY"
        error = pair.refused(ServerNotReady)
        assert error.message == f"{name}Not all nodes of the server are healthy: node1 is UNHEALTHY."
        assert error.retryable

    def test_that_does_not_know_the_key(self, pair: Pair, side: str, name: str) -> None:
        pair.key = "wrong"
        getattr(pair, side).api_keys.add("right")
        error = pair.refused(Unauthenticated)
        assert error.message.startswith(f"{name}Weaviate answered 401 to GET /meta")
        assert "API key" in error.hint

    def test_that_does_not_tell_its_aliases(self, pair: Pair, side: str, name: str) -> None:
        getattr(pair, side).fail_next("GET", "/aliases", status=403)
        error = pair.refused(Forbidden)
        assert error.message.startswith(f"{name}Weaviate answered 403 to GET /aliases")
        assert "read_aliases" in error.hint

    def test_that_is_at_fault(self, pair: Pair, side: str, name: str) -> None:
        getattr(pair, side).fail_next("GET", "/schema", status=500)
        error = pair.refused(ServerFault)
        assert error.message.startswith(f"{name}Weaviate answered 500 to GET /schema")
        assert error.retryable
