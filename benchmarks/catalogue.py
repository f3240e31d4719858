"""What it takes to read the catalogue of a location with 10,000 backups, on a real S3 server; 5 minutes.

There are 9,000 full backups and 1,000 incremental ones in chains of five, of three nodes each: 78,500 objects. The
descriptors are those of a real server, with other ids and times. The chunks that incremental ones refer to are all
there; of others there is one a collection and node, for the catalogue looks at no more than their names.

Each measurement is a process of its own (``_catalogue.py``), which takes turns with its peer: one that reads the same
descriptors one after another by boto3, spared the listing that would tell it their names; it reads a fifth of them, and
its time counts five times. Memory is what a process takes at most beyond what it had before it loaded the storage's
library.

A server on the same machine answers at once, and no storage does. So each answer is held back for 5 ms, for both; S3
takes longer. Without that, ours and its peer do nothing but compute, and Python computes in one thread at a time: that
figure has no bar.
"""

from __future__ import annotations

import io
import json
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from airflow_provider_vectorbackup.transfer.threads import in_threads
from tests.services.object_stores import S3Settings, minio_server
from tests.trees.reading import Listed, tree

BACKUPS = 10_000
CHAINS = 250
CHAIN_LENGTH = 5
NODES = ("w1", "w2", "w3")
ROUNDS = 2
DELAY_SECONDS = 0.005
SAMPLE = 5
"""One in so many descriptors is read by the peer."""

BAR_LISTINGS = 1.0
BAR_READS = 1.0
BAR_MEMORY_MB = 100.0
BAR_SECOND_READS = 10
BAR_TIME = 0.5

BUCKET, PREFIX = "catalogue", "backups"
_CHILD = "from benchmarks._catalogue import main; main()"
_DUMMY = b"chunk"
_FIRST_START = datetime(2024, 1, 1, tzinfo=UTC)
_PACK = 2000
"""Objects that are sent together."""

Objects = Iterator[tuple[str, bytes]]


def main() -> int:
    """Measure, print, and return 0 if all bars are kept."""
    with tempfile.TemporaryDirectory() as folder, minio_server(Path(folder)) as server:
        began, objects = time.monotonic(), _fill(server)
        print(f"{objects} objects were written in {time.monotonic() - began:.0f} s", flush=True)
        needed = [f"{_id(number)}/backup_config.json" for number in range(BACKUPS)]
        needed += [f"{_id(number)}/{node}/backup.json" for number in _incrementals() for node in NODES]
        # Of an incremental one the nodes' alone: they are compared with the coordinator's, and read again with it.
        changed = [*needed[-5:], *needed[-5 - len(_incrementals()) * len(NODES) :][:5]]
        delays = (DELAY_SECONDS, 0.0)
        rounds = [[_measure(server, delay, needed, changed) for delay in delays] for _ in range(ROUNDS)]
    all_measured = [measured for both in rounds for measured, _ in both]
    first = all_measured[0]
    away, at_once = (
        statistics.median(measured["seconds"] / peer for measured, peer in of_delay)
        for of_delay in zip(*rounds, strict=True)
    )
    print(f"BENCH catalogue time_over_one_by_one_without_delay {at_once:.2f}")
    kept = [
        _judge("listings_per_1000_keys", first["listings"] / ceil(objects / 1000), BAR_LISTINGS),
        _judge("reads_per_needed_descriptor", first["reads"] / len(needed), BAR_READS),
        _judge("memory_mb", max(measured["grown_bytes"] for measured in all_measured) / 1e6, BAR_MEMORY_MB),
        _judge("second_pass_reads", max(measured["second_reads"] for measured in all_measured), BAR_SECOND_READS),
        _judge("time_over_one_by_one", away, BAR_TIME),
    ]
    return 0 if all(kept) else 1


def _measure(
    server: S3Settings, delay_seconds: float, needed: list[str], changed: list[str]
) -> tuple[dict[str, Any], float]:
    """Return what our process measured, and the seconds of its peer."""
    ours = _run("ours", server, delay_seconds, f"s3://{BUCKET}/{PREFIX}", changed)
    if (ours["usable"], ours["second_usable"], ours["deepest"]) != (BACKUPS, BACKUPS, CHAIN_LENGTH):
        raise RuntimeError(f"The catalogue is not what was written: {ours}")
    sample = [f"{PREFIX}/{key}" for key in needed[::SAMPLE]]
    peer_seconds = _run("peer", server, delay_seconds, BUCKET, sample)["seconds"] / len(sample) * len(needed)
    print(
        f"{delay_seconds * 1000:g} ms away: {ours['seconds']:.1f} s for {ours['listings']} listings, {ours['reads']} "
        f"reads and {ours['others']} other requests, {ours['grown_bytes'] / 1e6:.1f} MB; one after another "
        f"{peer_seconds:.1f} s",
        flush=True,
    )
    return ours, peer_seconds


def _run(work: str, server: S3Settings, *arguments: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, work],
        input=json.dumps([astuple(server), *arguments]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def _fill(server: S3Settings) -> int:
    """Write all backups, and return how many objects they have."""
    server.create_bucket(BUCKET)
    objects = (found for number in range(BACKUPS) for found in _objects(number))
    with server.client() as client:

        def send(pack: list[tuple[str, bytes]]) -> int:
            # The server unpacks it: a request an object would take longer than all else.
            metadata = {"snowball-auto-extract": "true"}
            client.put_object(Bucket=BUCKET, Key="pack.tar", Body=_packed(pack), Metadata=metadata)
            return len(pack)

        return sum(in_threads(send, iter(lambda: list(islice(objects, _PACK)), []), threads=4))


def _packed(objects: list[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for key, content in objects:
            member = tarfile.TarInfo(f"{PREFIX}/{key}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _id(number: int) -> str:
    return f"nightly-backup-scheduled-{number:05}"


def _incrementals() -> list[int]:
    """Return the numbers of the incremental backups: the first ones are chains, each begins with a full one."""
    return [number for number in range(CHAINS * CHAIN_LENGTH) if number % CHAIN_LENGTH]


def _objects(number: int) -> Objects:
    """Yield the objects of a backup."""
    place, in_chain = number % CHAIN_LENGTH, number < CHAINS * CHAIN_LENGTH
    template, is_incremental = tree("three-nodes-1.39.2"), bool(in_chain and place)
    source = "second" if is_incremental else "full"
    begun = _FIRST_START + timedelta(hours=number)
    for key, content in template.contents.items():
        backup_id, _, rest = key.partition("/")
        if backup_id == source:
            text = _dated(content.decode(), begun)
            if is_incremental:
                text = text.replace('"baseBackupId":"full"', f'"baseBackupId":"{_id(number - 1)}"')
                text = text.replace('"full":', f'"{_id(number - place)}":')
            yield f"{_id(number)}/{rest}", text.replace(f'"{source}"', f'"{_id(number)}"').encode()
    for rest in _chunks(template, source, is_base=in_chain and not place):
        yield f"{_id(number)}/{rest}", _DUMMY


def _dated(text: str, begun: datetime) -> str:
    text = re.sub(r'"startedAt":"[^"]*"', f'"startedAt":"{begun:%Y-%m-%dT%H:%M:%S.123456789Z}"', text)
    return re.sub(r'"completedAt":"2[^"]*"', f'"completedAt":"{begun:%Y-%m-%dT%H:%M:02.234567891Z}"', text)


def _chunks(template: Listed, source: str, *, is_base: bool) -> list[str]:
    """Return the keys of chunks below their backup: of a base all, of others the first of each collection."""
    found = [key.removeprefix(f"{source}/") for key in template.sizes if key.startswith(f"{source}/")]
    return [key for key in found if key.endswith("/chunk-1") or (is_base and "/chunk-" in key)]


def _judge(name: str, value: float, bar: float) -> bool:
    print(f"BENCH catalogue {name} {value:.2f} bar {bar:g} {'ok' if value <= bar else 'short'}", flush=True)
    return value <= bar


if __name__ == "__main__":
    sys.exit(main())
