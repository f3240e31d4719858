"""How S3 is reached: boto3's client of it, from what a connection says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import boto3
import botocore
from botocore import exceptions
from botocore.config import Config
from botocore.utils import parse_timestamp

from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.storage.s3_requests import md5
from airflow_provider_vectorbackup.storage.store import CONNECT_TIMEOUT_SECONDS, CONNECTIONS, READ_TIMEOUT_SECONDS

ATTEMPTS = 3

UNFIT = (exceptions.BotoCoreError, ValueError, TypeError, AttributeError)
"""What the library says of settings; it looks at few of them before it uses them."""


@dataclass(frozen=True, slots=True)
class S3Access:
    """How S3 is reached; what is None is left to boto3's own chain.

    :param verify: whether certificates are checked; a text is the path of the CA bundle to check against.
    :param config: further settings for botocore's Config, as in the connection's ``config_kwargs``.
    :param session: a ready boto3.Session, in place of keys, profile and region.
    """

    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    verify: bool | str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    session: Any | None = field(default=None, repr=False)


def open_session(access: S3Access) -> Any:
    """Return boto3's session, which has the credentials."""
    if access.session:
        return access.session
    return boto3.Session(
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        aws_session_token=access.session_token,
        profile_name=access.profile,
        region_name=access.region,
    )


def open_client(session: Any, access: S3Access, config: Config) -> Any:
    """Return boto3's client of S3."""
    # What botocore does by itself takes two thirds of the time of a listing.
    parsers = session._session.get_component("response_parser_factory")  # noqa: SLF001 - boto3 has no way to say it
    parsers.set_parser_defaults(timestamp_parser=_parse_time)
    client = session.client("s3", endpoint_url=access.endpoint_url, verify=access.verify, config=config)
    client.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
    return client


def _parse_time(value: Any) -> datetime:
    """Read a time of a body, which is of ISO 8601; leave others, such as those of headers, to botocore."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        parsed: datetime = parse_timestamp(value)
        return parsed


def _add_md5(params: dict[str, Any], **_: object) -> None:
    """Add the checksum that older servers than Amazon's want, beside the newer one of botocore's."""
    params["headers"]["Content-MD5"] = md5(params["body"])


def settings_of(access: S3Access) -> Config:
    """Return our settings, and over them those of the connection.

    :raises InvalidRequest: these are not what botocore takes.
    """
    usual = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        # The one that botocore would add to every object is not understood by all servers.
        request_checksum_calculation="when_required",
        # Other servers than Amazon's seldom have a host name for every bucket.
        s3={"addressing_style": "path"} if access.endpoint_url else None,
    )
    given = dict(access.config)
    if given.get("signature_version") == "unsigned":
        given["signature_version"] = botocore.UNSIGNED
    try:
        return usual.merge(Config(**given))
    except UNFIT as error:
        raise InvalidRequest(f"config_kwargs: {error}.", hint="Give what botocore's Config takes.") from error
