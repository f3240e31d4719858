"""The processes that ``benchmarks.catalogue`` measures. They import libraries after a look at their memory.

Requests are counted, and their answers held back, where Python's standard library sends them, whoever asks for them
and how often.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.services.object_stores import S3Settings


def ours(settings: S3Settings, delay_seconds: float, uri: str, changed: list[str]) -> dict[str, Any]:
    """Read the catalogue, write some descriptors anew, and read it again with what the first pass left."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest point so far
    before = _status_bytes("VmRSS")
    from airflow_provider_vectorbackup.actions.catalogue import DescriptorCache, read_catalogue
    from airflow_provider_vectorbackup.backups.locations import Location
    from airflow_provider_vectorbackup.storage.s3 import S3Access, S3Store

    location = Location.parse(uri)
    access = S3Access(settings.access_key, settings.secret_key, region=settings.region, endpoint_url=settings.url)
    cache: DescriptorCache = {}
    sent = _watched(delay_seconds)
    store = S3Store(location, access)
    began = time.perf_counter()
    catalogue = read_catalogue(store, cache)
    seconds, first = time.perf_counter() - began, Counter(sent)
    grown = _status_bytes("VmHWM") - before
    usable, deepest = sum(entry.is_usable for entry in catalogue.entries), max(len(e.chain) for e in catalogue.entries)
    del catalogue
    with settings.client() as client:
        for key in changed:
            name = f"{location.prefix}/{key}"
            content = client.get_object(Bucket=location.bucket, Key=name)["Body"].read()
            client.put_object(Bucket=location.bucket, Key=name, Body=content + b"\n")
    sent.clear()
    again = read_catalogue(store, cache)
    return {
        "seconds": seconds,
        "grown_bytes": grown,
        "listings": first["listing"],
        "reads": first["read"],
        "others": first["other"],
        "usable": usable,
        "deepest": deepest,
        "second_reads": sent["read"],
        "second_usable": sum(entry.is_usable for entry in again.entries),
    }


def peer(settings: S3Settings, delay_seconds: float, bucket: str, names: list[str]) -> dict[str, Any]:
    """Read objects one after another by one boto3 client, and make JSON of each."""
    _watched(delay_seconds)
    with settings.client() as client:
        began = time.perf_counter()
        for name in names:
            json.loads(client.get_object(Bucket=bucket, Key=name)["Body"].read())
        return {"seconds": time.perf_counter() - began}


def main() -> None:
    """Run the function that is named, with the arguments that come as JSON, and print what it returns."""
    arguments = json.load(sys.stdin)
    # Not at the top: none of this is to be in the memory of a process that begins.
    settings = _settings(arguments.pop(0))
    print(json.dumps({"ours": ours, "peer": peer}[sys.argv[1]](settings, *arguments)))


def _settings(fields: list[str]) -> S3Settings:
    from tests.services.object_stores import S3Settings

    return S3Settings(*fields)


def _watched(delay_seconds: float) -> Counter[str]:
    """Hold back each answer from now on, and return what is counted: the requests that are sent, by kind."""
    import http.client

    sent: Counter[str] = Counter()
    send, receive = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse

    def counting(self: Any, method: str, url: str, *arguments: Any, **options: Any) -> None:
        kind = "listing" if "list-type=2" in url else "other" if method != "GET" or "uploads" in url else "read"
        sent[kind] += 1
        send(self, method, url, *arguments, **options)

    def waiting(self: Any) -> http.client.HTTPResponse:
        time.sleep(delay_seconds)
        return receive(self)

    http.client.HTTPConnection.putrequest = counting  # type: ignore[method-assign]
    http.client.HTTPConnection.getresponse = waiting  # type: ignore[method-assign]
    return sent


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")
