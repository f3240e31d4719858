"""Prunes of what real servers have backed up, in each kind of store, and what these servers can do with the rest.

By the rule that the newest backup is kept, which builds on two others.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.storage.store import Store
from tests.e2e.copy_lab import Places, back_up, connected, empty, everything, opened, restore
from tests.e2e.prune_lab import LOW, etags, ids_of, logged, prune, without_waiting
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.object_stores import AzureSettings, GCSSettings, S3Settings
from tests.services.process import wait_until
from tests.services.weaviate import weaviate_server
from tests.trees.filling import Server, fill_two

PREFIX = "pruned"
BACKENDS = ("s3", "gcs", "azure", "filesystem")
ZSTD = "ZstdDefaultCompression"
KEPT = {"first", "mon", "tue"}
GONE = {"old", "side", "ended", "orphan"}
"""What no rule keeps: another full backup, another incremental one on the same base, one that did not end well, and
what has no descriptor."""

FOREIGN = ("notes.txt", "old/readme.txt", "tue/w1/readme.txt", "anybody/w1/Article/chunk-1")
"""The last looks like a part of a backup, and nothing says so."""

UPLOAD = "first/w1/Article/chunk-99"

Held = dict[tuple[str, ...], Any]

each_store = pytest.mark.parametrize("backend", BACKENDS)


@dataclass(frozen=True)
class Site:
    """A server that backs up to one of the stores.

    :param line: between the two; none to Google's stand-in, which would not answer, and to the file system.
    :param folder: of the backups, on the file system.
    """

    server: Server
    location: str
    line: FaultProxy | None
    folder: Path

    def listed(self) -> dict[str, str]:
        """Return what the server says that there is: id -> status."""
        return {entry["id"]: entry["status"] for entry in self.server.call("GET", f"/backups/{self.server.backend}")}

    def uploads(self) -> set[str]:
        """Return the keys of unfinished uploads."""
        with opened(self.location) as store:
            return {upload.key for upload in store.list_unfinished_uploads()}


@dataclass(frozen=True)
class Pruned:
    """What came of a dry run, a real one, and one after that.

    :param listings: the ETags of all that was there before, and after each of the three.
    :param uploads: likewise, the keys of unfinished uploads.
    :param told: by the log of the real one.
    """

    reports: tuple[dict[str, Any], ...]
    listings: tuple[dict[str, str], ...]
    uploads: tuple[set[str], ...]
    told: list[str]


@pytest.fixture(scope="module")
def sites(
    services_folder: Path, minio: S3Settings, fake_gcs: GCSSettings, azurite: AzureSettings, airflow_db: Path
) -> Iterator[dict[str, Site]]:
    """By backend, a server of its own: each makes one backup at a time."""
    folder = services_folder / "pruned-stores"
    places = Places(minio, fake_gcs, azurite, folder)
    with ExitStack() as stack:
        stack.enter_context(connected(places))

        def started(backend: str) -> Site:
            line, behind = None, places
            if url := {"s3": minio.url, "azure": azurite.url}.get(backend):
                line = stack.enter_context(fault_proxy(urlsplit(url).port or 0))
                here = f"127.0.0.1:{line.port}"
                behind = replace(
                    places,
                    minio=replace(minio, endpoint=here),
                    azurite=replace(azurite, url=f"http://{here}/{azurite.account}"),
                )
            settings = behind.servers_settings(PREFIX)[BACKENDS.index(backend)]
            node = stack.enter_context(weaviate_server(folder / backend, backups=[settings], env=LOW))
            server = Server(node.url, backend)
            return Site(server, places.uri(backend, PREFIX), line, places.folder / PREFIX)

        yield dict(zip(BACKENDS, at_once(started), strict=True))


def at_once(work: Any) -> list[Any]:
    """Do something for all backends at the same time."""
    with ThreadPoolExecutor(len(BACKENDS)) as aside:
        return list(aside.map(work, BACKENDS))


@pytest.fixture(scope="module")
def made(sites: dict[str, Site]) -> dict[str, Held]:
    """By backend, what the newest backup is of; with all the others there is one more chain and one more full one."""

    def make(backend: str) -> Held:
        site, server = sites[backend], sites[backend].server
        fill_two(server)
        for backup_id, base in {"old": None, "first": None, "side": "first", "mon": "first"}.items():
            back_up(server, backup_id, base, ZSTD)
            written = len(everything(server))
            server.write("Article", range(written, written + 10))
        _end_badly(site)
        back_up(server, "tue", "mon", ZSTD)
        with opened(site.location) as store:
            _leave_without_descriptor(store, Location.parse(site.location))
            for key in FOREIGN:
                store.write(key, [b"notes"], 5)
            if backend != "gcs":  # which tells of no unfinished uploads
                store.begin_upload(UPLOAD, 2**24, "first/_vectorbackup/parts-")
        return everything(server)

    return dict(zip(BACKENDS, at_once(make), strict=True))


def _leave_without_descriptor(store: Store, location: Location) -> None:
    """Leave what a backup is without the coordinator's descriptor: a copy of another, under an id of its own."""
    for stored in list(store.list_objects("old/w1/")):
        key = stored.key.replace("old", "orphan", 1)
        if key.endswith("/backup.json"):
            told = (store.read(stored.key) or b"").replace(b'"id":"old"', b'"id":"orphan"')
            store.write(key, [told], len(told))
        else:
            store.copy(location, stored.key, key)


def _end_badly(site: Site) -> None:
    """Make a backup that is canceled while it uploads; where no line can hold that up, one that only says so."""
    server, key = site.server, "ended/backup_config.json"
    if site.line is None:
        back_up(server, "ended", None, ZSTD)
        with opened(site.location) as store:
            told = (store.read(key) or b"").replace(b'"SUCCESS"', b'"CANCELED"')
            store.write(key, [told], len(told))
        return
    line = site.line
    line.mode = "hold:partNumber=" if server.backend == "s3" else "hold:chunk-1"
    server.start("ended")
    wait_until(lambda: line.held > 0, 60, "the upload")
    server.call("DELETE", f"/backups/{server.backend}/ended")
    server.end("ended", "CANCELED")
    line.mode = "ok"


@pytest.fixture(scope="module")
def pruned(sites: dict[str, Site], made: dict[str, Held]) -> dict[str, Pruned]:
    def prune_site(site: Site) -> Pruned:
        reports, listings, uploads = [], [etags(site.location)], [site.uploads()]
        for dry_run in (True, False, False):
            with logged() as said:
                reports.append(prune(site.location, dry_run=dry_run))
            listings.append(etags(site.location))
            uploads.append(site.uploads())
            if len(reports) == 2:
                told = said
        return Pruned(tuple(reports), tuple(listings), tuple(uploads), told)

    with without_waiting():
        return {backend: prune_site(site) for backend, site in sites.items()}


@each_store
def test_dry_run_tells_and_changes_nothing(pruned: dict[str, Pruned], backend: str) -> None:
    found = pruned[backend]
    report = found.reports[0]
    assert found.listings[0] == found.listings[1]
    assert found.uploads[0] == found.uploads[1]
    assert ids_of(found.listings[0]) == (KEPT | GONE) - {"orphan"}
    assert set(report["deleted"]) - found.uploads[0] == {"old", "side", "ended", "orphan/"}
    # Those of a backup that goes, go with it.
    assert {key for key in found.uploads[0] if key.partition("/")[0] in KEPT} <= set(report["deleted"])
    assert (report["dry_run"], report["refused"], report["locked"], report["spared"]) == (True, "", {}, {})


@each_store
def test_what_no_rule_keeps_is_gone(pruned: dict[str, Pruned], sites: dict[str, Site], backend: str) -> None:
    found = pruned[backend]
    report, before, after = found.reports[1], found.listings[1], found.listings[2]
    assert {"old", "side", "ended", "orphan/"} <= set(report["deleted"])
    assert after == {key: etag for key, etag in before.items() if key in FOREIGN or key.partition("/")[0] in KEPT}
    assert found.uploads[2] == set()
    assert (report["deleted_backups"], report["kept"], report["failed"], report["storage_keeps"]) == (3, 3, {}, "")
    assert report["freed_bytes"] == report["deleted_bytes"] > 0
    if backend == "filesystem":
        assert {path.name for path in sites[backend].folder.iterdir()} == KEPT | {"old", "notes.txt", "anybody"}
        assert [path.name for path in (sites[backend].folder / "old").iterdir()] == ["readme.txt"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_real_run_tells_what_the_dry_run_told(pruned: dict[str, Pruned], backend: str) -> None:
    found = pruned[backend]
    assert set(found.reports[1]["deleted"]) == set(found.reports[0]["deleted"])
    assert [line for line in found.told if line.startswith(("failed", "not deleted"))] == []


@each_store
def test_what_is_not_of_weaviate_is_told_and_stays(pruned: dict[str, Pruned], backend: str) -> None:
    found = pruned[backend]
    assert found.listings[2].keys() >= set(FOREIGN)
    assert set(found.reports[1]["foreign"]) == {"notes.txt", "old/readme.txt"}
    assert found.reports[1]["reasons"]["anybody/"] == "nothing in it proves that it is of Weaviate"
    assert "Left alone, as it is no part of a backup: old/readme.txt" in found.told


@each_store
def test_next_run_deletes_nothing(pruned: dict[str, Pruned], backend: str) -> None:
    found = pruned[backend]
    report = found.reports[2]
    assert (report["deleted"], report["kept"], report["objects"]) == ([], 3, 0)
    assert set(report["foreign"]) == {"notes.txt", "old/"}
    assert found.listings[2] == found.listings[3]


@dataclass(frozen=True)
class Afterwards:
    """What a server does with what is left: what it lists, what it has after restores, and what it made of it."""

    listed: dict[str, str]
    restored: Held
    next_restored: Held
    listed_in_the_end: dict[str, str]


@pytest.fixture(scope="module")
def afterwards(sites: dict[str, Site], pruned: dict[str, Pruned]) -> dict[str, Afterwards]:
    def use(backend: str) -> Afterwards:
        site, server = sites[backend], sites[backend].server
        listed = site.listed()
        empty(server)
        restore(server, "tue")
        restored = everything(server)
        back_up(server, "wed", "tue", ZSTD)
        back_up(server, "old", None, ZSTD)
        empty(server)
        restore(server, "wed")
        return Afterwards(listed, restored, everything(server), site.listed())

    return dict(zip(BACKENDS, at_once(use), strict=True))


@each_store
def test_what_is_kept_can_be_restored(
    afterwards: dict[str, Afterwards], made: dict[str, Held], sites: dict[str, Site], backend: str
) -> None:
    """The newest takes files from a backup that no rule would keep but for that."""
    with opened(sites[backend].location) as store:
        assert b'"filesPerBackup":{"first":' in (store.read("tue/w1/backup.json") or b"")
    assert afterwards[backend].listed == dict.fromkeys(KEPT, "SUCCESS")
    assert len(made[backend]) == 60 + 4 * 10 + 30 + 3
    assert afterwards[backend].restored == made[backend]


@each_store
def test_server_goes_on(afterwards: dict[str, Afterwards], made: dict[str, Held], backend: str) -> None:
    """It builds on what is kept, and takes the id of what was deleted."""
    assert afterwards[backend].listed_in_the_end == dict.fromkeys({*KEPT, "wed", "old"}, "SUCCESS")
    assert afterwards[backend].next_restored == made[backend]
