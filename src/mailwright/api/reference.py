"""The reference page of the API, made from the node's own OpenAPI document."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_INTRODUCTION: Final = """\
# Routes of the HTTP API

<!-- Made by `make docs` from the node's OpenAPI document; do not edit. -->

Every route, with its parameters and the members of what is sent and answered. How to begin, and
the rules that all of them share, is in [the HTTP API](http-api.md); the node shows the same at
`/docs`, for its own version. Errors are problems (RFC 9457): the table at the end.
"""
_METHODS: Final = ("get", "head", "post", "put", "patch", "delete")
_REFERENCE: Final = "#/components/schemas/"

Schema = Mapping[str, Any]


def reference_page(document: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI ``document``, in Markdown."""
    by_tag: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                tag = (operation.get("tags") or ["others"])[0]
                by_tag.setdefault(tag, []).append((method.upper(), path, operation))
    lines = [_INTRODUCTION]
    for tag, operations in by_tag.items():
        lines.append(f"## {tag.capitalize()}\n")
        for method, path, operation in operations:
            lines += _operation(method, path, operation)
    lines.append("## Members\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _members(name, schema)
    lines += ["## Problems\n", "| type | status | title |", "|---|---|---|"]
    lines += [
        f"| `{each['type']}` | {each['status']} | {_cell(each['title'])} |"
        for each in document.get("x-problems", ())
    ]
    return "\n".join(lines) + "\n"


def _operation(method: str, path: str, operation: Schema) -> Iterator[str]:
    yield f"### `{method} {path}`\n"
    yield f"{operation.get('summary', '').strip()}.\n"
    if text := operation.get("description", "").strip():
        yield f"{text}\n"
    parameters = operation.get("parameters", ())
    if parameters:
        yield "| parameter | in | type | meaning |"
        yield "|---|---|---|---|"
        for each in parameters:
            kind = _kind(each.get("schema", {}))
            needed = "" if not each.get("required") else "; needed"
            meaning = _cell(each.get("description", ""))
            yield f"| `{each['name']}` | {each['in']} | {kind}{needed} | {meaning} |"
        yield ""
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        yield "Takes " + ", or ".join(_media(body)) + ".\n"
    yield "Answers:\n"
    for status, answer in sorted(operation.get("responses", {}).items()):
        said = " ".join(answer.get("description", "").split())
        shown = ", or ".join(_media(answer.get("content", {})))
        yield f"* {status}: {said}" + (f"; {shown}" if shown else "")
    yield ""


def _media(content: Mapping[str, Any]) -> Iterator[str]:
    for media, described in content.items():
        kind = _kind(described.get("schema", {}))
        is_named = kind.startswith("[")
        yield f"`{media}`" + (f" ({kind})" if is_named else "")


def _members(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}\n"
    if text := schema.get("description", "").strip():
        yield f"{text}\n"
    if values := schema.get("enum"):
        yield "One of " + ", ".join(f"`{each}`" for each in values) + ".\n"
    members = schema.get("properties", {})
    if not members:
        return
    needed = set(schema.get("required", ()))
    yield "| member | type | meaning |"
    yield "|---|---|---|"
    for member, described in members.items():
        kind = _kind(described) + ("; needed" if member in needed else "")
        yield f"| `{member}` | {kind} | {_cell(_meaning(described))} |"
    yield ""


def _meaning(described: Schema) -> str:
    parts = [described.get("description", "")]
    if (default := described.get("default")) not in (None, "", [], {}):
        parts.append(f"Default: `{default}`.")
    return " ".join(filter(None, parts))


def _kind(schema: Schema) -> str:
    """Return a short name of a type; a schema with members is a link to them."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return f"[{name}](#{name.lower()})"
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return _either(schema[choice])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_kind(schema['additionalProperties'])}"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _either(choices: Sequence[Schema]) -> str:
    kinds = list(dict.fromkeys(_kind(each) for each in choices))
    return " or ".join(kinds)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
