"""Every error that the API answers with, as RFC 9457 problems.

A problem says what is wrong in words that can be shown to whoever wrote the client; it
repeats nothing of a header field's or a key's value and nothing of the node's inside.
``type`` is a reference to the page at ``/docs``, where each one is explained.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from mailwright.errors import MailwrightError
from mailwright.store.ports import StoreError, StoreFullError

MEDIA_TYPE = "application/problem+json"
#: More would only repeat the same mistake.
_MAX_ERRORS = 50

_log = logging.getLogger(__name__)


class Kind(Enum):
    """The closed list of problems: slug, status, title."""

    MALFORMED = "malformed", 400, "The body is not what its media type says"
    UNAUTHORIZED = "unauthorized", 401, "A valid API key is needed"
    FORBIDDEN = "forbidden", 403, "The API key lacks a scope"
    ADDRESS = "wrong-address", 403, "Not from this address"
    NOT_FOUND = "not-found", 404, "There is no such thing"
    METHOD = "method-not-allowed", 405, "Not with this method"
    SLOW = "slow-request", 408, "The body did not arrive in time"
    IN_PROGRESS = "in-progress", 409, "The same create is still in progress"
    SETTINGS_CHANGED = "settings-changed", 409, "The settings changed since"
    STATE = "wrong-state", 409, "Not in the state that the campaign is in"
    UPLOADING = "upload-in-progress", 409, "Another upload is in progress"
    POSITION = "wrong-position", 409, "An upload goes on where the last one ended"
    TOO_LARGE = "too-large", 413, "The request or the message is too large"
    MEDIA = "unsupported-media-type", 415, "Not in this media type"
    INVALID = "invalid-fields", 422, "Some fields are not right; nothing was sent"
    REFUSED = "message-refused", 422, "The message is refused; nothing was sent"
    ROWS = "malformed-rows", 422, "The rows cannot be read on from here"
    CHUNK_REUSED = "chunk-reused", 422, "The chunk's key belongs to other rows"
    KEY_REUSED = "key-reused", 422, "The Idempotency-Key belongs to another request"
    OVER_LIMIT = "over-limit", 422, "More than the limits of the key allow"
    TOO_MANY = "too-many-requests", 429, "Too many requests"
    INTERNAL = "internal", 500, "Something went wrong here; it is in our log"
    UNAVAILABLE = "unavailable", 503, "Not now; try again later"
    UNKNOWN_OUTCOME = "unknown-outcome", 504, "Whether it was stored is not known yet"
    FULL = "insufficient-storage", 507, "No room to store it; try again later"

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; ``field`` is its path, such as ``to[3].address``.

    Attributes:
        line: in a template or a file of rows, from 1; not said where there is none.
        column: likewise.
    """

    field: str
    message: str
    line: int | None = None
    column: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return its members, without those that are not said."""
        return {
            name: value for name, value in asdict(self).items() if value is not None
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem as it is sent (RFC 9457 §3.1), for the OpenAPI document.

    Attributes:
        errors: one for each field at fault; an extension member (§3.2).
    """

    type: str
    title: str
    status: int
    detail: str = ""
    errors: Sequence[FieldError] = ()


class ProblemError(MailwrightError):
    """Ends a request with a problem."""

    def __init__(
        self,
        kind: Kind,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{kind.slug}: {detail}" if detail else kind.slug)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors[:_MAX_ERRORS])
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            # RFC 9110 §10.2.3: whole seconds.
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))

    def response(self) -> JSONResponse:
        """Return the answer to the request."""
        kind = self.kind
        content: dict[str, object] = {
            "type": f"/docs#{kind.slug}",
            "title": kind.title,
            "status": kind.status,
        }
        if self.detail:
            content["detail"] = self.detail
        if self.errors:
            content["errors"] = [error.to_json() for error in self.errors]
        return JSONResponse(
            content, kind.status, headers=self.headers, media_type=MEDIA_TYPE
        )


def invalid(*errors: FieldError) -> ProblemError:
    """Return the problem of fields that are not right."""
    return ProblemError(Kind.INVALID, errors=errors)


def path_of(loc: Sequence[int | str]) -> str:
    """Return a location in JSON as the API writes it: ``to[3].address``."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return what pydantic found, without any part of the input."""
    return [
        FieldError(path_of(found["loc"]), _message(found))
        for found in error.errors(include_url=False, include_input=False)
    ]


def add_handlers(app: FastAPI) -> None:
    """Make every error of ``app`` a problem."""

    async def on_problem(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ProblemError)  # noqa: S101  registered for it
        return error.response()

    async def on_parameters(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        # The first part of a location says whether it is a path, query or header.
        errors = [
            FieldError(path_of(found["loc"][1:]), str(found["msg"]))
            for found in error.errors()
        ]
        return ProblemError(Kind.INVALID, errors=errors).response()

    async def on_http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        kinds = {405: Kind.METHOD, 404: Kind.NOT_FOUND}
        kind = kinds.get(error.status_code, Kind.MALFORMED)
        return ProblemError(kind, headers=error.headers).response()

    async def on_store(_: Request, error: Exception) -> JSONResponse:
        _log.error("the store refused a request: %s", type(error).__name__)
        kind = Kind.FULL if isinstance(error, StoreFullError) else Kind.UNAVAILABLE
        return ProblemError(kind, retry_after_s=30).response()

    async def on_bug(_: Request, __: Exception) -> JSONResponse:
        # The server logs the traceback; the client gets none of it.
        return ProblemError(Kind.INTERNAL).response()

    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(RequestValidationError, on_parameters)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(StoreError, on_store)
    app.add_exception_handler(Exception, on_bug)


def _message(found: ErrorDetails) -> str:
    if found["type"] == "extra_forbidden":
        return "no such field"
    if found["type"] == "missing":
        return "is needed"
    return found["msg"]
