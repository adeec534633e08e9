"""``/openapi.json``, and ``/docs``, which shows it without asking any other host."""

import asyncio
import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, Response

#: The page runs its own script and asks this host for the document; nothing else.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES: Final = {
    "docs.html": "text/html; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}


def documentation_router(make: Callable[[], dict[str, Any]]) -> APIRouter:
    """Return the routes that show the OpenAPI document. Reads the page's files, once.

    ``make`` makes the document (some 50 ms); it is called in a thread, when the document
    is asked for.
    """
    router = APIRouter(include_in_schema=False)
    folder = files("mailwright.api") / "pages"
    pages = {name: (folder / name).read_bytes() for name in _FILES}

    @cache
    def text() -> str:
        return json.dumps(make(), separators=(",", ":"))

    @router.get("/openapi.json")
    async def get_document() -> Response:
        return Response(await asyncio.to_thread(text), media_type="application/json")

    @router.get("/docs")
    async def get_page() -> Response:
        return _page("docs.html")

    @router.get("/docs/docs.css")
    async def get_style() -> Response:
        return _page("docs.css")

    @router.get("/docs/docs.js")
    async def get_script() -> Response:
        return _page("docs.js")

    def _page(name: str) -> Response:
        headers = {
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return Response(pages[name], headers=headers, media_type=_FILES[name])

    return router
