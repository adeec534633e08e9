"""Answers and bodies in JSON, as several routes give and document them."""

from typing import Any, Final

from fastapi import Response

JSON: Final = "application/json"
#: Of what a cache between us and a client must not keep.
NO_STORE: Final = {"Cache-Control": "no-store"}


def json_answer(content: bytes, status: int = 200) -> Response:
    """Return an answer of JSON octets that nobody keeps."""
    return Response(content, status, headers=NO_STORE, media_type=JSON)


def body_document(model: str, *, required: bool = True) -> dict[str, Any]:
    """Return what the document says of a body that is read here.

    ``model`` is the name of its schema, which the document has.
    """
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {
        "requestBody": {"required": required, "content": {JSON: {"schema": schema}}}
    }
