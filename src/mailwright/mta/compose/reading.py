"""Reading a campaign's content: from JSON to a value, or to all that is wrong with it.

Fields are named as they are in the JSON: ``headers.X-Coupon``, ``variants.b.subject``.
Whether the templates are templates is :mod:`mailwright.mta.compose.template`'s to say.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mailwright.address import Address, AddressError, parse_address
from mailwright.mta.compose.composing import base64_content
from mailwright.mta.compose.content import (
    CampaignContent,
    ContentError,
    Json,
    Variant,
    parse_json_object,
)
from mailwright.mta.compose.spec import (
    Attachment,
    Defect,
    Mailbox,
    MessageSpec,
    defects_of,
)
from mailwright.mta.compose.words import has_controls

MAX_HTML_OCTETS: Final = 2_000_000
MAX_TEXT_OCTETS: Final = 2_000_000
#: Of a template that becomes part of a header field.
MAX_LINE_CHARS: Final = 8_192
MAX_FIELDS_OCTETS: Final = 65_536
MAX_ATTACHMENT_OCTETS: Final = 25_000_000
MAX_VARIANTS: Final = 20
#: Of all variants together.
MAX_VARIANTS_OCTETS: Final = 8_000_000
MAX_REPLY_TO: Final = 10
MAX_UTM: Final = 20
MAX_DEPTH: Final = 20

_VARIANT_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_UTM_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOBODY: Final = Address("nobody", "example.invalid")


def parse_content(octets: bytes) -> CampaignContent:
    """Return the content that a JSON object describes.

    Blocking: about a millisecond for each 100 KB.

    Raises:
        ContentError: it is not right; all that is wrong is in it.
    """
    try:
        value = parse_json_object(octets)
    except ValueError as error:
        raise ContentError((Defect("", str(error)),)) from error
    return _Reader().content(value)


class _Reader:
    """Reads one content and collects what is wrong with it.

    Every method gives a value to go on with, so that all mistakes are found at once.
    """

    def __init__(self) -> None:
        self._defects: list[Defect] = []

    def content(self, value: Mapping[str, Any]) -> CampaignContent:
        self._only(value, "", _KEYS)
        author = self._object(value.get("from"), "from", _MAILBOX_KEYS, needed=True)
        variants = self._variants(value.get("variants"))
        found = CampaignContent(
            author=self._address(author.get("address"), "from.address"),
            author_name=self._line(author.get("name"), "from.name") or "",
            reply_to=self._reply_to(value.get("reply_to")),
            to_name=self._line(value.get("to_name"), "to_name") or "",
            subject=self._line(value.get("subject"), "subject", needed=True) or "",
            html=self._text(value.get("html"), "html", MAX_HTML_OCTETS),
            text=self._text(value.get("text"), "text", MAX_TEXT_OCTETS),
            headers=self._lines(value.get("headers"), "headers"),
            fields=self._fields(value.get("fields"), "fields"),
            defaults=self._fields(value.get("defaults"), "defaults"),
            attachments=self._attachments(value.get("attachments")),
            utm=self._utm(value.get("utm")),
            is_strict=self._flag(value.get("strict"), "strict"),
            variants=variants,
        )
        if found.html is None and found.text is None:
            self._wrong("html", "html or text is needed")
        self._defects += defects_of(
            MessageSpec(
                Mailbox(found.author),
                "",
                "",
                reply_to=found.reply_to,
                headers=tuple((name, "x") for name in found.headers),
                attachments=found.attachments,
            )
        )
        if self._defects:
            raise ContentError(self._defects)
        return found

    def _wrong(self, path: str, reason: str) -> None:
        self._defects.append(Defect(path, reason))

    def _only(self, value: Mapping[str, Any], path: str, keys: frozenset[str]) -> None:
        for key in value:
            if key not in keys:
                shown = key[:40] if key.isprintable() else "?"
                self._wrong(f"{path}.{shown}" if path else shown, "unknown field")

    def _object(
        self, value: Any, path: str, keys: frozenset[str], *, needed: bool = False
    ) -> Mapping[str, Any]:
        if value is None and not needed:
            return {}
        if not isinstance(value, dict):
            self._wrong(path, "an object is needed")
            return {}
        self._only(value, path, keys)
        return value

    def _list(self, value: Any, path: str, most: int) -> Sequence[Any]:
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong(path, "a list is needed")
            return ()
        if len(value) > most:
            self._wrong(path, f"more than {most}")
            return ()
        return value

    def _flag(self, value: Any, path: str) -> bool:
        if value is not None and not isinstance(value, bool):
            self._wrong(path, "true or false is needed")
        return value is True

    def _address(self, value: Any, path: str) -> Address:
        if not isinstance(value, str):
            self._wrong(path, "an address is needed")
            return _NOBODY
        try:
            address = parse_address(value)
        except AddressError as error:
            self._wrong(path, error.reason)
            return _NOBODY
        if address.needs_utf8:
            # It would ask SMTPUTF8 of every receiver (RFC 6531 §3.2): few have it.
            self._wrong(path, "only recipients may have local parts beyond ASCII")
        return address

    def _text(self, value: Any, path: str, most: int) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong(path, "text is needed")
        elif len(value) > most or len(value.encode()) > most:
            self._wrong(path, f"over {most} octets")
        elif "\0" in value:
            self._wrong(path, "has a NUL")
        else:
            return value
        return None

    def _line(self, value: Any, path: str, *, needed: bool = False) -> str | None:
        if value is None and needed:
            self._wrong(path, "text is needed")
        text = self._text(value, path, 4 * MAX_LINE_CHARS)
        if text is None:
            return None
        if len(text) > MAX_LINE_CHARS:
            self._wrong(path, f"over {MAX_LINE_CHARS} characters")
        elif has_controls(text):
            self._wrong(path, "has a control character or a line separator")
        else:
            return text
        return None

    def _lines(self, value: Any, path: str) -> dict[str, str]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong(path, "an object is needed")
            return {}
        shown = {name: name[:80] if name.isprintable() else "?" for name in value}
        return {
            name: self._line(each, f"{path}.{shown[name]}", needed=True) or ""
            for name, each in value.items()
        }

    def _utm(self, value: Any) -> dict[str, str]:
        found = self._lines(value, "utm")
        if len(found) > MAX_UTM:
            self._wrong("utm", f"more than {MAX_UTM}")
        if not all(map(_UTM_NAME.fullmatch, found)):
            self._wrong("utm", "a name has letters, digits and _ . - only")
        return found

    def _fields(self, value: Any, path: str) -> dict[str, Json]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong(path, "an object is needed")
            return {}
        if _depth_over(value, MAX_DEPTH):
            self._wrong(path, f"nested over {MAX_DEPTH} deep")
        elif len(json.dumps(value, ensure_ascii=False).encode()) > MAX_FIELDS_OCTETS:
            self._wrong(path, f"over {MAX_FIELDS_OCTETS} octets as JSON")
        else:
            return value
        return {}

    def _reply_to(self, value: Any) -> tuple[Mailbox, ...]:
        if isinstance(value, dict):
            value = [value]
        found = []
        for place, each in enumerate(self._list(value, "reply_to", MAX_REPLY_TO)):
            path = f"reply_to[{place}]"
            mailbox = self._object(each, path, _MAILBOX_KEYS, needed=True)
            address = self._address(mailbox.get("address"), f"{path}.address")
            name = self._line(mailbox.get("name"), f"{path}.name") or ""
            found.append(Mailbox(address, name))
        return tuple(found)

    def _attachments(self, value: Any) -> tuple[Attachment, ...]:
        found = []
        total = 0
        for place, each in enumerate(self._list(value, "attachments", 100)):
            path = f"attachments[{place}]"
            given = self._object(each, path, _ATTACHMENT_KEYS, needed=True)
            texts = {}
            for key in _ATTACHMENT_TEXTS:
                text = given.get(key, "" if key == "content_id" else None)
                if not isinstance(text, str):
                    self._wrong(f"{path}.{key}", "text is needed")
                texts[key] = text if isinstance(text, str) else ""
            content = self._base64(texts["content"], f"{path}.content")
            total += len(content)
            found.append(
                Attachment(
                    texts["filename"],
                    texts["content_type"],
                    content,
                    texts["content_id"],
                )
            )
        if total > MAX_ATTACHMENT_OCTETS:
            self._wrong("attachments", f"over {MAX_ATTACHMENT_OCTETS} octets together")
        return tuple(found)

    def _base64(self, text: str, path: str) -> bytes:
        try:
            return base64_content(text)
        except ValueError:
            self._wrong(path, "is not base64")
            return b""

    def _variants(self, value: Any) -> dict[str, Variant]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong("variants", "an object is needed")
            return {}
        if len(value) > MAX_VARIANTS:
            self._wrong("variants", f"more than {MAX_VARIANTS}")
            return {}
        found = {}
        for name, each in value.items():
            if not _VARIANT_NAME.fullmatch(name):
                self._wrong("variants", "a name has letters, digits, _ and - only")
                continue
            path = f"variants.{name}"
            given = self._object(each, path, _VARIANT_KEYS, needed=True)
            found[name] = Variant(
                self._line(given.get("subject"), f"{path}.subject"),
                self._text(given.get("html"), f"{path}.html", MAX_HTML_OCTETS),
                self._text(given.get("text"), f"{path}.text", MAX_TEXT_OCTETS),
                self._line(given.get("from_name"), f"{path}.from_name"),
            )
        octets = sum(len(v.html or "") + len(v.text or "") for v in found.values())
        if octets > MAX_VARIANTS_OCTETS:
            self._wrong("variants", f"over {MAX_VARIANTS_OCTETS} characters together")
        return found


def _depth_over(value: Json, most: int) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence | Mapping):
        return False
    if not most:
        return True
    inner = value.values() if isinstance(value, Mapping) else value
    return any(_depth_over(each, most - 1) for each in inner)


_KEYS: Final = frozenset(
    (
        *("attachments", "defaults", "fields", "from", "headers", "html", "reply_to"),
        *("strict", "subject", "text", "to_name", "utm", "variants"),
    )
)
_MAILBOX_KEYS: Final = frozenset(("address", "name"))
_ATTACHMENT_TEXTS: Final = ("filename", "content_type", "content", "content_id")
_ATTACHMENT_KEYS: Final = frozenset(_ATTACHMENT_TEXTS)
_VARIANT_KEYS: Final = frozenset(("subject", "html", "text", "from_name"))
