"""How Azure is reached; apart from what needs its library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AzureAccess:
    """How an account is reached: by a connection string, a key, a SAS token, a service principal, or an identity.

    :param account_url: not needed with a connection string, which holds it.
    :param identity: arguments of azure-identity's DefaultAzureCredential, which is used where nothing else is given.
    :param credential: whatever Azure's library takes as one; used as it is.
    """

    account_url: str = ""
    connection_string: str | None = field(default=None, repr=False)
    account_name: str = ""
    account_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    tenant_id: str | None = None
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    identity: Mapping[str, str] = field(default_factory=dict)
    credential: Any | None = field(default=None, repr=False)
