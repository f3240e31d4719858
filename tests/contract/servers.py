"""The servers that the contract is checked against: the stand-in, and real Weaviates with MinIO behind a proxy."""

from __future__ import annotations

import dataclasses
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_vectorbackup.testing import WeaviateStandIn
from airflow_provider_vectorbackup.weaviate.features import Version, parse_version
from tests.services import loopback
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.object_stores import S3Settings
from tests.services.weaviate import filesystem_env, weaviate_server

BUCKET = "contract"
NODE = "w1"
SLOW = "slow:20000"
_OBJECTS = 400
_DIMENSIONS = 128
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Subject:
    """A server under test, with Article, Author (alias Writer) and Product (tenants acme HOT, globex COLD).

    `held` keeps operations from ending by themselves while it is entered.
    """

    url: str
    version: Version
    held: Callable[[], AbstractContextManager[None]]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request of the test's own, past our clients; raises requests.HTTPError."""
        with loopback.session() as direct:
            answer = direct.request(method, f"{self.url}/v1{path}", json=body, timeout=_TIMEOUT_SECONDS)
            answer.raise_for_status()
            return answer.json() if answer.content else None


@contextmanager
def stand_in(version: str) -> Iterator[Subject]:
    with WeaviateStandIn(version) as server:
        server.nodes = {NODE: "HEALTHY"}
        server.modules["backup-s3"]["bucketName"] = BUCKET

        @contextmanager
        def held() -> Iterator[None]:
            server.running_polls = None
            yield
            server.running_polls = 1
            server.finish()

        subject = Subject(server.url, parse_version(version), held)
        _define(subject)
        yield subject


@contextmanager
def real(version: str, workdir: Path, minio: S3Settings) -> Iterator[Subject]:
    folder = Path(tempfile.mkdtemp(prefix=f"contract-{version}-", dir=workdir))  # a second one is as new as the first
    with fault_proxy(int(minio.endpoint.rpartition(":")[2])) as proxy:
        through = dataclasses.replace(minio, endpoint=f"{loopback.ADDRESS}:{proxy.port}")
        stores = [through.weaviate_env(BUCKET, folder.name), filesystem_env(folder / "backups")]
        with weaviate_server(folder, name=NODE, backups=stores, version=version) as node:
            subject = Subject(node.url, parse_version(version), lambda: _slowed(proxy))
            _define(subject)
            _fill(subject)
            yield subject


@contextmanager
def _slowed(proxy: FaultProxy) -> Iterator[None]:
    proxy.mode = SLOW
    try:
        yield
    finally:
        proxy.mode = "ok"


def _define(subject: Subject) -> None:
    subject.call("POST", "/schema", {"class": "Article"})
    subject.call("POST", "/schema", {"class": "Author"})
    subject.call("POST", "/schema", {"class": "Product", "multiTenancyConfig": {"enabled": True}})
    tenants = [{"name": "acme", "activityStatus": "HOT"}, {"name": "globex", "activityStatus": "COLD"}]
    subject.call("POST", "/schema/Product/tenants", tenants)
    subject.call("POST", "/aliases", {"alias": "Writer", "class": "Author"})


def _fill(subject: Subject) -> None:
    objects = [
        {
            "class": "Article",
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
            "properties": {"title": f"Article {number}"},
            "vector": [(number * 31 + position * 17) % 97 / 97 for position in range(_DIMENSIONS)],
        }
        for number in range(_OBJECTS)
    ]
    for outcome in subject.call("POST", "/batch/objects", {"objects": objects}):
        assert outcome["result"].get("errors") is None
