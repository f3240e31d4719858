"""A location: the place in storage that holds backups, as a URI with an optional connection id.

``s3://conn_id@bucket/prefix``, ``gs://conn_id@bucket/prefix``, ``azure://conn_id@container/prefix``, ``file:///dir``:
Airflow's object-storage convention.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import SplitResult, urlsplit

from airflow_provider_vectorbackup.exceptions import InvalidRequest

SCHEME_BY_BACKEND = {"s3": "s3", "gcs": "gs", "azure": "azure", "filesystem": "file"}
"""The server's word for where it writes, and the scheme of a location there."""

BACKENDS = tuple(SCHEME_BY_BACKEND)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EXAMPLE = {"s3": "s3://aws_default@bucket/path", "gs": "gs://google_cloud_default@bucket/path"}
_EXAMPLE |= {"azure": "azure://wasb_default@container/path", "file": "file:///mnt/backups"}


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed location.

    ``prefix`` has no slash at either end, except for ``file``, where it is an absolute directory.
    """

    scheme: str
    bucket: str
    prefix: str
    conn_id: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a location.

        :raises InvalidRequest: unknown scheme, no bucket, a password, a query, ``..``, control characters, or
            a relative directory.
        """
        parts = _split(uri)
        scheme = parts.scheme
        if scheme not in _EXAMPLE or parts.query or parts.fragment:
            raise InvalidRequest(
                f"{_without_password(uri)!r} is not a location.",
                hint=f"Write it like one of {', '.join(_EXAMPLE.values())}.",
            )
        if ":" in parts.netloc:
            # Before the path, not before the @: a password may hold a slash.
            raise InvalidRequest(
                f"The location {_without_password(uri)!r} carries a password or a port.",
                hint="Put credentials and endpoint into an Airflow connection and its id before the @.",
            )
        conn_id, _, bucket = parts.netloc.rpartition("@")
        if bool(bucket) == (scheme == "file"):
            problem = "must have no host" if scheme == "file" else "has no bucket"
            raise InvalidRequest(f"The location {uri!r} {problem}.", hint=f"Write it like {_EXAMPLE[scheme]}.")
        if scheme == "file" and not parts.path.startswith("/"):
            raise InvalidRequest(
                f"The location {uri!r} is no absolute directory.", hint=f"Write it like {_EXAMPLE[scheme]}."
            )
        prefix = parts.path.rstrip("/") or "/" if scheme == "file" else parts.path.strip("/")
        if ".." in prefix.split("/") or _CONTROL.search(uri):
            raise InvalidRequest(f"The location {uri!r} leaves its bucket or has control characters.")
        return cls(scheme, bucket, prefix, conn_id or None)

    @classmethod
    def of_backup(cls, uri: str) -> tuple[Self, str]:
        """Read the URI of a backup, as :meth:`uri_of` makes it; return its location and its id.

        :raises InvalidRequest: it is none.
        """
        parent, _, backup_id = uri.rstrip("/").rpartition("/") if isinstance(uri, str) else ("", "", "")
        return cls.parse(f"{parent}/" if parent.endswith("/") else parent), backup_id

    def has_name_of(self, other: Location) -> bool:
        """Whether both have one name, by whatever connection each is reached."""
        return (self.scheme, self.bucket, self.prefix) == (other.scheme, other.bucket, other.prefix)

    def with_overrides(self, bucket: str | None, path: str | None) -> Location:
        """Return where a backup goes whose request overrides bucket or path (a path replaces the whole prefix)."""
        return replace(self, bucket=bucket or self.bucket, prefix=path.strip("/") if path is not None else self.prefix)

    def uri_of(self, backup_id: str) -> str:
        """Return the URI of one backup in this location."""
        return f"{self}/{backup_id}" if self.prefix != "/" else f"{self}{backup_id}"

    def __str__(self) -> str:
        user = f"{self.conn_id}@" if self.conn_id else ""
        return f"{self.scheme}://{user}{self.bucket}{'/' if self.prefix and self.scheme != 'file' else ''}{self.prefix}"


def require_backend(backend: str) -> str:
    """Return the backend's short name; the server's long module names are accepted.

    :raises InvalidRequest: the server has no such backend.
    """
    short = backend.removeprefix("backup-") if isinstance(backend, str) else ""
    if short not in SCHEME_BY_BACKEND:
        raise InvalidRequest(f"{backend!r} is not a backend.", hint=f"Use one of {', '.join(BACKENDS)}.")
    return short


def require_location_of(backend: str, location: Location) -> Location:
    """Return ``location`` if it can be where ``backend`` writes.

    :raises InvalidRequest: the schemes differ.
    """
    if location.scheme != SCHEME_BY_BACKEND[backend]:
        raise InvalidRequest(
            f"The location {location} can't be where backend {backend!r} writes.",
            hint=f"A location of {backend} begins with {SCHEME_BY_BACKEND[backend]}://.",
        )
    return location


def _split(uri: object) -> SplitResult:
    """Split a URI; one that can't be has no scheme."""
    try:
        return urlsplit(uri if isinstance(uri, str) else "")
    except ValueError:
        return urlsplit("")


def _without_password(uri: object) -> str:
    """Hide all from the user's colon to the last @: a password may hold both, and slashes."""
    return re.sub(r"(//[^:@/]*):.*@", r"\1:***@", str(uri), flags=re.DOTALL)
