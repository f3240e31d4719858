from __future__ import annotations

import pytest

from airflow_provider_vectorbackup.exceptions import InvalidRequest
from airflow_provider_vectorbackup.weaviate import features
from airflow_provider_vectorbackup.weaviate.features import Feature, Version, parse_version

# Observed, and read in the sources of all stable versions: the last version without it and the first with it, in each
# minor that it was brought to.
TABLE: tuple[tuple[Feature, str, str], ...] = (
    (features.SAFE_RESTORE, "1.23.12", "1.23.13"),
    (features.NODE_MAPPING, "1.21.9", "1.22.0"),
    (features.CONFIG, "1.23.16", "1.24.0"),
    (features.LIST_AND_CANCEL, "1.24.24", "1.24.25"),
    (features.LIST_AND_CANCEL, "1.25.16", "1.25.17"),
    (features.LIST_AND_CANCEL, "1.26.4", "1.26.5"),
    (features.LIST_AND_CANCEL, "1.23.16", "1.27.0"),
    (features.BUCKET_AND_PATH, "1.27.1", "1.27.2"),
    (features.RESTORE_ACCESS, "1.30.8", "1.30.9"),
    (features.RESTORE_ACCESS, "1.31.1", "1.31.2"),
    (features.RESTORE_ACCESS, "1.29.9", "1.32.0"),
    (features.ALIASES, "1.32.3", "1.32.4"),
    (features.OVERWRITE_ALIAS, "1.32.4", "1.32.5"),
    (features.ZSTD_AND_NONE, "1.32.17", "1.32.18"),
    (features.ZSTD_AND_NONE, "1.33.5", "1.33.6"),
    (features.ZSTD_AND_NONE, "1.34.0", "1.34.1"),
    (features.ZSTD_AND_NONE, "1.31.99", "1.35.0"),
    (features.INCREMENTAL, "1.34.17", "1.34.18"),
    (features.INCREMENTAL, "1.35.12", "1.35.13"),
    (features.INCREMENTAL, "1.36.2", "1.36.3"),
    (features.INCREMENTAL, "1.33.99", "1.37.0"),
    (features.INACTIVE_TENANTS, "1.35.16", "1.35.17"),
    (features.INACTIVE_TENANTS, "1.36.9", "1.36.10"),
    (features.INACTIVE_TENANTS, "1.34.99", "1.37.0"),
    (features.CANCEL_RESTORE, "1.35.99", "1.36.0"),
    (features.INCLUDE_USERS, "1.38.2", "1.38.3"),
    (features.INCLUDE_ROLES, "1.38.9", "1.38.10"),
    # 1.39.0 came before 1.38.10 and lacks it.
    (features.INCLUDE_ROLES, "1.39.0", "1.39.2"),
)


@pytest.mark.parametrize(("feature", "last_without", "first_with"), TABLE)
def test_where_a_feature_begins(feature: Feature, last_without: str, first_with: str) -> None:
    assert not feature.is_in(parse_version(last_without))
    assert feature.is_in(parse_version(first_with))


@pytest.mark.parametrize("feature", {id(row[0]): row[0] for row in TABLE}.values(), ids=lambda feature: feature.name)
@pytest.mark.parametrize("version", ["1.39.2", "1.40.0", "1.41.7", "2.0.0"])
def test_new_servers_have_everything(feature: Feature, version: str) -> None:
    assert feature.is_in(parse_version(version))


def test_every_feature_is_in_the_table() -> None:
    assert {row[0].name for row in TABLE} == {f.name for f in vars(features).values() if isinstance(f, Feature)}


def test_what_is_missing_is_said() -> None:
    with pytest.raises(InvalidRequest) as caught:
        features.INCLUDE_ROLES.require(parse_version("1.39.0"))
    assert str(caught.value) == (
        "This server (Weaviate 1.39.0) does not know include_roles and would ignore it. It needs 1.38.10 or 1.39.2 or "
        "later; update the server, or leave it out."
    )


@pytest.mark.parametrize("text", ["1.40.0", "v1.40.0", "1.40.0-rc.1", "1.40.0-e1b2c3d", "1.40.0+amd64"])
def test_spellings_of_a_version(text: str) -> None:
    assert parse_version(text) == Version(1, 40, 0)


@pytest.mark.parametrize("text", ["", "1.40", "latest", "one.two.three"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(InvalidRequest, match="can't be read"):
        parse_version(text)


def test_versions_are_compared_as_numbers() -> None:
    assert parse_version("1.9.10") < parse_version("1.10.9") < parse_version("1.10.10")
    assert str(parse_version("v1.10.9")) == "1.10.9"
