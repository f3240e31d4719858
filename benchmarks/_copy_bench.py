"""One copy at a time: by ours, by rclone, by Airflow's own operator, on servers that run for all of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from airflow_provider_vectorbackup.actions.verify import verify_backup
from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.backups.verification import Level
from airflow_provider_vectorbackup.weaviate.layout import OWN_FOLDER
from benchmarks._copy_backups import Shape, write_backup
from benchmarks._copy_places import PREFIX, SOURCE, TARGET, Opener, Places, find_rclone
from benchmarks._copy_processes import Cost, measured, median
from tests.services.object_stores import S3Settings, fake_gcs_server, minio_server

Side = Literal["ours", "rclone"]
Method = Literal["streamed", "server_side"]

TRANSFERS = 16
BUFFER_MIB = 128
"""The default."""

OFFICIAL = Path(".venv-official")
"""The environment that has the operator, as the Makefile makes it."""

_STARTS = 3
_CHILD = "from benchmarks._copy import main; main()"
_OPERATOR = "benchmarks._copy_operator"


@dataclass(frozen=True, slots=True)
class Row:
    """A backup, and the schemes between which it is copied.

    :param bar: on the time of ours over that of the peer.
    :param buffer_mib: memory of ours for what is on its way.
    """

    name: str
    shape: Shape
    source: str
    target: str
    bar: float
    method: Method = "streamed"
    buffer_mib: int = BUFFER_MIB


@dataclass
class Bench:
    """The servers, and what is on them.

    :ivar written: backups that lie at a source, by the source's scheme.
    """

    places: Places
    s3: S3Settings
    written: set[tuple[str, Shape]] = field(default_factory=set)
    _starts: dict[tuple[str, str], Cost] = field(default_factory=dict)

    def target(self, row: Row, name: str) -> Location:
        """Return a place for one copy of a row."""
        return self.places.target(row.target, f"{row.name}-{name}")

    def copy(self, side: Side, row: Row, target: Location, *flags: str) -> Cost:
        """Copy, and return what it cost beyond the start of the process.

        :param flags: for rclone.
        """
        self._write(row)
        # What was written before is not to be paid for now.
        os.sync()
        if side == "ours":
            return self._ours(row, target, row.method)[0].beyond(self._start_of_ours(row, target))
        return self._rclone(row, target, flags).beyond(self._start_of_rclone)

    def seconds_of_copy(self, row: Row, target: Location) -> float:
        """Copy by ours, and return the seconds of the copy itself: without start, imports and opening."""
        self._write(row)
        return float(self._ours(row, target, row.method)[1]["seconds"])

    def seconds_of_operator(self, row: Row, target: Location) -> float:
        """Copy by Airflow's operator, and return the seconds of its ``execute``.

        :raises RuntimeError: it has not copied all.
        """
        self._write(row)
        s3 = {**self.s3.airflow_connection, "extra": json.dumps(self.s3.airflow_connection["extra"])}
        gcs = {"conn_type": "google_cloud_platform", "extra": json.dumps({"is_anonymous": True, "project": "bench"})}
        env = {"AIRFLOW_CONN_FROM": json.dumps(s3), "AIRFLOW_CONN_TO": json.dumps(gcs)}
        env |= {"AIRFLOW_HOME": str(self.places.folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "false"}
        source = self.places.source(row.source)
        backup = f"{source.prefix}/{row.shape.backup_id}/"
        argv = [str(OFFICIAL / "bin/python"), "-m", _OPERATOR, source.bucket, backup, f"{target}/"]
        told = json.loads(measured(argv, env=env)[1].splitlines()[-1])
        if told["objects"] != len(row.shape.sizes):
            raise RuntimeError(f"The operator has copied {told['objects']} objects of {len(row.shape.sizes)}")
        return float(told["seconds"])

    def require_copied(self, row: Row, target: Location, *, has_manifest: bool) -> None:
        """Raise RuntimeError unless a target holds all of a backup, with a manifest or with nothing else."""
        found = self.places.sizes(target, row.shape.backup_id)
        own = {key for key in found if key.startswith(f"{row.shape.backup_id}/{OWN_FOLDER}/")}
        if {key: found[key] for key in found.keys() - own} != row.shape.sizes or bool(own) != has_manifest:
            raise RuntimeError(f"{target} does not hold what was to be copied, but {len(found)} objects; own: {own}")

    def forget(self, row: Row) -> None:
        """Delete the backup that a row is copied from."""
        self.places.remove(self.places.source(row.source), row.shape.backup_id)
        self.written.discard((row.source, row.shape))

    def _write(self, row: Row) -> None:
        """Write a row's backup where it is to lie, unless it does, and make sure that it is one."""
        if (row.source, row.shape) in self.written:
            return
        location = self.places.source(row.source)
        {"s3": self._write_to_s3, "file": _write_to_folder}[row.source](row.shape, location)
        store = self.places.opener.open_store(location)
        verify_backup(store, location, row.shape.backup_id, Level.QUICK).require_whole()
        self.written.add((row.source, row.shape))

    def _write_to_s3(self, shape: Shape, location: Location) -> None:
        """Write as Weaviate does: chunks in parts, and be it only one."""
        with self.s3.client() as client:

            def write_chunk(key: str, pieces: Iterable[bytes]) -> None:
                name = {"Bucket": location.bucket, "Key": f"{location.prefix}/{key}"}
                upload = name | {"UploadId": client.create_multipart_upload(**name)["UploadId"]}
                etags = [
                    client.upload_part(**upload, PartNumber=number, Body=piece)["ETag"]
                    for number, piece in enumerate(pieces, start=1)
                ]
                parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)]
                client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

            def write_descriptor(key: str, pieces: Iterable[bytes]) -> None:
                client.put_object(Bucket=location.bucket, Key=f"{location.prefix}/{key}", Body=b"".join(pieces))

            write_backup(shape, write_chunk, write_descriptor)

    def _ours(self, row: Row, target: Location, method: Method | None) -> tuple[Cost, dict[str, Any]]:
        """Run ours; without a method, it does all but the copy."""
        order = {
            "opener": astuple(self.places.opener),
            "backup_id": row.shape.backup_id,
            "source": str(self.places.source(row.source)),
            "target": str(target),
            "threads": TRANSFERS,
            "buffer_mib": row.buffer_mib,
            "method": method,
        }
        cost, printed = measured([sys.executable, "-c", _CHILD], order=order)
        return cost, json.loads(printed or "{}")

    def _start_of_ours(self, row: Row, target: Location) -> Cost:
        schemes = (row.source, row.target)
        if schemes not in self._starts:
            self._starts[schemes] = median([self._ours(row, target, None)[0] for _ in range(_STARTS)])
        return self._starts[schemes]

    def _rclone(self, row: Row, target: Location, flags: tuple[str, ...]) -> Cost:
        ends = self.places.rclone_paths(
            self.places.source(row.source), target, row.shape.backup_id, one_remote=row.method == "server_side"
        )
        bound = ("--transfers", str(TRANSFERS), "--checkers", str(TRANSFERS))
        return measured([self._rclone_path, "copy", *ends, *bound, *flags], env=self.places.rclone_env())[0]

    @cached_property
    def _rclone_path(self) -> str:
        return find_rclone()

    @cached_property
    def _start_of_rclone(self) -> Cost:
        return median([measured([self._rclone_path, "version"])[0] for _ in range(_STARTS)])


def _write_to_folder(shape: Shape, location: Location) -> None:
    def write(key: str, pieces: Iterable[bytes]) -> None:
        path = Path(location.prefix, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(pieces)

    write_backup(shape, write, write)


@contextmanager
def running_bench(folder: Path) -> Iterator[Bench]:
    """Run the servers, with their data in a folder."""
    with minio_server(folder) as s3, fake_gcs_server(folder, on_disk=True) as gcs:
        for bucket in (SOURCE, TARGET):
            s3.create_bucket(bucket)
        gcs.create_bucket(TARGET)
        os.environ["STORAGE_EMULATOR_HOST"] = gcs.url
        opener = Opener(s3.url, s3.access_key, s3.secret_key, s3.region)
        (folder / SOURCE / PREFIX).mkdir(parents=True)
        yield Bench(Places(opener, gcs.url, folder), s3)
