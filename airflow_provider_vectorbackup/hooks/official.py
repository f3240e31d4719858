"""Credentials as Airflow's own hooks make them, where their providers are installed.

So a connection means here what it means to a team's other tasks, and credentials that expire refresh themselves. The
hooks are handed the connection that was read already: Amazon's, should it find none on a second look, would take the
worker's own credentials.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from airflow.sdk import Connection

from airflow_provider_vectorbackup.exceptions import (
    InvalidConnection,
    StorageError,
    StorageUnreachable,
    VectorBackupError,
)
from airflow_provider_vectorbackup.hooks.fields import Fields
from airflow_provider_vectorbackup.storage.store import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS

_FAULT = 500
_TOO_MANY = 429
_WITHOUT_ANSWER = frozenset({"ConnectionError", "HTTPClientError", "Timeout", "TransportError"})
_NOT_TRUSTED = "SSLError"


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of Airflow's own, and its hook for a type of connections.

    :param extra: of this package; it installs the provider.
    :param signs_in_with: fields of a connection's extra, which errors name.
    """

    vendor: str
    extra: str
    module: str
    hook: str
    signs_in_with: tuple[str, ...]

    def hook_of(self, fields: Fields) -> Callable[..., Any] | None:
        """Return a class of hooks that have this connection; None without one, or where the provider is not installed.

        :raises StorageError: the provider is installed, and can't be loaded.
        """
        if fields.conn_id is None:
            return None
        try:
            hook = getattr(import_module(self.module), self.hook)
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and f"{self.module}.".startswith(f"{error.name}."):
                return None
            raise StorageError(
                f"{self.vendor}'s provider can't be loaded: {error}.", hint=f"Install it anew. {self._command}"
            ) from error
        connection = _connection(fields)
        return type(self.hook, (hook,), {"get_connection": staticmethod(lambda _conn_id: connection)})

    def refuse(self, fields: Fields, names: Iterable[str]) -> None:
        """Refuse a connection with one of these fields of extra, which only the provider's hook can follow."""
        if needed := [name for name in names if name in fields.extra]:
            verb = "needs" if len(needed) == 1 else "need"
            raise InvalidConnection(f"{', '.join(needed)} {verb} {self.vendor}'s provider.", hint=self._command)

    def made(self, fields: Fields, make: Callable[[], Any]) -> Any:
        """Return what a hook makes of a connection.

        :raises InvalidConnection: it can't.
        :raises StorageUnreachable: it can't now.
        """
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - what the hooks and the libraries below them raise is of all kinds
            failure = self._failure(fields, error)
        raise failure  # here, so that the hook's error, which may quote a secret, is not its context

    def _failure(self, fields: Fields, error: Exception) -> VectorBackupError:
        names = [name for name in self.signs_in_with if name in fields.extra] or ["what it holds"]
        message = f"{', '.join(names)} can't be used by {self.vendor}'s provider: {_words(error)}."
        if _may_pass(error):
            return StorageUnreachable(
                f"Connection {fields.conn_id!r}: {message}", hint="Look at the network of the worker."
            )
        return InvalidConnection(message, hint="Look at the connection, and at what its identity may do.")

    @property
    def _command(self) -> str:
        return f"Run: pip install 'airflow-provider-vectorbackup[{self.extra}]'"


AMAZON = Provider(
    "Amazon",
    "amazon",
    "airflow.providers.amazon.aws.hooks.base_aws",
    "AwsGenericHook",
    ("role_arn", "session_kwargs", "profile_name", "config_kwargs"),
)
GOOGLE = Provider(
    "Google",
    "google",
    "airflow.providers.google.common.hooks.base_google",
    "GoogleBaseHook",
    (
        "key_path",
        "keyfile_dict",
        "key_secret_name",
        "credential_config_file",
        "idp_issuer_url",
        "impersonation_chain",
        "quota_project_id",
    ),
)
MICROSOFT = Provider(
    "Microsoft",
    "microsoft-azure",
    "airflow.providers.microsoft.azure.hooks.wasb",
    "WasbHook",
    ("tenant_id", "client_secret_auth_config", "managed_identity_client_id", "workload_identity_tenant_id"),
)


def aws_session(fields: Fields) -> Any:
    """Return the boto3 session of a connection; None without Amazon's provider, if none is needed."""
    hook = AMAZON.hook_of(fields)
    if hook is None:
        AMAZON.refuse(fields, ("role_arn", "session_kwargs"))
        return None
    # For the requests that assume a role; S3's own client is not made by the hook.
    config = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, "read_timeout": READ_TIMEOUT_SECONDS}
    config |= fields.mapping("config_kwargs") if "role_arn" in fields.extra else {}
    return AMAZON.made(fields, lambda: hook(fields.conn_id, config=config).get_session())


def google_credentials(fields: Fields) -> Any:
    """Return the Google credentials of a connection; None without Google's provider, if none is needed."""
    # The caller has read this flag: a text, as URIs have it, would be true for the hook, whatever it says.
    extra = {name: value for name, value in fields.extra.items() if name != "is_anonymous"}
    hook = GOOGLE.hook_of(replace(fields, extra=extra))
    if hook is None:
        names = ("impersonation_chain", "credential_config_file", "key_secret_name", "idp_issuer_url")
        GOOGLE.refuse(fields, (*names, "quota_project_id"))
        return None

    def credentials() -> Any:
        made, quota = hook(fields.conn_id).get_credentials(), fields.text("quota_project_id")
        # Older versions of the hook pass this field over.
        return made.with_quota_project(quota) if quota and made.quota_project_id != quota else made

    return GOOGLE.made(fields, credentials)


def azure_credential(fields: Fields) -> Any:
    """Return the credential of a connection that signs in; None without Microsoft's provider, if none is needed."""
    hook = MICROSOFT.hook_of(fields)
    if hook is None:
        MICROSOFT.refuse(fields, ("client_secret_auth_config",))
        return None

    def credential() -> Any:
        with hook(fields.conn_id).get_conn() as service:
            return service.credential

    return MICROSOFT.made(fields, credential)


def _connection(fields: Fields) -> Connection:
    return Connection(
        conn_id=fields.conn_id or "",
        conn_type=fields.conn_type or "",
        host=fields.host,
        login=fields.login,
        password=fields.password,
        extra=json.dumps(dict(fields.extra)),
    )


def _words(error: Exception) -> str:
    """Return what an error says; of Python's own only the name, as those may quote a value."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__ if type(error).__module__ == "builtins" else str(error).strip().rstrip(".")


def _may_pass(error: Exception) -> bool:
    """Return whether the same may succeed later, by what the libraries' errors have in common."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):  # of AWS
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        throttled = "Throttl" in answer.get("Error", {}).get("Code", "")
    else:
        status, throttled = getattr(error, "code", None), False
    if isinstance(status, int):
        return throttled or status >= _FAULT or status == _TOO_MANY
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return not kinds.isdisjoint(_WITHOUT_ANSWER) and _NOT_TRUSTED not in kinds
