"""The little data that the recorded servers are filled with, and the calls that it takes."""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.services import loopback
from tests.services.process import wait_until

_BACKUP_SECONDS = 120.0
_NAMESPACE = uuid.UUID("0d9c4a52-6a0a-5f0e-9a35-8f6f6f3f6d11")
_WORDS = ("amber", "basalt", "cedar", "delta", "ember", "fjord", "glacier", "harbor", "island", "juniper")
_TENANTS = ("north", "south", "west")


@dataclass(frozen=True)
class Server:
    """A server that is being recorded, with its collections."""

    url: str
    backend: str = "filesystem"
    headers: Mapping[str, str] | None = None

    def call(self, method: str, path: str, body: object = None) -> Any:
        with loopback.session() as direct:
            answer = direct.request(method, f"{self.url}/v1{path}", json=body, headers=self.headers, timeout=60)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def define(self, name: str, *, index: str = "flat", shards: int = 1, **settings: object) -> None:
        properties = [{"name": "title", "dataType": ["text"]}, {"name": "year", "dataType": ["int"]}]
        body = {"class": name, "properties": properties, **settings}
        if "vectorConfig" not in settings:
            body |= {"vectorizer": "none", "vectorIndexType": index}
        if "multiTenancyConfig" not in settings:
            # The default, 128, makes descriptors ten times as long.
            body["shardingConfig"] = {"virtualPerPhysical": 2, "desiredCount": shards}
        self.call("POST", "/schema", body)

    def write(self, name: str, numbers: range, *, vectors: tuple[str, ...] = (), tenant: str | None = None) -> None:
        """Write the objects of these numbers, with `vectors` or one without a name."""
        objects = [_object(name, number, vectors) | ({"tenant": tenant} if tenant else {}) for number in numbers]
        answers = self.call("POST", "/batch/objects", {"objects": objects})
        refused = [answer["result"] for answer in answers if answer["result"].get("errors")]
        if refused:
            raise RuntimeError(f"{name}: {refused[0]}")

    def start(self, backup_id: str, **body: object) -> None:
        self.call("POST", f"/backups/{self.backend}", {"id": backup_id, **body})

    def end(self, backup_id: str, status: str = "SUCCESS", restore: str = "") -> None:
        """Wait for the end of a backup, or with `restore="/restore"` of a restore; it must be `status`."""

        def over() -> bool:
            said = self.call("GET", f"/backups/{self.backend}/{backup_id}{restore}")
            if said["status"] not in (status, "STARTED", "TRANSFERRING", "TRANSFERRED", "FINALIZING"):
                raise RuntimeError(f"{backup_id}: {said}")
            return bool(said["status"] == status)

        wait_until(over, _BACKUP_SECONDS, f"{backup_id} {status}")

    def back_up(
        self, backup_id: str, base: str | None = None, level: str | None = None, workers: int = 50, **body: object
    ) -> None:
        """Make a backup and wait for its end. Old versions refuse a `base` and most levels.

        :param workers: as a percentage of the processors.
        """
        body["config"] = {"CPUPercentage": workers} | ({"CompressionLevel": level} if level else {})
        body |= {"incremental_base_backup_id": base} if base else {}
        self.start(backup_id, **body)
        self.end(backup_id)


def _object(name: str, number: int, vectors: tuple[str, ...]) -> dict[str, Any]:
    """Make an object that is a function of its number: two words, a year, vectors of eight places."""
    rng = random.Random(f"{name} {number}")
    properties = {"title": " ".join(rng.choices(_WORDS, k=2)), "year": rng.randrange(1900, 2026)}
    made = {"class": name, "id": str(uuid.uuid5(_NAMESPACE, f"{name} {number}")), "properties": properties}
    places = [[round(rng.uniform(-1, 1), 3) for _ in range(8)] for _ in range(len(vectors) or 1)]
    return made | ({"vectors": dict(zip(vectors, places, strict=True))} if vectors else {"vector": places[0]})


def fill_two(server: Server, index: str = "flat") -> None:
    """Article in one shard, and Product with three tenants. Every version can have these, with the index hnsw."""
    server.define("Article", index=index)
    server.write("Article", range(60))
    server.define("Product", index=index, multiTenancyConfig={"enabled": True})
    server.call("POST", "/schema/Product/tenants", [{"name": name} for name in _TENANTS])
    for tenant in _TENANTS:
        server.write("Product", range(10), tenant=tenant)


def fill_all(server: Server, title_index: str) -> None:
    """As `fill_two`, with Author in two shards, Photo with named vectors, an alias, and the tenant west inactive."""
    fill_two(server)
    server.define("Author", shards=2)
    server.write("Author", range(40))
    indexes = {"title": title_index, "picture": "flat"}
    vectors = {name: {"vectorizer": {"none": {}}, "vectorIndexType": kind} for name, kind in indexes.items()}
    server.define("Photo", vectorConfig=vectors)
    server.write("Photo", range(30), vectors=tuple(vectors))
    server.call("POST", "/aliases", {"alias": "Story", "class": "Article"})
    server.call("PUT", "/schema/Product/tenants", [{"name": "west", "activityStatus": "COLD"}])
