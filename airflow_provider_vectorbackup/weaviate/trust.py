"""Which certificates are accepted: the same for both clients."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi

from airflow_provider_vectorbackup.exceptions import InvalidConnection
from airflow_provider_vectorbackup.weaviate.endpoint import Endpoint


def ssl_context(endpoint: Endpoint) -> ssl.SSLContext | bool:
    """Return what certificates are checked against: certifi's bundle, unless the connection names another.

    False is for no check, and for a server without TLS, which saves the time to read the bundle.

    :raises InvalidConnection: the bundle can't be read.
    """
    if endpoint.verify is False or not endpoint.base_url.startswith("https:"):
        return False
    bundle = Path(certifi.where() if endpoint.verify is True else endpoint.verify)
    try:
        if bundle.is_dir():
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise InvalidConnection(
            f"The CA bundle {str(bundle)!r} can't be used: {error.strerror or error}.",
            hint="Give in the connection (ca_file) the path of a PEM file that is on workers and triggerer.",
        ) from error
