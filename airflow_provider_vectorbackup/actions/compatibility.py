"""Whether a backup, as its descriptors tell, fits a server that is to restore it, or a backup that is to build on it.

Facts in, problems out: nothing is read here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from airflow_provider_vectorbackup.actions.server import Server
from airflow_provider_vectorbackup.backups.chain import Link, chain_problems
from airflow_provider_vectorbackup.backups.codecs import Codec
from airflow_provider_vectorbackup.backups.selection import names_shown
from airflow_provider_vectorbackup.backups.status import Status
from airflow_provider_vectorbackup.exceptions import InvalidRequest, PreflightFailed
from airflow_provider_vectorbackup.weaviate import features
from airflow_provider_vectorbackup.weaviate.descriptors import GlobalDescriptor
from airflow_provider_vectorbackup.weaviate.features import Version, parse_version
from airflow_provider_vectorbackup.weaviate.layout import tenants_left_out
from airflow_provider_vectorbackup.weaviate.node_descriptors import NodeDescriptor
from airflow_provider_vectorbackup.weaviate.stored_schema import StoredSchema

_REFUSES_OLD = Version(1, 38, 8)
_OLDEST_TAKEN = Version(1, 23, 0)
"""By servers that refuse old backups."""

_RENAMED_MODULES = {
    "text2vec-palm": "text2vec-google",
    "multi2vec-palm": "multi2vec-google",
    "generative-palm": "generative-google",
    "text2colbert-jinaai": "text2multivec-jinaai",
}
"""Old names, which the modules still answer to, while the server tells the new ones only."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a backup from being used.

    :param what: whole sentences.
    :param hint: what to do about it.
    """

    what: str
    hint: str


@dataclass(slots=True)
class StoredContents:
    """What the nodes' descriptors tell of the collections of a restore.

    :ivar aliases: alias -> collection.
    :ivar bases: the backups that the files of these nodes lie in.
    :ivar left_out: collection -> tenants whose data is not in the backup.
    :ivar broken: what is wrong with descriptors that can't be used, in sentences.
    """

    schemas: dict[str, StoredSchema] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    bases: set[str] = field(default_factory=set)
    left_out: dict[str, set[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def add(self, node: str, descriptor: NodeDescriptor, chosen: Collection[str]) -> None:
        """Keep what matters of a node's descriptor, which may be large."""
        self.bases |= descriptor.bases
        for collection in descriptor.collections:
            if collection.name not in chosen:
                continue
            if collection.schema:
                self.schemas.setdefault(collection.name, collection.schema)
            self.aliases |= collection.aliases
            if tenants := tenants_left_out(node, collection):
                self.left_out.setdefault(collection.name, set()).update(tenants)

    def is_all_of(self, chosen: Collection[str]) -> bool:
        """Whether other nodes' descriptors could add nothing; for a full backup."""
        return self.schemas.keys() >= set(chosen) and not any(s.is_multi_tenant for s in self.schemas.values())


def require_none(problems: Iterable[Problem], consequence: str, backup_id: str) -> None:
    """Raise if there are problems, with all of them.

    :param consequence: what they keep from being done, for the beginning of the message.
    :raises PreflightFailed: there are.
    """
    found = list(problems)
    if found:
        hints = dict.fromkeys(problem.hint for problem in found)
        what = " ".join(problem.what for problem in found)
        raise PreflightFailed(f"{consequence}: {what}", hint=" ".join(hints), backup_id=backup_id)


def base_problems(base: GlobalDescriptor, links: Mapping[str, Link], codec: Codec) -> Iterator[Problem]:
    """Yield what keeps a new backup from building on ``base``.

    :param links: the base and its ancestors.
    :param codec: of the new backup.
    """
    instead = "Make a full backup (leave incremental_base_backup_id out), or name another base."
    if base.status is not Status.SUCCESS:
        yield Problem(f"Its descriptor says {base.status}.", instead)
        return
    if broken := chain_problems(links, base.backup_id):
        yield Problem(_sentence("Its chain is broken", map(str, broken)), instead)
    made = _version(base.server_version)
    if made and not features.ZSTD_AND_NONE.is_in(made):
        yield Problem(f"It was made by Weaviate {made}, on whose backups none can build.", instead)
    elif base.codec is not codec:
        hint = f"Set compression to a level of {_family(base.codec)}, or make a full backup."
        yield Problem(f"It is compressed by {_family(base.codec)}, and the new one would be by {_family(codec)}.", hint)


def restore_problems(told: GlobalDescriptor, backup_id: str, target: Server) -> Iterator[Problem]:
    """Yield what in the coordinator's descriptor keeps a server from restoring a backup, or all of it."""
    if told.backup_id != backup_id:
        yield Problem(f"Its descriptor is of another backup, {told.backup_id!r}.", "Look who wrote it there.")
    if told.status is not Status.SUCCESS:
        hint = "Only a SUCCESS one can be restored; if the server says that it is one, look at the location."
        yield Problem(f"Its descriptor says {told.status}.", hint)
    made, is_old = _version(told.server_version), not told.is_chunked or told.is_single
    if target.version >= _REFUSES_OLD and (is_old or (made and made < _OLDEST_TAKEN)):
        yield Problem(
            f"It was made by Weaviate {told.server_version} in layout {told.layout}, which Weaviate {target.version} "
            "refuses.",
            f"Restore it into a server below {_REFUSES_OLD}, and back that up.",
        )
    for is_needed, feature in (
        (told.is_chunked and told.codec is not Codec.GZIP, features.ZSTD_AND_NONE),
        (told.base_backup_id is not None, features.INCREMENTAL),
    ):
        if is_needed and not feature.is_in(target.version):
            yield Problem(
                f"Weaviate {target.version} does not know {feature.name}, which it was made with, and would not find "
                "all of its files.",
                f"Restore it into a server of {' or '.join(feature.since)} or later.",
            )


def is_newer(told: GlobalDescriptor, target: Server) -> bool:
    """Whether a backup was made by a newer minor version than the target is: that works, and nobody promises it."""
    made = _version(told.server_version)
    return made is not None and made[:2] > target.version[:2]


def chain_problem(links: Mapping[str, Link], backup_id: str) -> Iterator[Problem]:
    """Yield what keeps the chain of a backup from being restored."""
    if broken := chain_problems(links, backup_id):
        hint = "It can be restored only with all of its bases: bring them back, or restore another backup."
        yield Problem(_sentence("It builds on others", map(str, broken)), hint)


def nodes_taking_part(told: GlobalDescriptor, chosen: Collection[str]) -> tuple[str, ...]:
    """Return the nodes of the backup that a restore of these collections needs.

    Each that lists one, also those that hold nothing of it: the leader lists all.
    """
    return _in_order(node for node, share in told.nodes.items() if set(chosen).intersection(share.collections))


def node_problems(
    needed: tuple[str, ...], known: Collection[str], mapping: Mapping[str, str], nodes: Collection[str]
) -> Iterator[Problem]:
    """Yield why the nodes of a backup do not fit those of the target.

    :param needed: the nodes of the backup that take part.
    :param known: all of its nodes.
    :param mapping: node of the backup -> node of the target, as the user gave it.
    :param nodes: of the target.
    """
    if len(needed) > len(nodes):
        yield Problem(
            f"It lies on {len(needed)} nodes ({names_shown(needed)}) and the target has {len(nodes)} "
            f"({names_shown(nodes)}); two can't be restored to one.",
            "Restore it into a cluster that has as many, or choose collections that lie on fewer (include).",
        )
        return
    hint = f"Set node_mapping to {json.dumps(proposed_mapping(needed, mapping, nodes))}"
    hint += ", or to other pairs of these names."
    if strange := set(mapping).difference(known):
        has = names_shown(known)
        yield Problem(f"node_mapping names nodes that it does not have: {names_shown(strange)} (it has {has}).", hint)
    wanted = {node: mapping.get(node, node) for node in needed}
    if absent := (set(wanted.values()) | set(mapping.values())).difference(nodes):
        has = names_shown(nodes)
        yield Problem(f"The target has no nodes of the names {names_shown(absent)} (it has {has}).", hint)
    for new, count in Counter(wanted.values()).items():
        if count > 1:
            old = names_shown(node for node, to in wanted.items() if to == new)
            yield Problem(f"The nodes {old} would all be restored to {new}, which can't be.", hint)


def proposed_mapping(needed: Iterable[str], mapping: Mapping[str, str], nodes: Collection[str]) -> dict[str, str]:
    """Return a target for each node of a backup: the one that the user gave, that of its name, or the next one free."""
    found: dict[str, str] = {}
    wishes = [(old, wish) for choose in (mapping.get, str) for old in needed if (wish := choose(old))]
    for old, wish in wishes:
        if old not in found and wish in nodes and wish not in found.values():
            found[old] = wish
    free = iter(_in_order(set(nodes).difference(found.values())))
    return {old: found.get(old) or next(free) for old in needed}


def schema_problems(schemas: Mapping[str, StoredSchema], target: Server) -> Iterator[Problem]:
    """Yield what a server finds out only at the end of a restore, which is FAILED then."""
    if named := _by_collection({name: _absent(_required(schema), target) for name, schema in schemas.items()}):
        yield Problem(
            f"The target lacks modules without which it restores no collection that names them ({named}).",
            "Enable them (ENABLE_MODULES), or leave these collections out (exclude).",
        )


def mismatches(schemas: Mapping[str, StoredSchema], target: Server) -> Iterator[Problem]:
    """Yield what a server restores without a word, and then can't use."""
    hint = "or set ignore_mismatch to restore all the same."
    used = {name: _absent(schema.modules - _required(schema), target) for name, schema in schemas.items()}
    if named := _by_collection(used):
        yield Problem(f"The target lacks modules that collections use ({named}).", f"Enable them, {hint}")
    count = len(target.nodes)
    if large := {n: schema.replication_factor for n, schema in schemas.items() if schema.replication_factor > count}:
        named = ", ".join(f"{name} {factor}" for name, factor in sorted(large.items()))
        yield Problem(
            f"Replication factors are above the target's number of nodes, {count} ({named}).", f"Add nodes, {hint}"
        )


def alias_problems(aliases: Mapping[str, str], target: Server) -> Iterator[Problem]:
    """Yield aliases of the backup that can't be made: a restore brings their collections, and then ends FAILED."""
    taken = set(target.collection_names) if features.ALIASES.is_in(target.version) else set()
    if blocked := sorted(taken.intersection(aliases)):
        named = ", ".join(f"{alias} of {aliases[alias]}" for alias in blocked)
        yield Problem(
            f"The target has collections of the names of aliases ({named}).",
            "Delete these collections in the target, or leave out those that the aliases belong to (exclude).",
        )


def aliases_there(aliases: Mapping[str, str], existing: Collection[str]) -> tuple[str, ...]:
    """Return the aliases of the backup that the target has already, in whatever spelling."""
    known = {alias.casefold() for alias in existing}
    return tuple(sorted(alias for alias in aliases if alias.casefold() in known))


def _required(schema: StoredSchema) -> frozenset[str]:
    """Return the modules that a server looks for as it restores a collection.

    With named vectors that is all of them, else the vectorizer alone.
    """
    is_named = any(vector.name for vector in schema.vectors)
    return schema.modules if is_named else schema.modules & {vector.vectorizer for vector in schema.vectors}


def _absent(modules: Iterable[str], target: Server) -> tuple[str, ...]:
    return tuple(name for name in modules if not {name, _RENAMED_MODULES.get(name, name)} & target.modules)


def _by_collection(named: Mapping[str, Collection[str]]) -> str:
    return "; ".join(f"{name}: {names_shown(modules)}" for name, modules in sorted(named.items()) if modules)


def _family(codec: Codec) -> str:
    return "nothing (NoCompression)" if codec is Codec.NONE else codec.value


def _sentence(beginning: str, parts: Iterable[str]) -> str:
    return f"{beginning}: {'; '.join(parts)}."


def _version(text: str) -> Version | None:
    """Return a server's version, None where a descriptor has none that can be read."""
    try:
        return parse_version(text)
    except InvalidRequest:
        return None


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sort names, those with numbers as people count: node2 before node10."""
    return tuple(sorted(names, key=lambda name: [part.zfill(20) for part in re.split(r"(\d+)", name)]))
