"""Runs real Weaviate servers on 127.0.0.1: one node, or a cluster of several.

gRPC and the cluster's own API listen on all addresses; Weaviate has no setting for that.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.services import binaries
from tests.services.binaries import log
from tests.services.loopback import ADDRESS, answers_ok, free_port_pairs, free_ports, session
from tests.services.process import ServiceFailed, ServiceProcess, stop_all, wait_until
from tests.services.sources import Say

_READY_SECONDS = 60.0
_STARTS = 3
_PORT_TAKEN = "address already in use"

_FIXED = {
    "CLUSTER_ADVERTISE_ADDR": ADDRESS,
    "CLUSTER_BIND_ADDR": ADDRESS,
    "DEFAULT_VECTORIZER_MODULE": "none",
    "DISABLE_TELEMETRY": "true",
    "GO_PROFILING_DISABLE": "true",
    "LOG_LEVEL": "info",
    "PROMETHEUS_MONITORING_ENABLED": "false",
    # The default, 5, is for slow networks: it more than doubles the time to the first leader.
    "RAFT_TIMEOUTS_MULTIPLIER": "1",
    # A disk that is 90 % full would make the server read-only.
    "DISK_USE_READONLY_PERCENTAGE": "0",
    "DISK_USE_WARNING_PERCENTAGE": "0",
}


@dataclass(frozen=True)
class ApiKeys:
    """Access by API key only: `keys` by user name. With `rbac_root` set, roles decide what the other users may do."""

    keys: Mapping[str, str]
    rbac_root: str | None = None

    def env(self) -> dict[str, str]:
        """Return the settings for the server."""
        env = {
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
            "AUTHENTICATION_APIKEY_ENABLED": "true",
            "AUTHENTICATION_APIKEY_ALLOWED_KEYS": ",".join(self.keys.values()),
            "AUTHENTICATION_APIKEY_USERS": ",".join(self.keys),
            "AUTHENTICATION_DB_USERS_ENABLED": "true",
        }
        if self.rbac_root:
            env |= {"AUTHORIZATION_RBAC_ENABLED": "true", "AUTHORIZATION_RBAC_ROOT_USERS": self.rbac_root}
        return env

    def header(self) -> dict[str, str]:
        """Return what a request as the root user needs, or as the first one."""
        return {"Authorization": f"Bearer {self.keys[self.rbac_root or next(iter(self.keys))]}"}


@dataclass(frozen=True)
class NodePorts:
    """What one server listens on; its data and RPC ports follow those of gossip and Raft."""

    http: int
    grpc: int
    gossip: int
    raft: int


@dataclass
class WeaviateNode:
    """One server, running or not; it keeps its data and ports over `stop()` or `kill()` and `start()`."""

    name: str
    ports: NodePorts
    data_path: Path
    process: ServiceProcess
    host: str = field(default=ADDRESS, init=False)

    @property
    def port(self) -> int:
        """Of the REST API."""
        return self.ports.http

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    @property
    def log_path(self) -> Path:
        """What all its runs wrote, in one file."""
        return self.process.log_path

    @property
    def pid(self) -> int:
        """Of the run started last."""
        return self.process.pid

    def start(self) -> None:
        """Start it and wait until it is ready, at most 60 s; raises ServiceFailed."""
        self.process.spawn()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait for a node whose process was spawned by itself; raises ServiceFailed after 60 s."""
        self.process.wait_ready(answers_ok(f"{self.url}/v1/.well-known/ready"), _READY_SECONDS)

    def stop(self) -> None:
        """Shut it down in order: SIGTERM."""
        self.process.stop()

    def kill(self) -> None:
        """Let it crash: SIGKILL."""
        self.process.kill()


@dataclass(frozen=True)
class WeaviateCluster:
    """Nodes that know one another; `nodes[0]` is the one that the others join."""

    nodes: Sequence[WeaviateNode]

    @property
    def url(self) -> str:
        """Of the first node; every node serves every request."""
        return self.nodes[0].url


def filesystem_env(path: Path) -> dict[str, str]:
    """Return settings for backups to this folder, made if need be. A cluster of several nodes refuses them."""
    path.mkdir(parents=True, exist_ok=True)
    return {"ENABLE_MODULES": "backup-filesystem", "BACKUP_FILESYSTEM_PATH": str(path.absolute())}


@contextmanager
def weaviate_server(
    workdir: Path,
    *,
    name: str = "w1",
    backups: Sequence[Mapping[str, str]] = (),
    version: str = binaries.WEAVIATE,
    any_version: bool = False,
    api_keys: ApiKeys | None = None,
    env: Mapping[str, str] | None = None,
    say: Say = log,
) -> Iterator[WeaviateNode]:
    """Run one node, ready to serve; stop it at the end.

    `backups`: settings of the backup modules, from the stores' `weaviate_env()` and from `filesystem_env()`.
    `env` wins over everything else. Data and log are in `workdir / name`; data of an earlier run are served again.
    Raises ServiceUnavailable (no executable) or ServiceFailed.
    """
    executable = binaries.find_weaviate(version, any_version=any_version, say=say)
    with _running([name], workdir, executable, _settings(backups, api_keys, env or {})) as nodes:
        yield nodes[0]


@contextmanager
def weaviate_cluster(
    workdir: Path,
    nodes: int = 3,
    *,
    prefix: str = "w",
    backups: Sequence[Mapping[str, str]] = (),
    version: str = binaries.WEAVIATE,
    api_keys: ApiKeys | None = None,
    env: Mapping[str, str] | None = None,
    say: Say = log,
) -> Iterator[WeaviateCluster]:
    """Run nodes w1, w2 …, as `weaviate_server` does, all HEALTHY in one another's eyes when it is yielded.

    The data must be new: the nodes know one another by their ports.
    """
    executable = binaries.find_weaviate(version, say=say)
    names = [f"{prefix}{number}" for number in range(1, nodes + 1)]
    with _running(names, workdir, executable, _settings(backups, api_keys, env or {})) as members:
        header = api_keys.header() if api_keys else {}
        wait_until(lambda: _all_healthy(members, header), _READY_SECONDS, f"{nodes} HEALTHY nodes")
        yield WeaviateCluster(members)


@contextmanager
def _running(
    names: Sequence[str], workdir: Path, executable: Path, settings: Mapping[str, str]
) -> Iterator[list[WeaviateNode]]:
    nodes = _nodes(names, workdir, executable, settings)
    fresh = not any(node.data_path.exists() for node in nodes)
    for attempt in range(1, _STARTS + 1):
        try:
            _start(nodes)
            break
        except ServiceFailed:
            # Somebody took a port between our look and the server's bind. A start from scratch loses nothing.
            if attempt == _STARTS or not (fresh and _port_was_taken(nodes)):
                raise
            for node in nodes:
                shutil.rmtree(node.log_path.parent)
            nodes = _nodes(names, workdir, executable, settings)
    try:
        yield nodes
    finally:
        stop_all(node.process for node in nodes)


def _start(nodes: Sequence[WeaviateNode]) -> None:
    """Start all at once: a member of a cluster is not ready before it has seen the others."""
    try:
        for node in nodes:
            node.process.spawn()
        for node in nodes:
            node.wait_ready()
    except BaseException:
        stop_all(node.process for node in nodes)
        raise


def _nodes(names: Sequence[str], workdir: Path, executable: Path, settings: Mapping[str, str]) -> list[WeaviateNode]:
    ports = _ports(len(names))
    shared = dict(settings) | {
        "RAFT_BOOTSTRAP_EXPECT": str(len(names)),
        "RAFT_JOIN": ",".join(f"{name}:{own.raft}" for name, own in zip(names, ports, strict=True)),
    }
    if len(names) > 1:
        # The first node is told to join itself, which it takes for done.
        shared |= {"CLUSTER_IN_LOCALHOST": "true", "CLUSTER_JOIN": f"{ADDRESS}:{ports[0].gossip}"}
    return [_node(name, own, workdir / name, executable, shared) for name, own in zip(names, ports, strict=True)]


def _node(name: str, ports: NodePorts, folder: Path, executable: Path, settings: Mapping[str, str]) -> WeaviateNode:
    data_path = folder / "data"
    env = {
        "PERSISTENCE_DATA_PATH": str(data_path.absolute()),
        "CLUSTER_HOSTNAME": name,
        "CLUSTER_GOSSIP_BIND_PORT": str(ports.gossip),
        "CLUSTER_DATA_BIND_PORT": str(ports.gossip + 1),
        "RAFT_PORT": str(ports.raft),
        # In a cluster on one address the other nodes expect it there (cluster/resolver/rpc.go).
        "RAFT_INTERNAL_RPC_PORT": str(ports.raft + 1),
        "GRPC_PORT": str(ports.grpc),
    }
    argv: list[str | Path] = [executable, "--host", ADDRESS, "--port", str(ports.http), "--scheme", "http"]
    process = ServiceProcess(f"weaviate {name}", argv, folder / "weaviate.log", env | dict(settings))
    return WeaviateNode(name, ports, data_path, process)


def _ports(count: int) -> list[NodePorts]:
    singles, pairs = free_ports(2 * count), free_port_pairs(2 * count)
    return [
        NodePorts(
            http=singles[2 * node], grpc=singles[2 * node + 1], gossip=pairs[2 * node][0], raft=pairs[2 * node + 1][0]
        )
        for node in range(count)
    ]


def _settings(
    backups: Sequence[Mapping[str, str]], api_keys: ApiKeys | None, extra: Mapping[str, str]
) -> dict[str, str]:
    """Make one environment out of all: the modules of all stores together, else the later wins."""
    settings = dict(_FIXED) | (api_keys.env() if api_keys else {"AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true"})
    for store in backups:
        settings |= store
    settings["ENABLE_MODULES"] = ",".join(store["ENABLE_MODULES"] for store in backups)
    return settings | dict(extra)


def _port_was_taken(nodes: Sequence[WeaviateNode]) -> bool:
    return any(_PORT_TAKEN in node.log_path.read_text(errors="replace") for node in nodes)


def _all_healthy(nodes: Sequence[WeaviateNode], header: Mapping[str, str]) -> bool:
    """Ask each node whether it sees all of them."""
    with session() as direct:
        for node in nodes:
            answer = direct.get(f"{node.url}/v1/nodes", headers=header, timeout=10)
            if not answer.ok or [seen["status"] for seen in answer.json()["nodes"]] != ["HEALTHY"] * len(nodes):
                return False
    return True
