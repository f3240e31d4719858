"""Copies from store to store, by tasks: S3, Google, file system, Azure and S3 again; restored by real servers.

Each hop takes the copy that the one before it made.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_vectorbackup.operators import WeaviateVerifyBackupOperator
from airflow_provider_vectorbackup.operators.copy import WeaviateCopyBackupOperator
from tests.e2e.copy_lab import Places, back_up, connected, digests, empty, everything, opened, restore, sizes
from tests.e2e.running import START, DagRunResult, output, run
from tests.e2e.traps_lab import VERSIONS
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings
from tests.services.weaviate import weaviate_cluster, weaviate_server
from tests.trees.filling import Server, fill_two

WRITTEN, COPIES = "copy-written", "copy-copies"
"""Prefixes: what servers wrote to S3, and the copies in each of the stores."""

HOPS = ("gcs", "filesystem", "azure", "s3")
LEVELS = {"gzip": "DefaultCompression", "zstd": "ZstdDefaultCompression", "none": "NoCompression"}
CODECS = {"old": tuple(LEVELS), "new": ("zstd",), "three": tuple(LEVELS)}
"""By writer, how it compresses: one server of each version, and a cluster of three nodes of the newer one."""

STEPS = ("full", "first", "second", "third")
RESTORERS = {"old": ("old", "new"), "new": ("new",), "three": ("three",)}
"""By writer, who restores: the same version, and a newer one."""

CHAINS = [f"{writer}-{codec}" for writer, codecs in CODECS.items() for codec in codecs]

LOW = {
    "BACKUP_MIN_CHUNK_SIZE": "2KiB",
    "BACKUP_SPLIT_FILE_SIZE": "8KiB",
    "BACKUP_CHUNK_TARGET_SIZE": "32KiB",
    "BACKUP_MAX_INDIVIDUAL_FILES": "3",
    "PERSISTENCE_LSM_MAX_SEGMENT_SIZE": "1KiB",
    "PERSISTENCE_HNSW_DISABLE_SNAPSHOTS": "true",
}
"""So low that files are split and referred to with little data, and yet the chunks are few."""

Held = dict[tuple[str, ...], Any]


@pytest.fixture(scope="module")
def places(
    services_folder: Path, minio: S3Settings, fake_gcs: GCSSettings, azurite: AzureSettings, airflow_db: Path
) -> Iterator[Places]:
    with connected(Places(minio, fake_gcs, azurite, services_folder / "copy-stores")) as found:
        found.make_folder(COPIES)
        yield found


@contextmanager
def _server(name: str, folder: Path, settings: list[dict[str, str]], *, is_cluster: bool) -> Iterator[Server]:
    if is_cluster:
        with weaviate_cluster(folder / name, backups=settings, env=LOW) as cluster:
            yield Server(cluster.url, "s3")
    else:
        with weaviate_server(folder / name, backups=settings, version=VERSIONS[name], env=LOW) as node:
            yield Server(node.url, "s3")


@pytest.fixture(scope="module")
def written(services_folder: Path, places: Places) -> dict[str, Held]:
    """By writer, what it held at the end of its chains, one for each codec."""

    def write(name: str) -> Held:
        settings = [places.servers_settings(WRITTEN)[0]]
        with _server(name, services_folder / WRITTEN, settings, is_cluster=name == "three") as server:
            for number, step in enumerate(STEPS):
                _fill_more(server, number) if number else _fill(server, copies=2 if name == "three" else 1)
                for codec in CODECS[name]:
                    base = f"{name}-{codec}-{STEPS[number - 1]}" if number else None
                    back_up(server, f"{name}-{codec}-{step}", base, LEVELS[codec])
            return everything(server)

    with ThreadPoolExecutor(len(CODECS)) as aside:
        return dict(zip(CODECS, aside.map(write, CODECS), strict=True))


def _fill(server: Server, copies: int) -> None:
    """Make a collection with one shard, one with tenants of which one sleeps, one with two vectors an object."""
    if copies > 1:
        server.define("Article", replicationConfig={"factor": copies}, shards=2)
        server.write("Article", range(60))
    else:
        fill_two(server)
        server.call("PUT", "/schema/Product/tenants", [{"name": "west", "activityStatus": "COLD"}])
    vectors = {name: {"vectorizer": {"none": {}}, "vectorIndexType": "flat"} for name in ("title", "picture")}
    server.define("Photo", vectorConfig=vectors)
    server.write("Photo", range(30), vectors=("title", "picture"))


def _fill_more(server: Server, number: int) -> None:
    server.write("Article", range(40 + 20 * number, 60 + 20 * number))


@pytest.fixture(scope="module")
def copied(places: Places, written: dict[str, Held]) -> DagRunResult:
    """One Dag run: each chain goes from hop to hop, and is verified at each."""
    with DAG("copy_around", schedule=None, start_date=START) as dag:
        for chain in CHAINS:
            source, before = places.uri("s3", WRITTEN), None
            for backend in HOPS:
                copy = WeaviateCopyBackupOperator(
                    task_id=f"copy-{chain}-{backend}",
                    source=source,
                    target=places.uri(backend, COPIES),
                    backup_id=f"{chain}-third",
                )
                verify = WeaviateVerifyBackupOperator(
                    task_id=f"verify-{chain}-{backend}",
                    location=output(copy, "location"),
                    backup_id=output(copy, "backup_id"),
                    level="deep",
                )
                if before:
                    before >> copy
                copy >> verify
                source, before = output(copy, "location"), verify
    result = run(dag)
    assert result.state == "success", result.tasks
    return result


@pytest.mark.parametrize("chain", CHAINS)
def test_each_hop_copies_the_whole_chain(copied: DagRunResult, places: Places, chain: str) -> None:
    ids = [f"{chain}-{step}" for step in STEPS]
    with opened(places.location("s3", WRITTEN)) as store:
        assert f'"{chain}-full"' in (store.read(f"{ids[-1]}/w1/backup.json") or b"").decode()  # refers to its files
    source, stored = places.location("s3", WRITTEN), sizes(places.location("s3", WRITTEN), f"{chain}-")
    for backend in HOPS:
        target, result = places.location(backend, COPIES), copied.values[f"copy-{chain}-{backend}"]
        assert result["chain"] == result["copied"] == ids
        assert (result["skipped"], result["bytes_skipped"], result["dry_run"]) == ([], 0, False)
        assert (result["objects"], result["bytes_moved"]) == (len(stored), sum(stored.values()))
        assert (result["source"], result["uri"]) == (source.uri_of(ids[-1]), target.uri_of(ids[-1]))
        assert (result["method"], result["location"]) == ("streamed", str(target))
        assert result["manifests"] == [f"{name}/_vectorbackup/manifest.json" for name in ids]
        source = target


@pytest.mark.parametrize("chain", CHAINS)
def test_each_copy_is_whole(copied: DagRunResult, chain: str) -> None:
    """Also without compression everything has a checksum: the manifest's."""
    for backend in HOPS:
        report = copied.values[f"verify-{chain}-{backend}"]
        assert (report["is_whole"], report["damage"], report["warnings"], report["unchecked"]) == (True, [], [], "")
        assert report["chain"] == [f"{chain}-{step}" for step in STEPS]


def test_the_last_copy_has_the_bytes_of_the_first_backup(copied: DagRunResult, places: Places) -> None:
    assert digests(places.location("s3", COPIES)) == digests(places.location("s3", WRITTEN))


@pytest.fixture(scope="module")
def restored(
    services_folder: Path, places: Places, written: dict[str, Held], copied: DagRunResult
) -> dict[str, dict[str, int]]:
    """By writer and restorer, for each backend and codec: how many objects differ from what was backed up."""
    pairs = [(writer, restorer) for writer, restorers in RESTORERS.items() for restorer in restorers]

    def restore_all(pair: tuple[str, str]) -> dict[str, int]:
        writer, restorer = pair
        is_cluster, found = restorer == "three", dict[str, int]()
        settings = places.servers_settings(COPIES, is_cluster=is_cluster)
        with _server(restorer, services_folder / COPIES / writer, settings, is_cluster=is_cluster) as server:
            for backend in HOPS:
                if is_cluster and backend == "filesystem":
                    continue  # Weaviate refuses that
                here = replace(server, backend=backend)
                listed = {entry["id"]: entry["status"] for entry in here.call("GET", f"/backups/{backend}")}
                assert listed == {f"{chain}-{step}": "SUCCESS" for chain in CHAINS for step in STEPS}
                for codec in CODECS[writer]:
                    restore(here, f"{writer}-{codec}-{STEPS[-1]}")
                    held, wanted = everything(here), written[writer]
                    found[f"{backend} {codec}"] = sum(
                        held.get(key) != wanted.get(key) for key in held.keys() | wanted.keys()
                    )
                    empty(here)
        return found

    with ThreadPoolExecutor(len(pairs)) as aside:
        return dict(zip(map("-".join, pairs), aside.map(restore_all, pairs), strict=True))


@pytest.mark.parametrize("pair", [f"{writer}-{restorer}" for writer in RESTORERS for restorer in RESTORERS[writer]])
def test_servers_restore_every_copy(restored: dict[str, dict[str, int]], written: dict[str, Held], pair: str) -> None:
    """Object by object, with properties and vectors, from each store."""
    writer, is_cluster = pair.partition("-")[0], pair == "three-three"
    backends = [backend for backend in HOPS if not (is_cluster and backend == "filesystem")]
    assert restored[pair] == {f"{backend} {codec}": 0 for backend in backends for codec in CODECS[writer]}
    assert len(written[writer]) == 120 + 30 + (0 if is_cluster else 30 + 3)
    objects = [held for held in written[writer].values() if isinstance(held, dict)]
    assert all(held["vector"] or len(held["vectors"]) == 2 for held in objects)
