"""What the stand-in says of itself: meta, nodes, schema, tenants, aliases. Objects it has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_vectorbackup.testing.model import Collection, Refused, ServerState

_MOST_TENANTS = 100
_ACTIVITIES = {"ACTIVE": "HOT", "INACTIVE": "COLD", "OFFLOADED": "FROZEN"}


def meta(state: ServerState) -> dict[str, Any]:
    """Answer ``GET /meta``."""
    return {"hostname": "http://[::]:8080", "version": state.version, "modules": state.modules}


def nodes(state: ServerState) -> dict[str, Any]:
    """Answer ``GET /nodes``."""
    return {
        "nodes": [
            {"name": name, "status": status, "version": state.version, "shards": None}
            for name, status in state.nodes.items()
        ]
    }


def schema(state: ServerState) -> dict[str, Any]:
    """Answer ``GET /schema``."""
    return {"classes": [_told(collection) for collection in state.collections.values()]}


def create_collection(state: ServerState, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``POST /schema``."""
    name = str(body.get("class") or "")
    similar = next((other for other in state.collections if other.casefold() == name.casefold()), None)
    if not name or similar or name in state.aliases:
        raise Refused(422, f'class name {name} already exists, or found similar class "{similar}"')
    multi_tenant = bool((body.get("multiTenancyConfig") or {}).get("enabled"))
    state.collections[name] = Collection(name, {} if multi_tenant else None)
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


def _tenants_of(state: ServerState, name: str) -> dict[str, str]:
    if name not in state.collections:
        raise Refused(404, f"class {name} not found")
    found = state.collections[name].tenants
    if found is None:
        raise Refused(422, f'multi-tenancy is not enabled for class "{name}"')
    return found


def _told(collection: Collection) -> dict[str, Any]:
    return {"class": collection.name, "multiTenancyConfig": {"enabled": collection.tenants is not None}}
