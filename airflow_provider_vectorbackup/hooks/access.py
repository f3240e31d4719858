"""What connections of Airflow's own types say of how storage is reached.

Their fields are read as Airflow's own hooks read them; what only those can do is refused. The errors name the field and
are completed with the connection's id in ``storage``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_vectorbackup.exceptions import InvalidConnection
from airflow_provider_vectorbackup.hooks.fields import Fields, as_flag

if TYPE_CHECKING:
    from airflow_provider_vectorbackup.storage.azure import AzureAccess
    from airflow_provider_vectorbackup.storage.gcs import GCSAccess
    from airflow_provider_vectorbackup.storage.s3 import S3Access

_IDENTITY_FIELDS = ("managed_identity_client_id", "workload_identity_tenant_id")
AZURE_FIELDS = (
    "connection_string",
    "tenant_id",
    "shared_access_key",
    "sas_token",
    "account_key",
    *_IDENTITY_FIELDS,
)
"""Of extra; Airflow's hook hands all others on to Azure's library."""


def s3_access(fields: Fields) -> S3Access:
    """Read a connection of the type ``aws``."""
    from airflow_provider_vectorbackup.storage.s3 import S3Access

    fields.refuse(
        ("role_arn", "session_kwargs"),
        "Give keys as login and password, or the name of a profile of the worker's AWS configuration (profile_name): a "
        "profile can assume a role.",
    )
    key_id = fields.login or fields.text("aws_access_key_id")
    secret = fields.password or fields.text("aws_secret_access_key")
    token = fields.text("aws_session_token")
    if bool(key_id) != bool(secret) or (token and not secret):
        raise InvalidConnection(
            "the access key is not whole.", hint="Give its id as login and the secret as password, or neither."
        )
    endpoint = fields.nested("service_config").nested("s3").text("endpoint_url") or fields.text("endpoint_url")
    return S3Access(
        access_key_id=key_id,
        secret_access_key=secret,
        session_token=token,
        profile=fields.text("profile_name"),
        region=fields.text("region_name"),
        endpoint_url=_url("endpoint_url", endpoint) if endpoint else None,
        verify=_verify(fields),
        config=fields.mapping("config_kwargs"),
    )


def gcs_access(fields: Fields) -> GCSAccess:
    """Read a connection of the type ``google_cloud_platform``."""
    from airflow_provider_vectorbackup.storage.gcs import GCSAccess

    if fields.flag("is_anonymous"):
        return GCSAccess(is_anonymous=True)
    fields.refuse(
        ("impersonation_chain", "credential_config_file", "key_secret_name", "idp_issuer_url", "quota_project_id"),
        "Give key_path or keyfile_dict; or leave the connection out of the location and set up Application Default "
        "Credentials on the worker, which can impersonate and federate.",
    )
    key_path, keyfile = fields.text("key_path"), fields.mapping("keyfile_dict")
    if key_path and keyfile:
        raise InvalidConnection("key_path and keyfile_dict are both given.", hint="Give one of them.")
    if isinstance(key := keyfile.get("private_key"), str):
        # As Airflow's hook does: on its way through a shell, a key may get its line breaks written out.
        keyfile = {**keyfile, "private_key": key.replace("\\n", "\n")}
    return GCSAccess(key_path=key_path, keyfile=keyfile or None)


def azure_access(fields: Fields) -> AzureAccess:
    """Read a connection of the type ``wasb``: the first way to sign in that it has, in the order of Airflow's hook."""
    from airflow_provider_vectorbackup.storage.azure import AzureAccess

    fields.refuse(
        sorted(fields.extra.keys() - set(AZURE_FIELDS)), f"Of extra, these are understood: {', '.join(AZURE_FIELDS)}."
    )
    if connection_string := fields.text("connection_string"):
        return AzureAccess(connection_string=connection_string)
    if tenant_id := fields.text("tenant_id"):
        if not (fields.host and fields.login and fields.password):
            raise InvalidConnection(
                "tenant_id is given, but not all that a service principal needs.",
                hint="Give the account's URL as host, the client's id as login and its secret as password.",
            )
        return AzureAccess(
            _account_url(fields), tenant_id=tenant_id, client_id=fields.login, client_secret=fields.password
        )
    if key := fields.text("shared_access_key"):
        return _with_key(fields, key)
    if sas_token := fields.text("sas_token"):
        url, _, token = sas_token.rpartition("?")
        return AzureAccess(_url("sas_token", url) if url else _account_url(fields), sas_token=token)
    if key := fields.password or fields.text("account_key"):
        return _with_key(fields, key)
    return AzureAccess(
        _account_url(fields), identity={name: text for name in _IDENTITY_FIELDS if (text := fields.text(name))}
    )


def _with_key(fields: Fields, key: str) -> AzureAccess:
    from airflow_provider_vectorbackup.storage.azure import AzureAccess

    url = _account_url(fields)
    name = fields.login or (urlsplit(url).hostname or "").partition(".")[0]
    return AzureAccess(url, account_name=name, account_key=key)


def _account_url(fields: Fields) -> str:
    """Return the URL of an account: the host, which may be a URL, a host name or an account's name; or the login's."""
    given = fields.host or fields.login
    if not given:
        raise InvalidConnection(
            "no account is given.", hint="Give the account's URL as host, or its name as login, or a connection_string."
        )
    if "://" not in given:
        given = f"https://{given}" if "." in given else f"https://{given}.blob.core.windows.net"
    return _url("the host", given)


def _url(name: str, url: str) -> str:
    """Return a URL if it is one; not shown if it is not: it may hold a password or a token."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise InvalidConnection(f"{name} holds no URL.", hint="Write it like https://storage.example.com:9000.")
    return url


def _verify(fields: Fields) -> bool | str | None:
    flag = as_flag(fields.extra.get("verify"))
    return fields.text("verify") if flag is None else flag
