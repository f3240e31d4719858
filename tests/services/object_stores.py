"""Runs stand-ins of the object stores on 127.0.0.1, each with its own random credentials and an empty store.

Each settings object makes buckets and gives Weaviate's settings for backups into one.
"""

import base64
import hashlib
import hmac
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import boto3

from tests.services import binaries
from tests.services.binaries import log
from tests.services.loopback import ADDRESS, answers_ok, free_ports, session
from tests.services.process import ServiceProcess, running
from tests.services.sources import Say

_AZURE_VERSION = "2021-08-06"


@dataclass(frozen=True)
class S3Settings:
    """How to reach an S3 server. `endpoint` is host:port; it speaks plain HTTP, with the bucket in the path."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    @property
    def url(self) -> str:
        """The endpoint as SDKs want it."""
        return f"http://{self.endpoint}"

    @property
    def airflow_connection(self) -> dict[str, Any]:
        """The fields of an Airflow connection to it."""
        extra = {"endpoint_url": self.url, "region_name": self.region}
        return {"conn_type": "aws", "login": self.access_key, "password": self.secret_key, "extra": extra}

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield a boto3 client of it."""
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
        )
        with closing(client):
            yield client

    def create_bucket(self, name: str) -> None:
        """Make a bucket; raises botocore's ClientError, also if it is there already."""
        with self.client() as client:
            client.create_bucket(Bucket=name)

    def weaviate_env(self, bucket: str, path: str = "") -> dict[str, str]:
        """Return settings for `weaviate_server(backups=[...])`; the bucket must exist before the first backup."""
        return {
            "ENABLE_MODULES": "backup-s3",
            "BACKUP_S3_BUCKET": bucket,
            "BACKUP_S3_PATH": path,
            "BACKUP_S3_ENDPOINT": self.endpoint,
            "BACKUP_S3_USE_SSL": "false",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
        }


@dataclass(frozen=True)
class GCSSettings:
    """How to reach a Google Cloud Storage stand-in: no credentials. `url` is also what STORAGE_EMULATOR_HOST wants."""

    url: str
    project: str = "vectorbackup"

    def create_bucket(self, name: str) -> None:
        """Make a bucket; raises requests.HTTPError, also if it is there already."""
        with session() as direct:
            made = direct.post(f"{self.url}/storage/v1/b?project={self.project}", json={"name": name}, timeout=10)
            made.raise_for_status()

    def weaviate_env(self, bucket: str, path: str = "") -> dict[str, str]:
        """Return settings for `weaviate_server(backups=[...])`; the bucket must exist before the first backup."""
        return {
            "ENABLE_MODULES": "backup-gcs",
            "BACKUP_GCS_BUCKET": bucket,
            "BACKUP_GCS_PATH": path,
            "BACKUP_GCS_USE_AUTH": "false",
            "STORAGE_EMULATOR_HOST": self.url,
            "GOOGLE_CLOUD_PROJECT": self.project,
        }


@dataclass(frozen=True)
class AzureSettings:
    """How to reach an Azure Blob stand-in. `key` is base64, as Azure gives it; `url` holds the account's name."""

    url: str
    account: str
    key: str

    @property
    def connection_string(self) -> str:
        """What SDKs and Weaviate want."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};BlobEndpoint={self.url};"
        )

    def create_container(self, name: str) -> None:
        """Make a container; raises requests.HTTPError, also if it is there already."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _AZURE_VERSION}
        headers["Authorization"] = f"SharedKey {self.account}:{self._signature(name, headers)}"
        with session() as direct:
            made = direct.put(f"{self.url}/{name}?restype=container", headers=headers, timeout=10)
            made.raise_for_status()

    def weaviate_env(self, container: str, path: str = "") -> dict[str, str]:
        """Return settings for `weaviate_server(backups=[...])`; the container must exist before the first backup."""
        return {
            "ENABLE_MODULES": "backup-azure",
            "BACKUP_AZURE_CONTAINER": container,
            "BACKUP_AZURE_PATH": path,
            "AZURE_STORAGE_CONNECTION_STRING": self.connection_string,
        }

    def _signature(self, container: str, headers: dict[str, str]) -> str:
        """Sign a PUT without body, as in "Authorize with Shared Key"; a stand-in's path holds the account once more."""
        resource = f"/{self.account}/{self.account}/{container}\nrestype:container"
        signed = "PUT" + "\n" * 12 + "".join(f"{name}:{headers[name]}\n" for name in sorted(headers)) + resource
        return base64.b64encode(hmac.digest(base64.b64decode(self.key), signed.encode(), hashlib.sha256)).decode()


@contextmanager
def minio_server(workdir: Path, *, build: bool = True, say: Say = log) -> Iterator[S3Settings]:
    """Run a real S3 server on one folder. Raises ServiceUnavailable (sooner without `build`) or ServiceFailed."""
    executable = binaries.find_minio(build=build, say=say)
    port, console = free_ports(2)
    settings = S3Settings(f"{ADDRESS}:{port}", secrets.token_hex(8), secrets.token_hex(20))
    argv: list[str | Path] = [executable, "server", workdir / "minio", "--address", settings.endpoint]
    argv += ["--console-address", f"{ADDRESS}:{console}", "--certs-dir", workdir / "minio-certs"]
    env = {
        "MINIO_ROOT_USER": settings.access_key,
        "MINIO_ROOT_PASSWORD": settings.secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    process = ServiceProcess("minio", argv, workdir / "minio.log", env)
    with running(process, answers_ok(f"{settings.url}/minio/health/ready")):
        yield settings


@contextmanager
def moto_server(workdir: Path) -> Iterator[S3Settings]:
    """Run the S3 stand-in in Python, all in memory; it accepts any credentials."""
    (port,) = free_ports(1)
    settings = S3Settings(f"{ADDRESS}:{port}", secrets.token_hex(8), secrets.token_hex(20))
    argv = [sys.executable, "-m", "moto.server", "-H", ADDRESS, "-p", str(port)]
    with running(ServiceProcess("moto", argv, workdir / "moto.log"), answers_ok(f"{settings.url}/moto-api/")):
        yield settings


@contextmanager
def fake_gcs_server(workdir: Path, *, on_disk: bool = False, say: Say = log) -> Iterator[GCSSettings]:
    """Run a Google Cloud Storage stand-in, in memory or on a folder. Raises ServiceUnavailable or ServiceFailed."""
    executable = binaries.find_fake_gcs_server(say=say)
    (port,) = free_ports(1)
    settings = GCSSettings(f"http://{ADDRESS}:{port}")
    argv: list[str | Path] = [executable, "-scheme", "http", "-host", ADDRESS, "-port", str(port)]
    argv += ["-backend", "filesystem", "-filesystem-root", workdir / "fake-gcs"] if on_disk else ["-backend", "memory"]
    # Without these, answers to resumable uploads point to https://0.0.0.0:4443.
    argv += ["-public-host", f"{ADDRESS}:{port}", "-external-url", settings.url]
    process = ServiceProcess("fake-gcs-server", argv, workdir / "fake-gcs-server.log")
    with running(process, answers_ok(f"{settings.url}/_internal/healthcheck")):
        yield settings


@contextmanager
def azurite_server(workdir: Path, *, say: Say = log) -> Iterator[AzureSettings]:
    """Run an Azure Blob stand-in on a folder. Raises ServiceUnavailable or ServiceFailed."""
    executable = binaries.find_azurite(say=say)
    (port,) = free_ports(1)
    account = "vectorbackup"
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    settings = AzureSettings(f"http://{ADDRESS}:{port}/{account}", account, key)
    argv: list[str | Path] = [
        executable,
        "--blobHost",
        ADDRESS,
        "--blobPort",
        str(port),
        "--location",
        workdir / "azurite",
    ]
    argv += ["--disableTelemetry", "--skipApiVersionCheck"]
    process = ServiceProcess("azurite", argv, workdir / "azurite.log", {"AZURITE_ACCOUNTS": f"{account}:{key}"})
    with running(process, lambda: _answers_at_all(settings.url)):
        yield settings


def _answers_at_all(url: str) -> bool:
    """Ask for anything: Azurite has no page for this, and answers an unsigned request with an error."""
    with session() as direct:
        return direct.get(url, timeout=2).status_code >= 400
