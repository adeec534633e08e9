"""The demo's clients: blocking, each in a thread of its own.

They are made of ``smtplib`` and ``http.client``, so that what they share with the node is
SMTP and HTTP and no code. A client keeps one connection to each door and opens it again
when it broke. It never sends a message twice on its own: what came of a broken
transaction is for the ledger.
"""

import json
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

from mailwright.errors import MailwrightError
from mailwright.events.types import EventType
from mailwright.sandbox.demo.content import Content, content_of
from mailwright.sandbox.demo.folder import BULK, RECEIPTS
from mailwright.sandbox.demo.ledger import Delivery, Happening
from mailwright.sandbox.demo.letters import (
    Composed,
    Expected,
    Octets,
    json_of,
    octets_of,
)
from mailwright.sandbox.demo.plan import Door, Draft, Kind

_TIMEOUT_S: Final = 60.0
_PAGE: Final = 1000
_NAME: Final = "crm.acme.test"
_MESSAGE: Final = re.compile(r"msg_\d{8}_[0-9a-z]{13}")
_BULK_KINDS: Final = frozenset({Kind.NEWSLETTER, Kind.ILLUSTRATED, Kind.BROCHURE})


class DoorError(MailwrightError):
    """A door did not take a message, or nobody knows whether it did."""


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the node listens and what lets a client in.

    Attributes:
        login: the SMTP listener with STARTTLS and AUTH.
        network: the one that is open to this host.
        secrets: by credential.
        certificate: of the listeners.
    """

    login: tuple[str, int]
    network: tuple[str, int]
    http: tuple[str, int]
    secrets: Mapping[str, str]
    certificate: Path


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a client was told about a message that is accepted."""

    draft: Draft
    message: str
    message_id: str
    author_domain: str
    expected: Expected


class Client:
    """Sends drafts, each by its door. Use as a context manager, in one thread."""

    def __init__(self, doors: Doors, now: Callable[[], datetime]) -> None:
        self._doors = doors
        self._now = now
        self._http = HttpClient(doors)
        self._smtp: dict[Door, smtplib.SMTP] = {}

    def send(self, draft: Draft) -> Receipt:
        """Send ``draft`` and return when it is acknowledged.

        Raises:
            DoorError: it is not, or that cannot be told.
        """
        content = content_of(draft)
        try:
            if draft.door is Door.HTTP_JSON:
                return self._send_json(draft, content)
            octets = octets_of(draft, content, now=self._now())
            if draft.door is Door.HTTP_MESSAGE:
                message, message_id = self._post_octets(draft, octets)
            else:
                message = self._submit(draft, content.author, octets)
                message_id = octets.message_id or self._http.message_id_of(message)
        except (OSError, smtplib.SMTPException, HTTPException) as error:
            self._close_smtp()
            raise DoorError(f"{draft.door.value}: {error}") from error
        return Receipt(
            draft, message, message_id, content.author_domain, octets.expected
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_smtp()
        self._http.close()

    def _send_json(self, draft: Draft, content: Content) -> Receipt:
        body = json.dumps(json_of(draft, content, now=self._now())).encode()
        message, message_id = self._post(draft, "", "application/json", body)
        expected = Composed(content)
        return Receipt(draft, message, message_id, content.author_domain, expected)

    def _post_octets(self, draft: Draft, octets: Octets) -> tuple[str, str]:
        query = urlencode([("rcpt", each.address) for each in draft.recipients])
        return self._post(draft, f"?{query}", "message/rfc822", octets.submitted)

    def _post(
        self, draft: Draft, query: str, media_type: str, body: bytes
    ) -> tuple[str, str]:
        """Return the ids that the node gave: its own, and the Message-ID."""
        credential = BULK if draft.kind in _BULK_KINDS else RECEIPTS
        headers = {"Content-Type": media_type}
        if draft.is_repeated:
            headers["Idempotency-Key"] = f"draft-{draft.number}"
        path = f"/v1/messages{query}"
        answer = self._http.ask("POST", path, credential, body, headers)
        if draft.is_repeated:
            again = self._http.ask("POST", path, credential, body, headers)
            if again != answer:
                raise DoorError("a repeated create was answered in another way")
        wanted = {each.canonical for each in draft.recipients}
        if {each["address"] for each in answer["recipients"]} != wanted:
            raise DoorError("HTTP: other recipients were acknowledged than were named")
        return answer["id"], answer["message_id"]

    def _submit(self, draft: Draft, sender: str, octets: Octets) -> str:
        """Return the node's id of a message that it took by SMTP."""
        smtp = self._smtp_of(draft.door)
        options = [] if octets.submitted.isascii() else ["BODY=8BITMIME"]
        if octets.is_utf8:
            options.append("SMTPUTF8")
        _expect(250, smtp.mail(sender, options))
        for person in draft.recipients:
            address = person.address if octets.is_utf8 else person.canonical
            _expect(250, smtp.rcpt(address))
        found = _MESSAGE.search(_expect(250, smtp.data(octets.submitted)))
        if found is None:
            raise DoorError("SMTP: the reply to the message names no id")
        return found[0]

    def _smtp_of(self, door: Door) -> smtplib.SMTP:
        smtp = self._smtp.get(door)
        if smtp is None:
            doors = self._doors
            has_login = door is Door.SMTP_LOGIN
            host, port = doors.login if has_login else doors.network
            # Without a name of its own it would ask DNS for one.
            smtp = smtplib.SMTP(host, port, local_hostname=_NAME, timeout=_TIMEOUT_S)
            self._smtp[door] = smtp
            if has_login:
                # The name in it is another one than the address that we connect to.
                context = ssl.create_default_context(cafile=doors.certificate)
                context.check_hostname = False
                smtp.starttls(context=context)
                smtp.login(RECEIPTS, doors.secrets[RECEIPTS])
            smtp.ehlo_or_helo_if_needed()
        return smtp

    def _close_smtp(self) -> None:
        for smtp in self._smtp.values():
            with suppress(OSError, smtplib.SMTPException):
                smtp.quit()
            smtp.close()
        self._smtp.clear()


class HttpClient:
    """One connection to the API."""

    def __init__(self, doors: Doors) -> None:
        self._secrets = doors.secrets
        self._connection = HTTPConnection(*doors.http, timeout=_TIMEOUT_S)

    def ask(
        self,
        method: str,
        path: str,
        credential: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """Return the JSON of a success.

        Raises:
            DoorError: the API refused.
            OSError, HTTPException: the connection broke.
        """
        octets = self._asked(method, path, credential, body, headers)
        answer: Mapping[str, Any] = json.loads(octets)
        return answer

    def lines(self, path: str, credential: str) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of an NDJSON answer; raises as :meth:`ask`."""
        for line in self._asked("GET", path, credential).splitlines():
            yield json.loads(line)

    def _asked(
        self,
        method: str,
        path: str,
        credential: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        authorization = f"Bearer {self._secrets[credential]}"
        try:
            self._connection.request(
                method, path, body, {"Authorization": authorization, **(headers or {})}
            )
            response = self._connection.getresponse()
            octets = response.read()
        except (OSError, HTTPException):
            self.close()  # the next question opens it again
            raise
        if response.status >= 300:
            text = octets.decode("utf-8", "replace")
            raise DoorError(f"HTTP: {response.status} {text}")
        return octets

    def message_id_of(self, message: str) -> str:
        """Return the Message-ID of a message that the node knows."""
        answer = self.ask("GET", f"/v1/messages/{message}", RECEIPTS)
        return str(answer["message_id"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class EventFeed:
    """Reads the event log from its beginning on, page by page.

    Attributes:
        cursor: where the next page begins.
    """

    def __init__(self, doors: Doors) -> None:
        self._http = HttpClient(doors)
        self.cursor = ""

    def read(self) -> tuple[list[Happening], bool]:
        """Return the next events, and whether there may be more already.

        Raises:
            DoorError, OSError, HTTPException: the API could not be asked.
        """
        query = urlencode({"after": self.cursor, "limit": _PAGE})
        answer = self._http.ask("GET", f"/v1/events?{query}", RECEIPTS)
        found = list(_happenings(answer["events"]))
        self.cursor = answer["next"]
        return found, len(answer["events"]) >= _PAGE

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def _happenings(events: list[Mapping[str, Any]]) -> Iterator[Happening]:
    for event in events:
        kind = EventType(event["type"])
        yield Happening(
            kind,
            Delivery(event["message"], event["recipient"] or ""),
            kind is EventType.POSSIBLE_DUPLICATE
            or bool(event["data"].get("possible_duplicate")),
        )


def _expect(code: int, answer: tuple[int, bytes]) -> str:
    """Return the text of a reply that has to be ``code``."""
    text = answer[1].decode("utf-8", "replace")
    if answer[0] != code:
        raise DoorError(f"SMTP: {answer[0]} {text}")
    return text
