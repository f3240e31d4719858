"""What keeps one environment from being migrated to another, one obstacle at a time."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_vectorbackup.actions.migration_checks import (
    SOURCE_ACTIONS,
    TARGET_ACTIONS,
    Cluster,
    Wish,
    full_mapping,
    is_same,
    migration_problems,
    notes,
)
from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.weaviate.answers import CollectionSchema
from airflow_provider_vectorbackup.weaviate.content_answers import Permissions
from airflow_provider_vectorbackup.weaviate.features import parse_version
from airflow_provider_vectorbackup.weaviate.stored_schema import StoredSchema, VectorConfig

MEMBERS = frozenset({("w1", "10.0.0.1:8300"), ("w2", "10.0.0.2:8300")})
NAMES = [f"w{number}" for number in range(5)]
OTHERS = [f"x{number}" for number in range(5)]


def cluster(
    url: str, version: str = "1.39.2", nodes: str = "w1", collections: str = "", modules: str = "", **fields: Any
) -> Cluster:
    there = tuple(CollectionSchema(name, is_multi_tenant=False) for name in collections.split())
    server = Server(
        parse_version(version), "s3", "b", None, frozenset(modules.split()), tuple(nodes.split()), collections=there
    )
    return Cluster(url, server, **fields)


def source(**fields: Any) -> Cluster:
    return cluster("http://source:8080", **({"collections": "Article Author"} | fields))


def target(**fields: Any) -> Cluster:
    return cluster("http://target:8080", **fields)


def schema(*modules: str, vectorizer: str = "none", factor: int = 1) -> StoredSchema:
    vectors = (VectorConfig("", vectorizer, "hnsw"),)
    named = frozenset({*modules, vectorizer} - {"none"})
    return StoredSchema("Article", {}, vectors, named, factor, is_multi_tenant=False)


def wish(holders: str = "w1", **fields: Any) -> Wish:
    usual: dict[str, Any] = {"chosen": ("Article", "Author"), "schemas": {"Article": schema()}, "mapping": {}}
    return Wish(holders=tuple(holders.split()), **(usual | fields))


def said(one: Cluster, other: Cluster, wanted: Wish) -> str:
    """Return all that problems say."""
    return " ".join(f"{problem.what} {problem.hint}" for problem in migration_problems(one, other, wanted))


def told(one: Cluster, other: Cluster, wanted: Wish) -> str:
    """Return all that is to be known; there must be no problem."""
    assert said(one, other, wanted) == ""
    return " ".join(notes(one, other, wanted))


def granted(*actions: str, on: str = "*") -> Permissions:
    return Permissions(frozenset((action, on) for action in actions))


def test_pair_that_fits() -> None:
    assert told(source(), target(), wish()) == ""


class TestSameCluster:
    def test_of_one_url(self) -> None:
        one = cluster("http://one:8080", collections="Article")
        assert said(one, one, wish()).startswith("Source and target are the same cluster (http://one:8080).")
        assert "Give the connection of another one as the target." in said(one, one, wish())

    def test_of_two_urls(self) -> None:
        one, other = source(members=MEMBERS), target(members=MEMBERS, collections="Author Article")
        assert is_same(one, other)
        # Nothing else is said: that all its collections are in the way is no news.
        assert [problem.what for problem in migration_problems(one, other, wish())] == [
            "Source and target are the same cluster (http://target:8080)."
        ]

    @pytest.mark.parametrize("collections", ["", "Other", "Article Author Other"])
    def test_members_alone_do_not_make_it(self, collections: str) -> None:
        """In networks of their own, two clusters may give their nodes the same names and addresses."""
        assert not is_same(source(members=MEMBERS), target(members=MEMBERS, collections=collections))
        assert told(source(members=MEMBERS), target(members=MEMBERS), wish()) == ""

    def test_collections_alone_do_not_make_it(self) -> None:
        same: dict[str, Any] = {"collections": "Article Author"}
        assert not is_same(source(members=MEMBERS), target(members=frozenset({("w1", "10.0.9.1:8300")}), **same))
        assert not is_same(source(), target(**same))  # two that tell no members


class TestInTheWay:
    @pytest.mark.parametrize("name", ["Article", "ARTICLE", "article"])
    def test_collection(self, name: str) -> None:
        found = said(source(), target(collections=f"Other {name}"), wish())
        assert f"The target has already: collection {name}. Delete them there" in found
        assert "removed by its rollback" in found

    @pytest.mark.parametrize("name", ["Article", "articlE"])
    def test_alias_of_that_name(self, name: str) -> None:
        other = target(collections="Other", aliases={name: "Other"})
        assert f"The target has already: alias {name}." in said(source(), other, wish())

    def test_what_is_not_migrated_has_room(self) -> None:
        other = target(collections="Author Other", aliases={"Product": "Other"})
        assert told(source(collections="Article Author"), other, wish(chosen=("Article",))) == ""

    def test_collection_of_the_name_of_an_alias(self) -> None:
        one = source(aliases={"Story": "Article", "Text": "Author"})
        found = said(one, target(collections="Story"), wish())
        assert "The target has collections of the names of aliases (Story of Article)." in found
        assert "leave out those that the aliases belong to (exclude)" in found
        assert told(one, target(collections="Story"), wish(chosen=("Author",))) == ""

    def test_alias_that_is_there_is_only_told(self) -> None:
        one, other = source(aliases={"Story": "Article"}), target(collections="Other", aliases={"story": "Other"})
        assert told(one, other, wish()) == "Aliases that the target has already: Story."


class TestNodes:
    def test_too_few(self) -> None:
        found = said(source(nodes="w1 w2 w3"), target(nodes="x1 x2"), wish("w1 w2 w3"))
        assert "The collections lie on 3 nodes (w1, w2, w3) and the target has 2 (x1, x2);" in found
        assert "choose collections that lie on fewer (include)" in found
        assert "node_mapping" not in found

    def test_fewer_that_are_enough_for_what_is_chosen(self) -> None:
        one, other, wanted = source(nodes="w1 w2 w3"), target(nodes="x1 x2"), wish("w1 w3")
        found = told(one, other, wanted)
        assert "The source has more nodes than the target (3, 2)." in found
        assert "asked for at a node that holds data (w1, w3)" in found
        assert full_mapping(one, other, wanted) == {"w1": "x1", "w3": "x2"}

    @pytest.mark.parametrize("nodes", ["w1 w2", "w1 w2 w3"])
    def test_of_the_same_names_stay(self, nodes: str) -> None:
        one, other = source(nodes="w1 w2"), target(nodes=nodes)
        assert told(one, other, wish("w1 w2")) == ""
        assert full_mapping(one, other, wish("w1 w2")) == {"w1": "w1", "w2": "w2"}

    def test_renamed_ones_are_mapped(self) -> None:
        """Also one that holds nothing: it may be the one that is asked for the backup."""
        one, other = source(nodes="w1 w2 w3"), target(nodes="x1 w2 x10")
        assert told(one, other, wish("w1 w2")) == ""
        assert full_mapping(one, other, wish("w1 w2")) == {"w1": "x1", "w2": "w2", "w3": "x10"}

    def test_what_the_user_chose_is_kept(self) -> None:
        one, other, wanted = source(nodes="w1 w2"), target(nodes="x1 x2"), wish("w1 w2", mapping={"w1": "x2"})
        assert told(one, other, wanted) == ""
        assert full_mapping(one, other, wanted) == {"w1": "x2", "w2": "x1"}

    @pytest.mark.parametrize(
        ("mapping", "text"),
        [
            ({"w9": "x1"}, "node_mapping names nodes that it does not have: w9 (it has w1, w2)."),
            ({"w1": "gone"}, "The target has no nodes of the names gone (it has x1, x2)."),
            ({"w1": "x1", "w2": "x1"}, "The nodes w1, w2 would all be restored to x1, which can't be."),
        ],
    )
    def test_what_the_user_chose_can_not_be(self, mapping: dict[str, str], text: str) -> None:
        one, other = source(nodes="w1 w2"), target(nodes="x1 x2")
        found = said(one, other, wish("w1 w2", mapping=mapping))
        assert text in found
        (proposed,) = set(re.findall(r"node_mapping to (\{.*?\})", found))
        assert told(one, other, wish("w1 w2", mapping=json.loads(proposed))) == ""

    @given(data=st.data())
    def test_each_that_is_needed_has_one_of_its_own(self, data: st.DataObject) -> None:
        """Whatever they are called, and whichever of them the user has named."""
        nodes = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
        there = data.draw(st.lists(st.sampled_from(NAMES + OTHERS), min_size=1, unique=True))
        holders = data.draw(st.lists(st.sampled_from(nodes), min_size=1, unique=True))
        assume(len(holders) <= len(there))
        chosen = data.draw(st.integers(0, min(len(nodes), len(there))))
        mapping = dict(zip(data.draw(st.permutations(nodes))[:chosen], data.draw(st.permutations(there)), strict=False))
        one, other = source(nodes=" ".join(nodes)), target(nodes=" ".join(there))
        wanted = wish(" ".join(holders), mapping=mapping)
        assert said(one, other, wanted) == ""
        found = full_mapping(one, other, wanted)
        assert found.items() >= mapping.items()
        needed = nodes if len(nodes) <= len(there) else holders
        taken = [found[node] for node in needed]
        assert len(set(taken)) == len(needed)
        assert set(taken) <= set(there)
        assert mapping or all(found[node] == node for node in set(needed) & set(there))


class TestVersions:
    @pytest.mark.parametrize(("made", "reads"), [("1.39.2", "1.39.2"), ("1.39.9", "1.39.0"), ("1.37.0", "1.39.2")])
    def test_that_fit(self, made: str, reads: str) -> None:
        assert told(source(version=made), target(version=reads), wish()) == ""

    def test_older_target(self) -> None:
        one, other = source(version="1.39.0"), target(version="1.38.9")
        found = said(one, other, wish())
        assert "The target is older than the source (Weaviate 1.38.9, 1.39.0)" in found
        assert "set ignore_mismatch to try all the same" in found
        assert told(one, other, wish(ignore_mismatch=True)) == ""

    @pytest.mark.parametrize(
        ("version", "fields", "text"),
        [
            ("1.32.17", {"codec": Codec.ZSTD}, "does not know this compression, which"),
            ("1.32.17", {"codec": Codec.NONE}, "does not know this compression, which"),
            ("1.34.17", {"is_incremental": True}, "does not know incremental_base_backup_id, which"),
        ],
    )
    def test_target_that_can_not_read_such_a_backup(self, version: str, fields: dict[str, Any], text: str) -> None:
        one, other = source(version=version), target(version=version)
        assert f"The target, Weaviate {version}, {text} the backup would be made with." in said(
            one, other, wish(**fields, ignore_mismatch=True)
        )
        assert told(one, other, wish()) == ""
        assert told(source(), target(), wish(**fields)) == ""


class TestMismatch:
    def test_vectorizer_that_is_missing(self) -> None:
        wanted: dict[str, Any] = {"schemas": {"Article": schema(vectorizer="text2vec-openai")}}
        for ignored in (False, True):
            found = said(source(), target(), wish(**wanted, ignore_mismatch=ignored))
            assert "restores no collection that names them (Article: text2vec-openai)" in found
        assert told(source(), target(modules="text2vec-openai"), wish(**wanted)) == ""

    @pytest.mark.parametrize(
        ("made", "fitting", "text"),
        [
            (
                schema("generative-openai"),
                {"modules": "generative-openai"},
                "The target lacks modules that collections use (Article: generative-openai).",
            ),
            (
                schema(factor=2),
                {"nodes": "w1 w2"},
                "Replication factors are above the target's number of nodes, 1 (Article 2).",
            ),
        ],
    )
    def test_what_can_be_ignored(self, made: StoredSchema, fitting: dict[str, Any], text: str) -> None:
        wanted: dict[str, Any] = {"schemas": {"Article": made}}
        found = said(source(), target(), wish(**wanted))
        assert text in found
        assert "set ignore_mismatch" in found
        assert told(source(), target(), wish(**wanted, ignore_mismatch=True)) == f"Ignored: {text}"
        assert told(source(), target(**fitting), wish(**wanted)) == ""


class TestRolesAndUsers:
    REPLACED = "Users or roles of the target are replaced by those of the backup; that can't be rolled back."

    @pytest.mark.parametrize("options", [{"roles_options": "all"}, {"users_options": "all"}])
    def test_that_can_be_restored(self, options: dict[str, str]) -> None:
        assert told(source(has_roles=True), target(has_roles=True), wish(**options)) == self.REPLACED

    def test_target_without_roles(self) -> None:
        one = source(has_roles=True)
        found = said(one, target(), wish(roles_options="all"))
        assert "Roles are to be restored, and the target has none switched on" in found
        assert "AUTHORIZATION_RBAC_ENABLED" in found
        assert told(one, target(), wish(users_options="all")) == self.REPLACED

    def test_source_without_roles(self) -> None:
        found = said(source(), target(has_roles=True), wish(roles_options="all"))
        assert found == "Roles are to be restored, and the source has none. Leave roles_options out."
        assert told(source(), target(), wish(users_options="all")) == self.REPLACED

    def test_target_that_is_too_old(self) -> None:
        one, other = source(version="1.30.8", has_roles=True), target(version="1.30.8", has_roles=True)
        found = said(one, other, wish(roles_options="all", users_options="all"))
        assert "The target, Weaviate 1.30.8, does not restore roles and users." in found
        assert "update it to 1.30.9 or 1.31.2 or 1.32.0" in found
        assert "does not restore users." in said(one, other, wish(users_options="all"))

    def test_that_are_left_behind_are_told(self) -> None:
        one = source(has_roles=True)
        assert told(one, target(), wish()).startswith("The source has roles; they and its users are not restored")
        assert told(one, target(), wish(roles_options="noRestore")) == ""


class TestPermissions:
    def test_that_are_enough(self) -> None:
        one, other = source(permissions=granted(*SOURCE_ACTIONS)), target(permissions=granted(*TARGET_ACTIONS))
        assert told(one, other, wish()) == ""

    @pytest.mark.parametrize("action", SOURCE_ACTIONS)
    def test_that_lacks_at_the_source(self, action: str) -> None:
        held = granted(*(name for name in SOURCE_ACTIONS if name != action))
        assert said(source(permissions=held), target(), wish()) == (
            f"The source's user lacks the permission {action} on Article, Author. "
            "Give the user of the source's connection a role with it."
        )

    @pytest.mark.parametrize("action", TARGET_ACTIONS)
    def test_that_lacks_at_the_target(self, action: str) -> None:
        held = granted(*(name for name in TARGET_ACTIONS if name != action))
        assert said(source(), target(permissions=held), wish()) == (
            f"The target's user lacks the permission {action} on Article, Author. "
            "Give the user of the target's connection a role with it."
        )

    def test_that_hold_for_some_collections(self) -> None:
        held = granted(*SOURCE_ACTIONS, on="Art*")
        found = said(source(permissions=held), target(), wish())
        assert "lacks the permission read_data on Author." in found
        assert "Article" not in found
        assert told(source(permissions=held), target(), wish(chosen=("Article",))) == ""


def test_all_problems_are_told_at_once() -> None:
    one = source(nodes="w1 w2", aliases={"Story": "Article"}, permissions=granted("manage_backups", "read_data"))
    other = target(version="1.32.0", collections="Author Story")
    wanted = wish(
        "w1 w2",
        codec=Codec.ZSTD,
        roles_options="all",
        schemas={"Article": schema("reranker-cohere", vectorizer="text2vec-openai", factor=2)},
    )
    found = said(one, other, wanted)
    for text in (
        "has already: collection Author.",
        "lie on 2 nodes (w1, w2) and the target has 1 (w1)",
        "older than the source",
        "does not know this compression",
        "(Article: text2vec-openai)",
        "(Article: reranker-cohere)",
        "(Article 2)",
        "the target has none switched on",
        "the source has none",
        "The source's user lacks the permission read_collections",
    ):
        assert text in found
