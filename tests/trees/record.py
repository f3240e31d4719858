"""Records the trees anew: `python -m tests.trees.record [NAME …]`, all of them without a name.

It starts the servers of the versions in question, by the launchers of tests/services, which build those that are not
in the cache (an old version takes minutes, and a Go that still compiles it), fills them with little data, and packs
what they write. Names of shards, times and the order of chunks are the server's, and new each time.
"""

import secrets
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.services import loopback
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.object_stores import S3Settings, minio_server
from tests.services.process import wait_until
from tests.services.weaviate import ApiKeys, WeaviateNode, filesystem_env, weaviate_cluster, weaviate_server
from tests.trees import archive
from tests.trees.filling import Server, fill_all, fill_two

_BUCKET = "trees"
_BACKUP_SECONDS = 120.0

# So low that little data is split, is referenced, and fills several chunks. Versions that know none of it ignore it.
_LOW = {
    "BACKUP_MIN_CHUNK_SIZE": "2KiB",
    "BACKUP_SPLIT_FILE_SIZE": "8KiB",
    "BACKUP_CHUNK_TARGET_SIZE": "6KiB",
    "BACKUP_MAX_INDIVIDUAL_FILES": "12",
    # Segments that were merged would not be referenced any more.
    "PERSISTENCE_LSM_MAX_SEGMENT_SIZE": "1KiB",
    # Each has 4 MiB, however few the objects. From 1.39 on they can't be turned off.
    "PERSISTENCE_HNSW_DISABLE_SNAPSHOTS": "true",
}
# For collections of 1.39 with an index of the kind hnsw: its snapshots shall have three parts, not 513.
_HIGHER_SPLIT = {"BACKUP_SPLIT_FILE_SIZE": "2MiB"}
_GZIP, _ZSTD, _NONE = "DefaultCompression", "ZstdDefaultCompression", "NoCompression"


@contextmanager
def _single(
    folder: Path, version: str, *, keys: ApiKeys | None = None, env: Mapping[str, str] = _LOW
) -> Iterator[Server]:
    """Run one node that writes to `folder / "root"`."""
    ((gossip, data),) = loopback.free_port_pairs(1)
    # Unless told its own port, an old server looks for itself on the default one.
    ports = {"CLUSTER_GOSSIP_BIND_PORT": gossip, "CLUSTER_DATA_BIND_PORT": data, "CLUSTER_ADVERTISE_PORT": gossip}
    env = {name: str(port) for name, port in ports.items()} | dict(env)
    backups = [filesystem_env(folder / "root")]
    with weaviate_server(folder, version=version, backups=backups, api_keys=keys, env=env, say=print) as node:
        yield Server(node.url, headers=keys.header() if keys else None)


def _chain(folder: Path) -> None:
    with _single(folder, "1.39.2") as server:
        fill_all(server, "flat")
        server.back_up("full", level=_GZIP)
        server.write("Article", range(60, 80))
        server.back_up("second", "full", _GZIP)
        server.write("Article", range(80, 100))
        server.write("Product", range(10, 20), tenant="north")
        server.back_up("third", "second", _GZIP)
        server.write("Author", range(40, 60))
        server.back_up("fourth", "third", _GZIP)


def _pair(version: str, level: str, title_index: str, **env: str) -> Callable[[Path], None]:
    """Make a full backup and an incremental one on it."""

    def record(folder: Path) -> None:
        with _single(folder, version, env=_LOW | env) as server:
            fill_all(server, title_index)
            server.back_up("full", level=level)
            server.write("Article", range(60, 80))
            server.back_up("second", "full", level)

    return record


def _workers(folder: Path) -> None:
    """Six workers share the counter of a collection's chunks; the levels show in the heads of the chunks."""
    # 80 % of what the server takes for the number of its processors. The tenant west shall have segments, not a log.
    with _single(folder, "1.39.2", env=_LOW | {"GOMAXPROCS": "8", "PERSISTENCE_MAX_REUSE_WAL_SIZE": "0"}) as server:
        fill_all(server, "flat")
        server.back_up("full", level="BestSpeed", workers=80)
        server.write("Article", range(60, 80))
        server.back_up("second", "full", "BestCompression", workers=80)


def _old(version: str) -> Callable[[Path], None]:
    """Make two full backups in one root, of a version without incremental ones."""

    def record(folder: Path) -> None:
        with _single(folder, version) as server:
            fill_two(server, "hnsw")
            server.back_up("first")
            server.write("Article", range(60, 80))
            server.back_up("second")

    return record


def _users_and_roles(folder: Path) -> None:
    keys = ApiKeys({"root": secrets.token_hex(16)}, rbac_root="root")
    with _single(folder, "1.39.2", keys=keys) as server:
        fill_two(server)
        reads = {"action": "read_data", "data": {"collection": "Article", "tenant": "*", "object": "*"}}
        for name in ("reader", "curator"):
            server.call("POST", "/authz/roles", {"name": name, "permissions": [reads]})
        for name in ("alice", "bob"):
            server.call("POST", f"/users/db/{name}")
        server.call("POST", "/authz/users/alice/assign", {"roles": ["reader"], "userType": "db"})
        server.back_up("chosen", includeUsers=["alice"], includeRoles=["reader"])
        server.back_up("whole")


@contextmanager
def _s3(folder: Path) -> Iterator[S3Settings]:
    """Run an S3 server; at the end its bucket is downloaded to `folder / "root"`."""
    with minio_server(folder, say=print) as store, store.client() as client:
        store.create_bucket(_BUCKET)
        yield store
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET):
            for entry in page.get("Contents", ()):
                target = folder / "root" / entry["Key"]
                target.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(_BUCKET, entry["Key"], str(target))


def _three_nodes(folder: Path) -> None:
    """Article in two copies, Author in one shard, which is not on the node that leads the backups."""
    with (
        _s3(folder) as store,
        weaviate_cluster(folder, backups=[store.weaviate_env(_BUCKET)], env=_LOW, say=print) as cluster,
    ):
        server = Server(cluster.url, "s3")
        server.define("Article", replicationConfig={"factor": 2})
        server.write("Article", range(60))
        server.define("Author")
        server.write("Author", range(40))
        nodes = server.call("GET", "/nodes?output=verbose")["nodes"]
        holders = {node["name"] for node in nodes for shard in node["shards"] or () if shard["class"] == "Author"}
        leader = next(Server(node.url, "s3") for node in cluster.nodes if node.name not in holders)
        leader.back_up("full")
        server.write("Article", range(60, 80))
        leader.back_up("second", "full")


def _ended_otherwise(folder: Path) -> None:
    """One of each: restored, FAILED, CANCELED, and STARTED for ever."""
    with ExitStack() as stack:
        store = stack.enter_context(_s3(folder))
        proxy = stack.enter_context(fault_proxy(int(store.endpoint.rpartition(":")[2])))
        behind = S3Settings(f"{loopback.ADDRESS}:{proxy.port}", store.access_key, store.secret_key)
        backups = [behind.weaviate_env(_BUCKET)]
        node = stack.enter_context(weaviate_server(folder, backups=backups, env=_LOW, say=print))
        _end_otherwise(Server(node.url, "s3"), store, proxy, node)


def _end_otherwise(server: Server, store: S3Settings, proxy: FaultProxy, node: WeaviateNode) -> None:
    fill_two(server)
    server.back_up("restored")
    server.call("DELETE", "/schema/Article")
    server.call("POST", "/backups/s3/restored/restore", {"include": ["Article"]})
    server.end("restored", restore="/restore")
    proxy.mode = "block:/chunk-3"
    server.start("failed")
    server.end("failed", "FAILED")
    for backup_id in ("canceled", "killed"):
        proxy.mode = "delayput:/Article/chunk-"
        server.start(backup_id)
        wait_until(lambda: _has(store, f"{backup_id}/w1/Article/chunk-1"), _BACKUP_SECONDS, f"chunk of {backup_id}")  # noqa: B023 - called at once
        if backup_id == "killed":
            node.kill()
            return
        server.call("DELETE", f"/backups/s3/{backup_id}")
        server.end(backup_id, "CANCELED")


def _has(store: S3Settings, prefix: str) -> bool:
    with store.client() as client:
        return bool(client.list_objects_v2(Bucket=_BUCKET, Prefix=prefix)["KeyCount"])


RECORDERS: Mapping[str, Callable[[Path], None]] = {
    "chain-1.39.2": _chain,
    "workers-1.39.2": _workers,
    "zstd-1.39.2": _pair("1.39.2", _ZSTD, "hnsw", **_HIGHER_SPLIT),
    "none-1.39.2": _pair("1.39.2", _NONE, "flat"),
    "users-roles-1.39.2": _users_and_roles,
    "three-nodes-1.39.2": _three_nodes,
    "ended-otherwise-1.39.2": _ended_otherwise,
    "pair-1.37.0": _pair("1.37.0", _GZIP, "hnsw"),
    "pair-1.34.18": _pair("1.34.18", _GZIP, "hnsw"),
    "old-1.34.10": _old("1.34.10"),
    "old-1.30.22": _old("1.30.22"),
    "old-1.24.26": _old("1.24.26"),
    "old-1.20.6": _old("1.20.6"),
}


def record(name: str) -> None:
    """Record the tree of this name, in place of the one there is."""
    with tempfile.TemporaryDirectory(prefix="trees-") as folder:
        RECORDERS[name](Path(folder))
        _pack(Path(folder) / "root", archive(name))
    print(f"{name}: {archive(name).stat().st_size / 1024:.0f} KiB")


def _pack(root: Path, target: Path) -> None:
    """Pack the files in the order of their names, without a trace of who did it and when."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime, member.mode = 0, 0o644
        return member

    with tarfile.open(target, "w:xz", preset=9) as packed:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            packed.add(path, str(path.relative_to(root)), filter=anonymous)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or RECORDERS:
        record(wanted)
