"""What connections of Airflow's own types say of how storage is reached.

Credentials are made by Airflow's own hooks where their providers are installed (``official``). Elsewhere the fields are
read as those hooks read them, and what only those can do is refused. The errors name the field and are completed with
the connection's id in ``storage``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_vectorbackup.exceptions import InvalidConnection
from airflow_provider_vectorbackup.hooks import official
from airflow_provider_vectorbackup.hooks.fields import Fields, as_flag

if TYPE_CHECKING:
    from airflow_provider_vectorbackup.storage.azure_access import AzureAccess
    from airflow_provider_vectorbackup.storage.gcs import GCSAccess
    from airflow_provider_vectorbackup.storage.s3 import S3Access

_IDENTITY_FIELDS = ("managed_identity_client_id", "workload_identity_tenant_id")
AZURE_FIELDS = (
    "connection_string",
    "tenant_id",
    "client_secret_auth_config",
    "shared_access_key",
    "sas_token",
    "account_key",
    *_IDENTITY_FIELDS,
)
"""Of extra; Airflow's hook hands all others on to Azure's library."""


def s3_access(fields: Fields) -> S3Access:
    """Read a connection of the type ``aws``."""
    from airflow_provider_vectorbackup.storage.s3 import S3Access

    key_id = fields.login or fields.text("aws_access_key_id")
    secret = fields.password or fields.text("aws_secret_access_key")
    token = fields.text("aws_session_token")
    if bool(key_id) != bool(secret) or (token and not secret):
        raise InvalidConnection(
            "the access key is not whole.", hint="Give its id as login and the secret as password, or neither."
        )
    endpoint = fields.nested("service_config").nested("s3").text("endpoint_url") or fields.text("endpoint_url")
    endpoint_url = _url("endpoint_url", endpoint) if endpoint else None
    verify, config = _verify(fields), fields.mapping("config_kwargs")
    profile, region = fields.text("profile_name"), fields.text("region_name")
    if session := official.aws_session(fields):
        return S3Access(session=session, endpoint_url=endpoint_url, verify=verify, config=config)
    return S3Access(key_id, secret, token, profile, region, endpoint_url, verify, config)


def gcs_access(fields: Fields) -> GCSAccess:
    """Read a connection of the type ``google_cloud_platform``."""
    from airflow_provider_vectorbackup.storage.gcs import GCSAccess

    if fields.flag("is_anonymous"):
        return GCSAccess(is_anonymous=True)
    key_path, keyfile = fields.text("key_path"), fields.mapping("keyfile_dict")
    if key_path and keyfile:
        raise InvalidConnection("key_path and keyfile_dict are both given.", hint="Give one of them.")
    if credentials := official.google_credentials(fields):
        return GCSAccess(credentials=credentials)
    if isinstance(key := keyfile.get("private_key"), str):
        # As Airflow's hook does: on its way through a shell, a key may get its line breaks written out.
        keyfile = {**keyfile, "private_key": key.replace("\\n", "\n")}
    return GCSAccess(key_path=key_path, keyfile=keyfile or None)


def azure_access(fields: Fields) -> AzureAccess:
    """Read a connection of the type ``wasb``: the first way to sign in that it has, in the order of Airflow's hook."""
    from airflow_provider_vectorbackup.storage.azure_access import AzureAccess

    fields.refuse(
        sorted(fields.extra.keys() - set(AZURE_FIELDS)), f"Of extra, these are understood: {', '.join(AZURE_FIELDS)}."
    )
    if connection_string := fields.text("connection_string"):
        return AzureAccess(connection_string=connection_string)
    if tenant_id := fields.text("tenant_id"):
        return _signed_in(fields, tenant_id)
    if key := fields.text("shared_access_key"):
        return _with_key(fields, key)
    if sas_token := fields.text("sas_token"):
        url, _, token = sas_token.rpartition("?")
        return AzureAccess(_url("sas_token", url) if url else _account_url(fields), sas_token=token)
    if key := fields.password or fields.text("account_key"):
        return _with_key(fields, key)
    return _signed_in(fields)


def _signed_in(fields: Fields, tenant_id: str | None = None) -> AzureAccess:
    """Return access as a service principal of a tenant, without one as the worker's identity."""
    from airflow_provider_vectorbackup.storage.azure_access import AzureAccess

    if tenant_id and not (fields.host and fields.login and fields.password):
        raise InvalidConnection(
            "tenant_id is given, but not all that a service principal needs.",
            hint="Give the account's URL as host, the client's id as login and its secret as password.",
        )
    url = _account_url(fields)
    if not url.startswith("https://"):
        raise InvalidConnection(
            "the account is not reached by HTTPS, which signing in needs.",
            hint="Give an https:// URL as the host, or a key or SAS token.",
        )
    if credential := official.azure_credential(fields):
        return AzureAccess(url, credential=credential)
    if tenant_id:
        client_id, client_secret = fields.login or "", fields.password or ""
        return AzureAccess(url, tenant_id=tenant_id, client_id=client_id, client_secret=client_secret)
    return AzureAccess(url, identity={name: text for name in _IDENTITY_FIELDS if (text := fields.text(name))})


def _with_key(fields: Fields, key: str) -> AzureAccess:
    from airflow_provider_vectorbackup.storage.azure_access import AzureAccess

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
