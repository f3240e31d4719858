"""Which function answers which request: the stand-in's API, as data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from airflow_provider_vectorbackup.testing import backup_calls, object_calls, query_calls, restore_calls, schema_calls
from airflow_provider_vectorbackup.testing.model import EmptyAnswer, Refused, ServerState
from airflow_provider_vectorbackup.weaviate import features
from airflow_provider_vectorbackup.weaviate.features import Feature


@dataclass(frozen=True)
class SeenRequest:
    """A request as it came. ``path`` is below ``/v1``, without the query; ``body`` is decoded JSON, None for none."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


Answer = tuple[int, Any]
"""Status code and body; None is no body."""

Handler = Callable[[ServerState, SeenRequest, str, str], Any]
"""Given the one or two variable parts of the path; an absent one is empty."""


@dataclass(frozen=True)
class _Route:
    method: str
    path: re.Pattern[str]
    handler: Handler
    success: int = 200
    since: Feature | None = None


_BACKEND, _ID, _NAME = r"/backups/([^/]+)", r"/backups/([^/]+)/([^/]+)", r"/schema/([^/]+)"
_OBJECT, _ALIAS = r"/objects/([^/]+)/([^/]+)", r"/aliases/([^/]+)"
_LIST, _CANCEL = features.LIST_AND_CANCEL, features.LIST_AND_CANCEL


def _route(method: str, path: str, handler: Handler, success: int = 200, since: Feature | None = None) -> _Route:
    return _Route(method, re.compile(path), handler, success, since)


_ROUTES = (
    _route("GET", r"/\.well-known/(?:ready|live)", lambda _s, _r, _a, _b: None),
    _route("GET", "/meta", lambda s, _r, _a, _b: schema_calls.meta(s)),
    _route("GET", "/nodes", lambda s, r, _a, _b: schema_calls.nodes(s, r.params)),
    _route("GET", "/cluster/statistics", lambda s, _r, _a, _b: schema_calls.statistics(s)),
    _route("GET", "/users/own-info", lambda s, _r, _a, _b: schema_calls.own_info(s)),
    _route("GET", "/authz/roles", lambda s, _r, _a, _b: schema_calls.roles(s)),
    _route("GET", "/schema", lambda s, _r, _a, _b: schema_calls.schema(s)),
    _route("POST", "/schema", lambda s, r, _a, _b: schema_calls.create_collection(s, r.body)),
    _route("GET", _NAME, lambda s, _r, name, _b: schema_calls.collection(s, name)),
    _route("DELETE", _NAME, lambda s, _r, name, _b: schema_calls.delete_collection(s, name)),
    _route("GET", _NAME + "/tenants", lambda s, _r, name, _b: schema_calls.tenants(s, name)),
    _route("PUT", _NAME + "/tenants", lambda s, r, name, _b: schema_calls.set_tenants(s, name, r.body, new=False)),
    _route("POST", _NAME + "/tenants", lambda s, r, name, _b: schema_calls.set_tenants(s, name, r.body, new=True)),
    _route("GET", "/aliases", lambda s, _r, _a, _b: schema_calls.aliases(s), since=features.ALIASES),
    _route("POST", "/aliases", lambda s, r, _a, _b: schema_calls.create_alias(s, r.body), since=features.ALIASES),
    _route("DELETE", _ALIAS, lambda s, _r, alias, _b: schema_calls.delete_alias(s, alias), 204, features.ALIASES),
    _route("GET", "/objects", lambda s, r, _a, _b: object_calls.list_all(s, r.params)),
    _route("POST", "/objects", lambda s, r, _a, _b: object_calls.create(s, r.body)),
    _route("POST", "/batch/objects", lambda s, r, _a, _b: object_calls.write_all(s, r.body)),
    _route("GET", _OBJECT, lambda s, r, name, id_: object_calls.read(s, name, id_, r.params)),
    _route("DELETE", _OBJECT, lambda s, r, name, id_: object_calls.delete(s, name, id_, r.params), 204),
    _route("POST", "/graphql", lambda s, r, _a, _b: query_calls.answer(s, r.body)),
    _route("POST", _BACKEND, lambda s, r, backend, _b: backup_calls.create(s, backend, r.body)),
    _route("GET", _BACKEND, lambda s, r, backend, _b: backup_calls.list_all(s, backend, r.params), since=_LIST),
    _route("GET", _ID, lambda s, r, backend, id_: backup_calls.status(s, backend, id_, r.params)),
    _route("DELETE", _ID, lambda s, r, backend, id_: backup_calls.cancel(s, backend, id_, r.params), 204, _CANCEL),
    _route("POST", _ID + "/restore", lambda s, r, backend, id_: restore_calls.restore(s, backend, id_, r.body)),
    _route("GET", _ID + "/restore", lambda s, r, backend, id_: restore_calls.status(s, backend, id_, r.params)),
    _route(
        "DELETE",
        _ID + "/restore",
        lambda s, r, backend, id_: restore_calls.cancel(s, backend, id_, r.params),
        204,
        features.CANCEL_RESTORE,
    ),
)


def answer(state: ServerState, request: SeenRequest) -> Answer:
    """Do what a request asks for and return the answer."""
    if state.api_keys and not _is_known(state, request.headers.get("Authorization", "")):
        return 401, {"code": 401, "message": "unauthorized: invalid api key, please provide a valid api key"}
    known = [route for route in _ROUTES if route.since is None or state.knows(route.since)]
    fitting = [route for route in known if route.path.fullmatch(request.path)]
    for route in fitting:
        if route.method == request.method:
            return _outcome(state, route, request)
    if fitting:
        allowed = ",".join(route.method for route in fitting)
        return 405, {"code": 405, "message": f"method {request.method} is not allowed, but [{allowed}] are"}
    return 404, {"code": 404, "message": f"path /v1{request.path} was not found"}


def _outcome(state: ServerState, route: _Route, request: SeenRequest) -> Answer:
    if request.method == "POST" and request.body is None:
        return 422, {"code": 602, "message": "body in body is required"}
    if isinstance(request.body, _Malformed):
        return 400, {"code": 400, "message": 'parsing body body from "" failed, because invalid character'}
    found = route.path.fullmatch(request.path)
    parts = [unquote(part) for part in (found.groups() if found else ())]
    try:
        return route.success, route.handler(state, request, *(*parts, "", "")[:2])
    except Refused as refusal:
        return refusal.status, refusal.body
    except EmptyAnswer:
        return 200, None


class _Malformed(str):
    """A body that is not JSON."""

    __slots__ = ()


def decoded(body: bytes) -> Any:
    """Return a request's body, decoded."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        return _Malformed(body.decode(errors="replace"))


def _is_known(state: ServerState, authorization: str) -> bool:
    return authorization.removeprefix("Bearer ") in state.api_keys
