"""Migrations between real clusters, by the example Dag: each takes over what the one before has brought."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_vectorbackup.compat import AirflowFailException
from airflow_provider_vectorbackup.operators import WeaviateRollBackRestoreOperator
from tests.e2e.copy_lab import Places, connected, opened
from tests.e2e.migration_lab import (
    DRILL,
    KEYS,
    PLACES,
    MigrationLab,
    add_user,
    example,
    fill,
    ids_of,
    migrate,
    preflight,
    shown,
    side,
    written_to,
)
from tests.e2e.running import DagRunResult, run
from tests.e2e.traps_lab import VERSIONS, connect
from tests.operators.contexts import TaskRun
from tests.services.fault_proxy import fault_proxy
from tests.services.fixtures import BUCKET
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings
from tests.services.weaviate import filesystem_env, weaviate_cluster, weaviate_server

STEPS = ("preflight", "back_up", "copy", "verify", "approve", "restore", "compare", "roll_back", "report")


@pytest.fixture(scope="module")
def places(
    services_folder: Path, minio: S3Settings, fake_gcs: GCSSettings, azurite: AzureSettings, airflow_db: Path
) -> Iterator[Places]:
    with connected(Places(minio, fake_gcs, azurite, services_folder / "migration-stores")) as found:
        for prefix in PLACES.values():
            found.make_folder(prefix)
        yield found


@pytest.fixture(scope="module")
def lab(services_folder: Path, places: Places, minio: S3Settings, fake_gcs: GCSSettings) -> Iterator[MigrationLab]:
    folder, reference = services_folder / "migration", {"ENABLE_MODULES": "ref2vec-centroid"}
    laptop = places.folder / PLACES["staging"]
    with ExitStack() as stack:
        line = stack.enter_context(fault_proxy(int(minio.endpoint.rpartition(":")[2])))
        behind = replace(minio, endpoint=f"127.0.0.1:{line.port}")
        old = stack.enter_context(
            weaviate_server(
                folder / "production",
                backups=[minio.weaviate_env(BUCKET, PLACES["production"]), reference],
                version=VERSIONS["old"],
                api_keys=KEYS,
            )
        )
        stores = [store.weaviate_env(BUCKET, PLACES["staging"]) for store in (fake_gcs, minio)]
        new = stack.enter_context(
            weaviate_server(folder / "staging", name="s1", backups=[*stores, filesystem_env(laptop)], api_keys=KEYS)
        )
        three = stack.enter_context(
            weaviate_cluster(
                folder / "three",
                prefix="x",
                backups=[behind.weaviate_env(BUCKET, PLACES["three"])],
                api_keys=KEYS,
            )
        )
        lab = MigrationLab(
            side("production", old.host, old.port, {"s3": places.uri("s3", PLACES["production"])}),
            side(
                "staging",
                new.host,
                new.port,
                {backend: places.uri(backend, PLACES["staging"]) for backend in ("gcs", "s3", "filesystem")},
            ),
            side("three", three.nodes[0].host, three.nodes[0].port, {"s3": places.uri("s3", PLACES["three"])}),
            places,
            line,
        )
        fill(lab.production)
        yield lab


def outcome(result: DagRunResult) -> dict[str, Any]:
    """Return what the last step returned."""
    assert result.state == "success", shown(result.tasks)
    return dict(result.values["migrate.report"])


def states(result: DagRunResult) -> dict[str, str]:
    return {step: result.tasks[f"migrate.{step}"] for step in STEPS}


@pytest.fixture(scope="module")
def kates_key(lab: MigrationLab) -> str:
    return add_user(lab.production, "kate", "reader")


@pytest.fixture(scope="module")
def to_staging(lab: MigrationLab, kates_key: str) -> tuple[dict[str, Any], list[str]]:
    """S3 to GCS, 1.37.0 to 1.39.2, another node name, users and roles, inactive tenants; written to meanwhile."""
    with written_to(lab.production, "Article") as written:
        result = migrate("production", "staging", users_and_roles="all", inactive_tenants="activate")
    return outcome(result), written


def test_the_old_goes_on_while_the_new_takes_over(
    lab: MigrationLab, to_staging: tuple[dict[str, Any], list[str]], kates_key: str
) -> None:
    report, written = to_staging
    assert (report["outcome"], report["node_mapping"]) == ("migrated", {"w1": "s1"})
    comparison = report["comparison"]
    assert (comparison["is_equal"], comparison["collections"], comparison["uncounted"]) == (True, 4, 0)
    assert (comparison["written"], comparison["recall"]) == (4, 1.0)
    before, now = lab.production.held(), lab.staging.held()
    articles = ids_of(now, "Article")
    assert 60 <= len(articles) <= 60 + len(written)
    assert len(ids_of(before, "Article")) == 60 + len(written) > 60
    assert {key: value for key, value in now.items() if key[0] != "Article"} == {
        key: value for key, value in before.items() if key[0] != "Article"
    }
    assert now["Product", "west"] == before["Product", "west"] == "COLD"
    assert lab.staging.aliases == {"Story": "Article"}
    kate = {"Authorization": f"Bearer {kates_key}"}
    seen = requests.get(f"{lab.staging.server.url}/v1/objects?class=Photo&limit=1", headers=kate, timeout=10)
    assert len(seen.json()["objects"]) == 1
    refused = {"class": "Photo", "properties": {}}
    assert (
        requests.post(f"{lab.staging.server.url}/v1/objects", json=refused, headers=kate, timeout=10).status_code == 403
    )


@pytest.fixture(scope="module")
def to_three(lab: MigrationLab, to_staging: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """GCS to S3, one node to three: a full backup ahead, and later, when nobody writes any more, what is new."""
    ahead = outcome(migrate("staging", "three", prepare_only=True))
    lab.staging.server.write("Author", range(40, 60))
    held = lab.three.collections
    assert held == []
    return ahead, outcome(
        migrate("staging", "three", incremental_base="latest", strict=True, inactive_tenants="activate")
    )


def test_a_prepared_migration_has_a_short_cut_over(lab: MigrationLab, to_three: tuple[dict[str, Any], ...]) -> None:
    ahead, report = to_three
    assert (ahead["outcome"], ahead["comparison"]) == ("prepared", None)
    assert (report["outcome"], report["comparison"]["is_equal"]) == ("migrated", True)
    assert report["node_mapping"] == {"s1": "x1"}
    assert report["bytes_copied"] < ahead["bytes_copied"]
    assert lab.three.held() == lab.staging.held()
    assert lab.three.aliases == {"Story": "Article"}


@pytest.fixture(scope="module")
def drills(lab: MigrationLab, to_three: tuple[dict[str, Any], ...]) -> tuple[DagRunResult, DagRunResult]:
    """Of the backups that came to the three nodes' place, in the other server: into an empty one, and one in use."""
    lab.staging.empty()
    conf = {"location": lab.places.uri("s3", PLACES["three"]), "scratch_conn_id": "staging"}
    first = run(example(DRILL), conf)
    lab.staging.server.define("Photo")
    lab.staging.server.write("Photo", range(3))
    return first, run(example(DRILL), conf | {"pick": "random"})


def test_drill_proves_that_the_newest_backup_can_be_restored(
    lab: MigrationLab, to_three: tuple[dict[str, Any], ...], drills: tuple[DagRunResult, DagRunResult]
) -> None:
    done, _ = drills
    assert done.state == "success", shown(done.tasks)
    report = done.values["drill.report"]
    assert (report["is_recoverable"], report["backup_id"]) == (True, to_three[1]["backup_id"])
    assert report["recovery_seconds"] == pytest.approx(report["restore_seconds"] + report["compare_seconds"])
    assert report["restore_seconds"] > 0
    assert report["data_age_seconds"] >= 0
    assert report["comparison"]["collections"] == 4
    assert done.values["drill.clean_up"]["collections"] == ["Article", "Author", "Photo", "Product"]
    assert done.values["drill.clean_up"]["aliases"] == ["Story"]
    listed = lab.places.location("s3", PLACES["three"])
    assert f"{report['backup_id']}/_vectorbackup/drill.json" in _own_files(listed)


def _own_files(location: Any) -> set[str]:
    with opened(location) as store:
        return {stored.key for stored in store.list_objects() if "/_vectorbackup/" in stored.key}


def test_drill_leaves_alone_what_somebody_uses(lab: MigrationLab, drills: tuple[DagRunResult, DagRunResult]) -> None:
    """The scratch cluster has a collection of the same name: the drill fails, and nothing of it is touched."""
    _, failed = drills
    assert failed.state == "failed"
    steps = {step: failed.tasks[f"drill.{step}"] for step in ("pick", "restore", "compare", "clean_up", "report")}
    assert steps == {
        "pick": "success",
        "restore": "failed",
        "compare": "upstream_failed",
        "clean_up": "success",
        "report": "failed",
    }
    assert failed.values["drill.clean_up"]["collections"] == []
    assert lab.staging.collections == ["Photo"]
    assert len(ids_of(lab.staging.held(), "Photo")) == 3


@pytest.fixture(scope="module")
def to_laptop(lab: MigrationLab, drills: object) -> tuple[DagRunResult, DagRunResult]:
    """S3 to a directory, one collection: first told that nothing is written, which is not so; then as it is."""
    lab.staging.empty()
    lab.staging.server.define("Kept")
    lab.staging.server.write("Kept", range(3))
    conf = {
        "include": ["Art*"],
        "target_backend": "filesystem",
        "target_location": lab.places.uri("filesystem", PLACES["staging"]),
    }
    with written_to(lab.production, "Article"):
        failed = migrate("production", "staging", strict=True, rollback=True, **conf)
    return failed, migrate("production", "staging", **conf)


def test_a_failed_comparison_is_rolled_back(lab: MigrationLab, to_laptop: tuple[DagRunResult, DagRunResult]) -> None:
    failed, _ = to_laptop
    assert failed.state == "failed"
    assert states(failed) == dict.fromkeys(STEPS, "success") | {
        "approve": "skipped",
        "compare": "failed",
        "report": "failed",
    }
    assert failed.values["migrate.roll_back"]["collections"] == ["Article"]
    assert failed.values["migrate.roll_back"]["aliases"] == ["Story"]


def test_production_is_pulled_to_a_directory(lab: MigrationLab, to_laptop: tuple[DagRunResult, DagRunResult]) -> None:
    _, done = to_laptop
    assert outcome(done)["collections"] == ["Article"]
    assert lab.staging.collections == ["Article", "Kept"]
    production, laptop = lab.production.held(), lab.staging.held()
    assert {key: value for key, value in laptop.items() if key[0] == "Article"} == {
        key: value for key, value in production.items() if key[0] == "Article"
    }


def test_rollback_by_hand_removes_only_what_was_brought(
    lab: MigrationLab, to_laptop: tuple[DagRunResult, DagRunResult]
) -> None:
    done = to_laptop[1]
    task = WeaviateRollBackRestoreOperator(
        task_id="roll_back",
        weaviate_conn_id="staging",
        backend="filesystem",
        backup_id=outcome(done)["backup_id"],
    )
    assert task.execute(TaskRun().context)["collections"] == ["Article"]
    assert (lab.staging.collections, lab.staging.aliases) == (["Kept"], {})
    assert task.execute(TaskRun().context)["collections"] == []
    assert lab.staging.collections == ["Kept"]


def refused(lab: MigrationLab, text: str, source: str, target: str, **fields: Any) -> str:
    """Require that nothing is begun, and that the reason is told; return it."""
    before = (lab.stored(), [each.collections for each in (lab.production, lab.staging, lab.three)])
    with pytest.raises(AirflowFailException, match=text) as caught:
        preflight(source, target, **fields)
    assert (lab.stored(), [each.collections for each in (lab.production, lab.staging, lab.three)]) == before
    return str(caught.value)


def test_the_same_cluster_twice(lab: MigrationLab) -> None:
    side("production_too", "localhost", lab.production.port, {"s3": lab.places.uri("s3", PLACES["production"])})
    refused(lab, "Source and target are the same cluster", "production", "production_too")
    refused(lab, "Source and target are the same cluster", "production", "production")


def test_a_target_in_use(lab: MigrationLab, to_three: object) -> None:
    told = refused(lab, "The target has already: ", "production", "three")
    assert "collection Article" in told
    assert "collection Product" in told


def test_trap_24_fewer_nodes(lab: MigrationLab, to_three: object) -> None:
    """Trap 24: a backup of three nodes can't be restored on one; neither can it keep three copies of anything there."""
    replicated = {"class": "Threefold", "replicationConfig": {"factor": 3}, "vectorizer": "none"}
    lab.three.call("POST", "/schema", replicated)
    try:
        told = refused(lab, "lie on 3 nodes", "three", "production", include=["Threefold"])
        assert "the target has 1 (w1); Weaviate can't restore two nodes to one" in told
        assert "Replication factors are above the target's number of nodes, 1 (Threefold 3)" in told
    finally:
        lab.three.call("DELETE", "/schema/Threefold")


def test_trap_24_missing_module(lab: MigrationLab) -> None:
    """Trap 24: Weaviate would not report a vectorizer that the target lacks."""
    links = {"name": "links", "dataType": ["Article"]}
    module = {"ref2vec-centroid": {"referenceProperties": ["links"]}}
    centre = {"class": "Centre", "vectorizer": "ref2vec-centroid", "moduleConfig": module, "properties": [links]}
    lab.production.call("POST", "/schema", centre)
    try:
        refused(lab, r"The target lacks modules .*Centre: ref2vec-centroid", "production", "three", include=["Centre"])
    finally:
        lab.production.call("DELETE", "/schema/Centre")


def test_an_older_server(lab: MigrationLab) -> None:
    lab.staging.server.define("Novel")
    try:
        refused(lab, "The target is older than the source", "staging", "production", include=["Novel"])
        plan = preflight("staging", "production", include=["Novel"], ignore_mismatch=True)
        assert plan["collections"] == ["Novel"]
    finally:
        lab.staging.call("DELETE", "/schema/Novel")


def test_keys_without_rights(lab: MigrationLab) -> None:
    lab.production.server.define("Novel")
    seeing = [
        {"action": "read_nodes", "nodes": {"verbosity": "minimal"}},
        {"action": "read_nodes", "nodes": {"verbosity": "verbose", "collection": "*"}},
        {"action": "read_collections", "collections": {"collection": "*"}},
        {"action": "read_aliases", "aliases": {"collection": "*", "alias": "*"}},
    ]
    try:
        for of, place in ((lab.production, {"s3": PLACES["production"]}), (lab.three, {"s3": PLACES["three"]})):
            of.call("POST", "/authz/roles", {"name": "looker", "permissions": seeing})
            of.call("POST", "/authz/users/limited/assign", {"roles": ["looker"], "userType": "db"})
            uris = {backend: lab.places.uri(backend, prefix) for backend, prefix in place.items()}
            side(f"{of.name}_limited", "127.0.0.1", of.port, uris, key="limited")
        told = refused(lab, "source's user lacks", "production_limited", "three", include=["Novel"])
        assert "lacks the permission manage_backups on Novel" in told
        told = refused(lab, "target's user lacks", "production", "three_limited", include=["Novel"])
        assert "lacks the permission create_data on Novel" in told
    finally:
        lab.production.call("DELETE", "/schema/Novel")


def test_storage_that_the_target_cannot_read(lab: MigrationLab) -> None:
    lab.production.server.define("Novel")
    lab.line.mode = "down"
    try:
        refused(lab, "The target's server can't read s3://", "production", "three", include=["Novel"])
    finally:
        lab.line.mode = "ok"
        lab.production.call("DELETE", "/schema/Novel")
    connect("mig_nowhere", conn_type="google_cloud_platform", extra={"is_anonymous": True})
    nowhere = "gs://mig_nowhere@no-such-bucket/x"
    told = refused(lab, "The worker can't list the target's location", "production", "staging", target_location=nowhere)
    assert "no-such-bucket" in told
