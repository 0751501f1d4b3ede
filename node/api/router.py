"""Routes of the local API: each declares its method, path and scope, or it does not exist.

::

    class TrackRoutes:
        def __init__(self, *, library: Library) -> None: ...

        @route("GET", "/api/v1/tracks/{id}", scope=Scope.READ_MUSIC)
        async def show(self, ctx: ApiContext) -> Reply:
            return Reply.ok(await self._library.track(ctx.params["id"]), cache=REVALIDATE)

    router = Router()
    router.include(TrackRoutes(library=library))

The guard (``guard.py``) asks the router which route a request is for and lets it in or not; the
dispatcher (``dispatch.py``) then reads the body, calls the handler and writes the envelope.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar, cast

from starlette.routing import compile_path

from node.api.errors import MethodNotAllowedError, NoSuchRouteError
from node.api.fields import Fields
from node.api.reply import Reply
from node.api.scopes import Scope
from node.api.tokens import AccessToken

F = TypeVar("F", bound=Callable[..., Awaitable[Reply]])
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PATH_CHARS_MAX = 1024
_MARK = "__marina_routes__"


class Open(Enum):
    """Why a route needs no token. Every use is listed in a test."""

    PAGE = auto()
    """Files of the player page: the same for everybody."""
    LIVENESS = auto()
    """Answers with one word, for supervisors."""
    LOGIN = auto()
    """Exchanges a secret for a token; refused for a while after five wrong tries."""
    TICKET = auto()
    """The path carries its own signed ticket, which the handler checks."""


Access = Scope | tuple[Scope, ...] | Open


@dataclass(frozen=True, slots=True)
class ApiContext:
    """One request that the guard let in.

    Attributes:
        method: GET, POST, …; HEAD comes as GET.
        path: the path as asked for, decoded.
        params: values of the path's ``{names}``.
        query: fields of the query string.
        body: fields of the JSON body.
        headers: lower-case name → value; of several the last.
        token: who asks; None on open routes.
        request: the request's id, for logs.
        base_url: ``http://127.0.0.1:7787`` as the caller knows this node.
    """

    method: str
    path: str
    params: Mapping[str, str]
    query: Fields
    body: Fields
    headers: Mapping[str, str]
    token: AccessToken | None
    request: str
    base_url: str


Handler = Callable[[ApiContext], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path.

    Attributes:
        method: one of METHODS.
        pattern: path with ``{names}``; ``{name:path}`` may contain slashes.
        access: the scopes of which one is needed, or why none is.
        handler: answers it.
        regex: the compiled pattern.
    """

    method: str
    pattern: str
    access: Access
    handler: Handler
    regex: re.Pattern[str]

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes of which one is needed; empty for open routes."""
        if isinstance(self.access, Open):
            return ()
        return self.access if isinstance(self.access, tuple) else (self.access,)


@dataclass(frozen=True, slots=True)
class Match:
    """A route and the values of its path."""

    route: Route
    params: Mapping[str, str]


def route(method: str, pattern: str, *, scope: Access) -> Callable[[F], F]:
    """Mark a handler method; ``Router.include`` on its object adds it."""

    def mark(handler: F) -> F:
        marks: list[tuple[str, str, Access]] = getattr(handler, _MARK, [])
        setattr(handler, _MARK, [*marks, (method, pattern, scope)])
        return handler

    return mark


class Router:
    """All routes of a node, in the order they were added."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def include(self, *handlers: object) -> None:
        """Add every marked method of the objects.

        Raises:
            ValueError: an object has none, or as for ``add``.
        """
        for each in handlers:
            marked = [
                (cast("Handler", handler), mark)
                for _, handler in inspect.getmembers(each, callable)
                for mark in getattr(handler, _MARK, [])
            ]
            if not marked:
                raise ValueError(f"{type(each).__name__} has no routes")
            for handler, (method, pattern, access) in marked:
                self.add(method, pattern, handler, scope=access)

    def route(self, method: str, pattern: str, *, scope: Access) -> Callable[[Handler], Handler]:
        """Return a decorator that adds a plain function at once."""

        def add(handler: Handler) -> Handler:
            self.add(method, pattern, handler, scope=scope)
            return handler

        return add

    def add(self, method: str, pattern: str, handler: Handler, *, scope: Access) -> None:
        """Add one route.

        Raises:
            ValueError: no scope, an unknown method, a bad path, or the route is there already.
        """
        scopes: tuple[Any, ...] = scope if isinstance(scope, tuple) else (scope,)
        if not scopes or not all(isinstance(each, Scope | Open) for each in scopes):
            raise ValueError(f"{method} {pattern} declares no scope")
        if method not in METHODS or not pattern.startswith("/"):
            raise ValueError(f"{method} {pattern} is no route")
        if any(known.method == method and known.pattern == pattern for known in self._routes):
            raise ValueError(f"{method} {pattern} is there already")
        regex, _, _ = compile_path(pattern)
        self._routes.append(Route(method, pattern, scope, handler, regex))

    def resolve(self, method: str, path: str) -> Match:
        """Return the route of a request; HEAD is answered by GET.

        Raises:
            NoSuchRouteError: nothing has this path.
            MethodNotAllowedError: the path has other methods.
        """
        wanted = "GET" if method == "HEAD" else method
        allowed: list[str] = []
        if len(path) <= PATH_CHARS_MAX and path.isprintable():
            for each in self._routes:
                found = each.regex.match(path)
                if found is None:
                    continue
                if each.method == wanted:
                    return Match(each, found.groupdict())
                allowed.append(each.method)
        if allowed:
            raise MethodNotAllowedError(method, tuple(dict.fromkeys(allowed)))
        raise NoSuchRouteError("nothing is served under this path: docs/api.md lists what is")
