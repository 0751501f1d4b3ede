"""What a handler gives back: data for the envelope, a stream of events, bytes, or another ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from starlette.types import ASGIApp

from marina.errors import MarinaError
from node.api.errors import BadRequestError
from node.api.fields import Fields

T = TypeVar("T")
NO_STORE = "no-store"
REVALIDATE = "private, no-cache"
"""May be kept by this browser and is asked for again each time; answered 304 while its ETag holds."""
IMMUTABLE = "private, max-age=31536000, immutable"
"""For what is named by its hash."""
PAGE_LIMIT = 50
PAGE_LIMIT_MAX = 500
_CURSOR_BYTES_MAX = 256


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; make it with one of the class methods.

    Attributes:
        data: what the envelope carries.
        message: one sentence for people, or None.
        status: HTTP status.
        cache: the Cache-Control header; anything but NO_STORE gets an ETag and 304s.
        headers: further headers.
        events: NDJSON lines instead of an envelope.
        body: bytes instead of an envelope, with their content type.
        content_type: of ``body``.
        app: ASGI app that answers instead, after the guard let the request in.
        error: makes the envelope a failure that still carries its data: a check that found faults.
    """

    data: object = None
    message: str | None = None
    status: int = 200
    cache: str = NO_STORE
    headers: tuple[tuple[str, str], ...] = ()
    events: AsyncIterator[dict[str, Any]] | None = None
    body: bytes | None = None
    content_type: str = ""
    app: ASGIApp | None = None
    error: MarinaError | None = None

    @classmethod
    def ok(cls, data: object = None, *, message: str | None = None, cache: str = NO_STORE) -> Reply:
        """Return 200 with data in the envelope."""
        return cls(data=data, message=message, cache=cache)

    @classmethod
    def created(cls, data: object, *, message: str | None = None) -> Reply:
        """Return 201 with data in the envelope."""
        return cls(data=data, message=message, status=201)

    @classmethod
    def stream(cls, events: AsyncIterator[dict[str, Any]]) -> Reply:
        """Return 200 with one JSON object a line, each sent as soon as it is there.

        An error after the start becomes the last line, ``{"event": "error", "error": {…}}``. When the
        caller goes away the iterator, an async generator, is cancelled.
        """
        return cls(events=events)

    @classmethod
    def raw(cls, body: bytes, content_type: str, *, cache: str = NO_STORE) -> Reply:
        """Return 200 with bytes of some type and no envelope: pages, images, metrics."""
        return cls(body=body, content_type=content_type, cache=cache)

    @classmethod
    def asgi(cls, app: ASGIApp) -> Reply:
        """Return a reply that another ASGI app writes: audio with ranges."""
        return cls(app=app)

    @classmethod
    def page(cls, page: Page, **more: object) -> Reply:
        """Return a page of a list: ``{items, nextCursor, …}``."""
        return cls(data={"items": list(page.items), "nextCursor": page.next_cursor, **more}, cache=REVALIDATE)

    def with_header(self, name: str, value: str) -> Reply:
        """Return the reply with one more header."""
        return replace(self, headers=(*self.headers, (name, value)))


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list.

    Attributes:
        items: JSON-ready items.
        next_cursor: give it as ``cursor`` for the next part; None at the end.
    """

    items: Sequence[object]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which part of a list is asked for.

    Attributes:
        cursor: key of the last item seen; empty at the start.
        limit: at most this many items.
    """

    cursor: str
    limit: int

    @classmethod
    def read(cls, query: Fields, *, limit: int = PAGE_LIMIT) -> PageQuery:
        """Return ``cursor`` and ``limit`` of a query.

        Raises:
            BadRequestError: out of bounds.
        """
        cursor = query.text("cursor", "", bytes_max=_CURSOR_BYTES_MAX)
        return cls(cursor, query.whole("limit", limit, low=1, high=PAGE_LIMIT_MAX))

    def cut(self, items: Sequence[T], *, key: Callable[[T], str], show: Callable[[T], object]) -> Page:
        """Return the page of a whole sorted list.

        Args:
            items: everything, sorted by ``key``; keys are unique.
            key: the text that orders an item and becomes the cursor.
            show: the JSON of an item.
        """
        behind = [item for item in items if not self.cursor or key(item) > self.cursor]
        part = behind[: self.limit]
        return Page([show(item) for item in part], key(part[-1]) if len(behind) > len(part) else None)


def select_fields(data: object, names: Sequence[str]) -> object:
    """Return only the named members of an object, or of every item of a page.

    Raises:
        BadRequestError: the data is neither.
    """
    if not isinstance(data, dict):
        raise BadRequestError("'fields' needs a reply that is an object")
    if isinstance(data.get("items"), list):
        return {**data, "items": [_only(item, names) for item in data["items"]]}
    return _only(data, names)


def _only(item: object, names: Sequence[str]) -> object:
    return {name: item[name] for name in names if name in item} if isinstance(item, dict) else item
