"""What the stand-in says of itself: meta, nodes, members, schema, tenants, aliases, roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_vectorbackup.testing.model import Collection, NotThere, Refused, ServerState

_MOST_TENANTS = 100
_ACTIVITIES = {"ACTIVE": "HOT", "INACTIVE": "COLD", "OFFLOADED": "FROZEN"}


def meta(state: ServerState) -> dict[str, Any]:
    """Answer ``GET /meta``."""
    return {"hostname": "http://[::]:8080", "version": state.version, "modules": state.modules}


def nodes(state: ServerState, params: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``GET /nodes``."""
    verbose = params.get("output") == "verbose"
    return {
        "nodes": [
            {
                "name": name,
                "status": status,
                "version": state.version,
                "shards": _shards(state, name) if verbose else None,
            }
            for name, status in state.nodes.items()
        ]
    }


def statistics(state: ServerState) -> dict[str, Any]:
    """Answer ``GET /cluster/statistics``."""
    members = [{"address": f"{name}.{state.cluster_id}:8300", "id": name, "suffrage": 0} for name in state.nodes]
    told = [{"name": name, "raft": {"latestConfiguration": members}, "status": "HEALTHY"} for name in state.nodes]
    return {"statistics": told, "synchronized": True}


def own_info(state: ServerState) -> dict[str, Any]:
    """Answer ``GET /users/own-info``; who gave no key is nobody."""
    if not state.api_keys:
        raise Refused(401, "unauthorized", framework=401)
    told = None if state.own_roles is None else [_role(state, name) for name in state.own_roles]
    return {"username": "tester", "roles": told, "groups": None}


def roles(state: ServerState) -> list[dict[str, Any]]:
    """Answer ``GET /authz/roles``."""
    return [_role(state, name) for name in state.roles]


def schema(state: ServerState) -> dict[str, Any]:
    """Answer ``GET /schema``."""
    return {"classes": [_told(collection) for collection in state.collections.values()]}


def collection(state: ServerState, name: str) -> dict[str, Any]:
    """Answer ``GET /schema/{collection}``; an alias will do."""
    if (found := state.collection(name)) is None:
        raise NotThere
    return _told(found)


def create_collection(state: ServerState, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``POST /schema``."""
    name = str(body.get("class") or "")
    similar = next((other for other in state.collections if other.casefold() == name.casefold()), None)
    if not name or similar or name in state.aliases:
        raise Refused(422, f'class name {name} already exists, or found similar class "{similar}"')
    multi_tenant = bool((body.get("multiTenancyConfig") or {}).get("enabled"))
    state.collections[name] = Collection(name, {} if multi_tenant else None, dict(body))
    return _told(state.collections[name])


def delete_collection(state: ServerState, name: str) -> None:
    """Answer ``DELETE /schema/{collection}``; one that is not there is no error, and aliases stay."""
    state.collections.pop(name, None)


def tenants(state: ServerState, name: str) -> list[dict[str, str]]:
    """Answer ``GET /schema/{collection}/tenants``."""
    return [{"name": tenant, "activityStatus": activity} for tenant, activity in _tenants_of(state, name).items()]


def set_tenants(state: ServerState, name: str, body: list[Mapping[str, str]], *, new: bool) -> list[dict[str, str]]:
    """Answer ``PUT`` (or, for new ones, ``POST``) ``/schema/{collection}/tenants``."""
    known = _tenants_of(state, name)
    given = {item["name"]: item.get("activityStatus") or "HOT" for item in body}
    if not new and (missing := set(given).difference(known)):
        raise Refused(422, f"tenants {sorted(missing)} do not exist")
    if len(given) > _MOST_TENANTS:
        raise Refused(422, f"maximum number of tenants allowed to be updated simultaneously is {_MOST_TENANTS}")
    known |= {tenant: _ACTIVITIES.get(activity, activity) for tenant, activity in given.items()}
    return [{"name": tenant, "activityStatus": known[tenant]} for tenant in given]


def aliases(state: ServerState) -> dict[str, Any]:
    """Answer ``GET /aliases``."""
    return {"aliases": [{"alias": alias, "class": name} for alias, name in state.aliases.items()]}


def create_alias(state: ServerState, body: Mapping[str, str]) -> dict[str, str]:
    """Answer ``POST /aliases``."""
    alias, name = body["alias"], body["class"]
    if alias in state.collections or alias in state.aliases:
        raise Refused(422, f"create alias: {alias} already exists")
    if name not in state.collections:
        raise Refused(422, f"create alias: class {name} does not exist")
    state.aliases[alias] = name
    return {"alias": alias, "class": name}


def delete_alias(state: ServerState, alias: str) -> None:
    """Answer ``DELETE /aliases/{alias}``."""
    if state.aliases.pop(alias, None) is None:
        raise NotThere


def _tenants_of(state: ServerState, name: str) -> dict[str, str]:
    if name not in state.collections:
        raise Refused(404, f"class {name} not found")
    found = state.collections[name].tenants
    if found is None:
        raise Refused(422, f'multi-tenancy is not enabled for class "{name}"')
    return found


def _told(collection: Collection) -> dict[str, Any]:
    given = collection.config
    unnamed = {} if "vectorConfig" in given else {"vectorizer": "none", "vectorIndexType": "hnsw"}
    return {
        **unnamed,
        "properties": None,
        **given,
        "class": collection.name,
        "multiTenancyConfig": (given.get("multiTenancyConfig") or {}) | {"enabled": collection.tenants is not None},
        "replicationConfig": {"factor": 1} | (given.get("replicationConfig") or {}),
    }


def _shards(state: ServerState, node: str) -> list[dict[str, Any]]:
    """Return what lies on a node; tenants that are not active are not told of."""
    here = [c for c in state.collections.values() if node in state.holders.get(c.name, state.nodes)]
    return [{"class": c.name, "name": shard} for c in here for shard in _shard_names(c)]


def _shard_names(collection: Collection) -> list[str]:
    if collection.tenants is None:
        return [f"{collection.name.lower()}0"]
    return [tenant for tenant, activity in collection.tenants.items() if activity == "HOT"]


def _role(state: ServerState, name: str) -> dict[str, Any]:
    return {"name": name, "permissions": state.roles[name]}
