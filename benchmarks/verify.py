"""How fast a backup is verified to its last byte, and in how much memory; 5 minutes.

A real Weaviate makes two backups of the same 150,000 objects, by gzip and by zstd, at its default levels. What verifies
them is pinned to one core, and takes turns with its peer there, ``gzip -dc | tar t`` or ``zstd -dc | tar t`` of each
chunk; the files are in the page cache. Peers find out less: that a stream is whole, but not that it ends with the
archive, nor that the archive holds what the descriptors list.

Speed is by processor time, which is what the clock shows on one core that does nothing else; all else would measure its
other work. How two threads on two cores fare can only be told by the clock, and only where nothing else runs: no bar.

Memory is what a process of its own takes at most beyond what it had before it began, for one chunk that holds 64 MiB or
2 GiB.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_vectorbackup.actions.verify import verify_backup
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.verification import Level
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.transfer.chunks import scan_chunk
from airflow_provider_vectorbackup.transfer.reading import read_through
from tests.services import loopback
from tests.services.weaviate import filesystem_env, weaviate_server
from tests.transfer.archives import stream_of
from tests.trees.filling import Server

ROUNDS = 5
OBJECTS = 150_000
DIMENSIONS = 256
WORDS_PER_OBJECT = 150
BATCH = 500

MIB = 2**20
SMALL_BYTES, LARGE_BYTES = 64 * MIB, 2048 * MIB

BAR_OVER_GZIP = 1.5
BAR_OVER_ZSTD = 1.0
BAR_MEMORY_MIB = 256.0

LEVELS = {Codec.GZIP: "DefaultCompression", Codec.ZSTD: "ZstdDefaultCompression"}
BARS = {Codec.GZIP: BAR_OVER_GZIP, Codec.ZSTD: BAR_OVER_ZSTD}
_PEER = 'for chunk in "$0"/*/*/chunk-*; do {codec} -dc < "$chunk" | tar t > /dev/null || exit 1; done'
_CHILD = "import sys; from benchmarks import verify; verify.{work}(*sys.argv[1:])"
_SEED = 7


@dataclass(frozen=True)
class Round:
    """What one backup took, in seconds: processor time, or by the clock."""

    ours: float
    peer: float
    one_core_clock: float
    two_cores_clock: float


def main() -> int:
    """Measure, print, and return 0 if all bars are kept."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "backups")
        _back_up(Path(folder), root)
        kept = [_judge_speed(root, codec) for codec in LEVELS]
        kept += [_judge_memory(Path(folder), codec) for codec in LEVELS]
    return 0 if all(kept) else 1


def verify_one(uri: str, backup_id: str, threads: str) -> None:
    """Verify a backup, and print the seconds that it took and the bytes that were unpacked."""
    location = Location.parse(uri)
    began, cpu_began = time.perf_counter(), time.process_time()
    report = verify_backup(FilesystemStore(location), location, backup_id, Level.DEEP, threads=int(threads))
    clock, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    report.require_whole()
    print(json.dumps({"cpu": cpu, "clock": clock, "unpacked_bytes": report.unpacked_bytes}))


def scan_one(uri: str, key: str, codec: str) -> None:
    """Scan a chunk, and print by how many bytes the process has grown at most."""
    store = FilesystemStore(Location.parse(uri))
    (stored,) = store.list_objects(key)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest point so far
    before = _status_bytes("VmRSS")
    (member,) = scan_chunk(read_through(store, stored), Codec(codec))
    print(json.dumps({"grown_bytes": _status_bytes("VmHWM") - before, "member_bytes": member.size_bytes}))


def _judge_speed(root: Path, codec: Codec) -> bool:
    """Let ours, the peer, and ours on two cores take turns."""
    unpacked, _ = _measure_round(root, codec)  # which reads the files into the page cache
    rounds = [_measure_round(root, codec)[1] for _ in range(ROUNDS)]
    ours = _rate(f"{codec}, ours", unpacked, [one.ours for one in rounds])
    peer = _rate(f"{codec}, peer", unpacked, [one.peer for one in rounds])
    one_core = _rate(f"{codec}, ours by the clock", unpacked, [one.one_core_clock for one in rounds])
    two_cores = _rate(f"{codec}, ours on two cores", unpacked, [one.two_cores_clock for one in rounds])
    print(f"BENCH verify {codec}_two_cores_over_one {two_cores / one_core:.2f}")
    return _judge(f"{codec}_over_{codec}_and_tar", ours / peer, BARS[codec], at_least=True)


def _measure_round(root: Path, codec: Codec) -> tuple[int, Round]:
    """Return how many bytes were unpacked, and how long it took."""
    first, *others = sorted(os.sched_getaffinity(0))
    one = _run("verify_one", {first}, f"file://{root}", codec, "1")
    peer = _run_peer(root / codec, codec, {first})
    two = _run("verify_one", {first, *others[:1]}, f"file://{root}", codec, "2")
    return one["unpacked_bytes"], Round(one["cpu"], peer, one["clock"], two["clock"])


def _rate(what: str, size: int, seconds: list[float]) -> float:
    """Print and return the median rate, in MB/s."""
    rates = sorted(size / value / 1e6 for value in seconds)
    median = statistics.median(rates)
    print(f"{what}: {median:.0f} MB/s ({rates[0]:.0f} to {rates[-1]:.0f})")
    return median


def _judge_memory(folder: Path, codec: Codec) -> bool:
    """Measure chunks that are nothing but one file."""
    grown = {}
    for size in (SMALL_BYTES, LARGE_BYTES):
        chunk = folder / f"{codec}-{size}"
        with chunk.open("wb") as file:
            file.writelines(stream_of("article/shard/segment.db", _pieces(size), size, codec))
        results = [_run("scan_one", os.sched_getaffinity(0), f"file://{folder}", chunk.name, codec) for _ in range(3)]
        chunk.unlink()
        if {result["member_bytes"] for result in results} != {size}:
            raise RuntimeError(f"{chunk.name}: {results}")
        grown[size] = statistics.median(result["grown_bytes"] for result in results) / MIB
    print(f"{codec}, memory: {grown[SMALL_BYTES]:.1f} MiB for a chunk of {SMALL_BYTES // MIB} MiB")
    return _judge(f"{codec}_memory_mib_for_2_gib", grown[LARGE_BYTES], BAR_MEMORY_MIB, at_least=False)


def _pieces(size: int) -> Iterator[bytes]:
    """Yield what can be packed to three quarters of its size; it repeats itself at a distance that no window spans."""
    letters = bytes(range(64)) * 4
    block = random.Random(_SEED).randbytes(64 * MIB).translate(letters)
    for at in range(0, size, MIB):
        yield block[at % len(block) :][:MIB]


def _run(work: str, cores: set[int], *arguments: str) -> dict[str, Any]:
    """Run one of the functions above in a process of its own, on these cores, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(work=work), *arguments],
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=_pin(cores),
    )
    return dict(json.loads(done.stdout))


def _run_peer(backup: Path, codec: Codec, cores: set[int]) -> float:
    """Return the seconds of processor time that the peer takes, all of its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["sh", "-c", _PEER.format(codec=codec), str(backup)], check=True, preexec_fn=_pin(cores))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _pin(cores: set[int]) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, cores)


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def _back_up(folder: Path, root: Path) -> None:
    """Fill a Weaviate, and make a backup by each codec, which is also its id."""
    with weaviate_server(folder, backups=[filesystem_env(root)], env={"LOG_LEVEL": "warning"}) as node:
        server = Server(node.url)
        text = {"name": "text", "dataType": ["text"], "indexFilterable": False, "indexSearchable": False}
        server.define("Article", properties=[text])
        with loopback.session() as direct:
            for body in _batches():
                answer = direct.post(
                    f"{node.url}/v1/batch/objects", body, headers={"Content-Type": "application/json"}, timeout=120
                )
                answer.raise_for_status()
                if refused := [one for one in answer.json() if one["result"].get("errors")]:
                    raise RuntimeError(f"Weaviate refused {refused[0]['result']}")
        for codec, level in LEVELS.items():
            server.back_up(codec, level=level, workers=80)


def _batches() -> Iterator[str]:
    """Yield requests for objects of English-like text and vectors whose bits are as random as those of embeddings."""
    rng = random.Random(_SEED)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 10))) for _ in range(5000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    for _ in range(0, OBJECTS, BATCH):
        objects = []
        for _ in range(BATCH):
            vector = ",".join(map(str, memoryview(rng.randbytes(4 * DIMENSIONS)).cast("I")))
            text = " ".join(rng.choices(words, weights, k=WORDS_PER_OBJECT))
            name = uuid.UUID(int=rng.getrandbits(128), version=4)
            objects.append(f'{{"class":"Article","id":"{name}","properties":{{"text":"{text}"}},"vector":[{vector}]}}')
        yield f'{{"objects":[{",".join(objects)}]}}'


def _judge(name: str, value: float, bar: float, *, at_least: bool) -> bool:
    kept = value >= bar if at_least else value <= bar
    print(f"BENCH verify {name} {value:.2f} bar {bar:g} {'ok' if kept else 'short'}", flush=True)
    return kept


if __name__ == "__main__":
    sys.exit(main())
