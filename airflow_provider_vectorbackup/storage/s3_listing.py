"""Listings of S3, page by page, each with one lean request where its answer is plain.

What boto3 takes to make dictionaries of a page is most of the work on it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from airflow_provider_vectorbackup.backups.locations import Location
from airflow_provider_vectorbackup.storage.s3_requests import Requests
from airflow_provider_vectorbackup.storage.store import StoredObject, key_of_name, prefix_in_bucket, unlistable

Found = tuple[str, int, str, datetime]
"""An object's whole name, its size in bytes, its ETag, and when it was written."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing.

    :param next_token: by which the next page is asked for; empty if none is told.
    """

    found: Sequence[Found]
    is_truncated: bool
    next_token: str

    def leads_on(self, token: str) -> bool:
        """Tell whether it is the last page, or tells how to go on from it.

        :param token: by which it was asked for.
        """
        return not self.is_truncated or self.next_token not in {"", token}


def list_objects(requests: Requests, location: Location, prefix: str) -> Generator[StoredObject, None, None]:
    """Yield the objects of a location as its store does. Raises what the client raises.

    :raises StorageError: the server has more, and does not tell how to go on.
    """
    begin, token = prefix_in_bucket(location, prefix), ""
    while True:
        page = _lean_page(requests, begin, token) or _page_by_boto3(requests, begin, token)
        for name, size_bytes, etag, modified_at in page.found:
            if not name.endswith("/"):
                yield StoredObject(key_of_name(location, name), size_bytes, etag, modified_at.astimezone(UTC))
        if not page.is_truncated:
            return
        if not page.leads_on(token):
            raise unlistable(location, prefix, "the server has more, and does not tell how to go on")
        token = page.next_token


def parse_page(body: bytes) -> Page | None:
    """Return what S3 answered to ListObjectsV2 without a delimiter, None where it is not plain."""
    try:
        # As botocore parses it too, by expat, which bounds what entities may become.
        root = ET.fromstring(body, ET.XMLParser(encoding="utf-8"))  # noqa: S314
        # Amazon's namespace, or none.
        space = root.tag.removesuffix("ListBucketResult")
        # Only objects have fields of their own.
        told = {field.tag: field.text or "" for field in root if not len(field)}
        plain = unquote_plus if told.get(f"{space}EncodingType") == "url" else str
        found = [_found(entry, space, plain) for entry in root if len(entry)]
        return Page(found, told[f"{space}IsTruncated"] == "true", told.get(f"{space}NextContinuationToken", ""))
    except (ET.ParseError, KeyError, ValueError):
        return None


def _found(entry: ET.Element, space: str, plain: Callable[[str], str]) -> Found:
    """Return an object from its entry in a page.

    :raises KeyError: a field is missing.
    :raises ValueError: one is not what it should be.
    """
    told = {field.tag: field.text or "" for field in entry}
    modified_at = datetime.fromisoformat(told[f"{space}LastModified"])
    return plain(told[f"{space}Key"]), int(told[f"{space}Size"]), told[f"{space}ETag"], modified_at


def _lean_page(requests: Requests, begin: str, token: str) -> Page | None:
    """Return a page, None if boto3 has to ask for it."""
    # XML can't hold all names, so they are asked for URL-encoded.
    query = {"list-type": "2", "prefix": begin, "encoding-type": "url"}
    if token:
        query["continuation-token"] = token
    response = requests.send("ListObjectsV2", "", {}, query=query)
    page = parse_page(response.content) if response is not None else None
    return page if page and page.leads_on(token) else None


def _page_by_boto3(requests: Requests, begin: str, token: str) -> Page:
    """Return a page; botocore has the names URL-encoded too, and decodes them."""
    marker = {"ContinuationToken": token} if token else {}
    answer = requests.learned(requests.client.list_objects_v2(Bucket=requests.bucket, Prefix=begin, **marker))
    found = [(each["Key"], each["Size"], each["ETag"], each["LastModified"]) for each in answer.get("Contents", ())]
    return Page(found, answer.get("IsTruncated", False), answer.get("NextContinuationToken", ""))
