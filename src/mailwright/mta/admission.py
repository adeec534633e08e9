"""Whether an offered message is taken, and as what: one rule for every door.

:meth:`Admission.judge` is a pure function of the offer, the shared settings and ``now``:
it promises that what it lets through has exactly one From mailbox in a proven sending
domain of the credential's tenant, a key to be signed with, no bare CR, LF or NUL, no loop,
and only choices that the credential may make. It edits the message for storing; it stores
nothing.

A From domain has to *be* a sending domain: one below a sending domain is not enough,
because DKIM and return paths are set up for each of them.

Standards: RFC 5321 §6.3 (loops), RFC 5322 §3.6.2 (From), RFC 3463 (enhanced codes).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from mailwright import message
from mailwright.accounts.directory import (
    Credential,
    Directory,
    Scope,
    SendingDomain,
    Stream,
    StreamClass,
)
from mailwright.address import Address
from mailwright.envelope import Envelope
from mailwright.ids import PoolId
from mailwright.mta.control import (
    NEEDS_CONTROL,
    NOTHING,
    Choices,
    Defect,
    defect_of,
    field_name,
    json_name,
    merge,
    parse_controls,
)
from mailwright.mta.edits.intake import edit_for_storing
from mailwright.reply import Phase, Reply, local_reply
from mailwright.submission import Submission


@dataclass(frozen=True, slots=True)
class Offer:
    """A message at a door.

    Attributes:
        header: header section with its final empty line (``… CRLF CRLF``).
        body: the body's octets, dots un-stuffed.
        trace: complete fields (``Name: value CRLF``) to prepend, topmost first.
        choices: made beside the message (by JSON); control fields fill the gaps.
    """

    credential: Credential
    envelope: Envelope
    header: bytes
    body: bytes
    trace: tuple[bytes, ...] = ()
    choices: Choices = NOTHING


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What a message may be.

    Attributes:
        message_octets: header and body as offered.
        header_octets: the header section as offered.
        received_fields: this many mean a loop (RFC 5321 §6.3 asks for ≥ 100 to be
            allowed for; nothing submits mail that has travelled that far).
    """

    message_octets: int = 25_000_000
    header_octets: int = 100_000
    received_fields: int = 50


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an offer is not taken.

    Attributes:
        reply: 5xx, phase ``dot``; its text holds nothing of the input but a canonical
            domain.
        field: the JSON member or header field at fault (``from``, ``send_at``,
            ``X-Mailwright-Send-At``), or ``""`` when it is the message as a whole.
        needs: the scope that would have made it right.
    """

    reply: Reply
    field: str = ""
    needs: Scope | None = None


def strict_octets(octets: bytes) -> Reply | None:
    r"""Return why ``octets`` cannot be a message, or ``None``.

    Every CR is followed by LF, every LF is preceded by CR (RFC 5321 §2.3.8), and there is
    no NUL: whoever reads them otherwise would see another message than we did. Costs three
    ``memchr`` passes.
    """
    if message.has_stray_line_end(octets):
        return _refuse("5.6.0", "bare CR or LF in the message").reply
    if b"\0" in octets:
        return _refuse("5.6.0", "NUL in the message").reply
    return None


class Admission:
    """Admits offers by the shared settings of the moment. Thread-safe."""

    def __init__(
        self,
        directory: Callable[[], Directory],
        limits: AdmissionLimits = AdmissionLimits(),
    ) -> None:
        """Ask ``directory`` anew for each offer, so that changes act at once."""
        self._directory = directory
        self._limits = limits

    def apply(self, limits: AdmissionLimits) -> None:
        """Take over new limits; they act on what is offered from now on."""
        self._limits = limits

    def admit(
        self, offer: Offer, *, now: datetime, fresh_id: Callable[[], str]
    ) -> Submission | Reply:
        """Return ``offer`` checked and edited for storing, or the reply that refuses it.

        Args:
            offer: what a door has read.
            now: the instant of acceptance.
            fresh_id: gives the left side of a Message-ID for a message without one:
                never the same twice, ``atext`` and dots only.

        Cost: about 100 µs for 5 KB; proportional to the size.
        """
        judged = self.judge(offer, now=now, fresh_id=fresh_id)
        return judged.reply if isinstance(judged, Refusal) else judged

    def judge(
        self, offer: Offer, *, now: datetime, fresh_id: Callable[[], str]
    ) -> Submission | Refusal:
        """Do what :meth:`admit` does, and name the field that is at fault."""
        directory = self._directory()
        live = directory.credentials.get(offer.credential.name)
        if live is None or live.id != offer.credential.id:
            return _GONE
        if live is not offer.credential:
            # A session may have logged in long ago: what the settings say now counts.
            offer = replace(offer, credential=live)
        fields = message.fields(offer.header)
        refusal = self._octets_refusal(offer, fields)
        if refusal is not None:
            return refusal
        sending_domain = _sending_domain(directory, offer.credential, fields)
        if isinstance(sending_domain, Refusal):
            return sending_domain
        refusal = _reverse_path_refusal(directory, offer)
        if refusal is not None:
            return refusal
        stored = edit_for_storing(
            offer.header,
            offer.body,
            prepend=offer.trace,
            date=now,
            message_id=lambda: f"<{fresh_id()}@{sending_domain.domain}>",
            found=fields,
        )
        chosen = _choices(offer, stored.controls, now)
        if isinstance(chosen, Refusal):
            return chosen
        choices, notes = chosen
        way = _way(directory, offer, choices)
        if isinstance(way, Refusal):
            return way
        selector = _selector(sending_domain, way.stream)
        if isinstance(selector, Refusal):
            return selector
        starts_at = choices.not_before
        return Submission(
            tenant=offer.credential.tenant,
            credential=offer.credential.id,
            stream=way.stream.id,
            is_bulk=way.stream.stream_class is StreamClass.BULK,
            sending_domain=sending_domain.id,
            pool=way.pool,
            envelope=offer.envelope,
            header=stored.header,
            body=stored.body,
            message_id=stored.message_id,
            selector=selector,
            accepted_at=now,
            not_before=None if starts_at is None or starts_at <= now else starts_at,
            expires_at=choices.expires_at,
            tags=choices.tags,
            metadata=_labels(choices),
            edits=(*stored.edits, *notes),
        )

    def _octets_refusal(
        self, offer: Offer, fields: Sequence[message.Field]
    ) -> Refusal | None:
        limits = self._limits
        if Scope.SEND not in offer.credential.scopes:
            return _refuse("5.7.1", "this credential may not send", needs=Scope.SEND)
        if len(offer.header) + len(offer.body) > limits.message_octets:
            return _refuse(
                "5.3.4", f"message over {limits.message_octets} octets", code=552
            )
        if len(offer.header) > limits.header_octets:
            return _refuse(
                "5.3.4", f"header section over {limits.header_octets} octets", code=552
            )
        reply = strict_octets(offer.header) or strict_octets(offer.body)
        if reply is not None:
            return Refusal(reply)
        if len(message.find(fields, b"received")) >= limits.received_fields:
            # RFC 5321 §6.3: counting Received fields is the way to see a loop.
            return _refuse("5.4.6", "too many hops: mail loop", code=554)
        return None


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a message goes inside the node."""

    stream: Stream
    pool: PoolId


def _refuse(
    enhanced: str,
    text: str,
    *,
    code: int = 550,
    field: str = "",
    needs: Scope | None = None,
) -> Refusal:
    return Refusal(local_reply(code, enhanced, text, Phase.DOT), field, needs)


#: Of a credential that was revoked or retired since its session logged in.
_GONE: Final = _refuse("5.7.1", "this credential is not valid any more")


def _sending_domain(
    directory: Directory, credential: Credential, fields: Sequence[message.Field]
) -> SendingDomain | Refusal:
    author = message.from_mailbox(fields)
    if not isinstance(author, Address):
        return _refuse("5.7.1", str(author), field="from")
    found = directory.sending_domain_for(credential.tenant, author.domain)
    if found is None:
        unproven = directory.unproven_domain_for(credential.tenant, author.domain)
        if unproven is not None:
            return _refuse("5.7.1", unproven.why_unproven, field="from")
        return _refuse(
            "5.7.1",
            f"{author.domain} in From is not a proven sending domain of this credential",
            field="from",
        )
    return found


def _reverse_path_refusal(directory: Directory, offer: Offer) -> Refusal | None:
    """Refuse a reverse-path in another tenant's domain.

    Its SPF record would vouch for mail that is not its own, and the reports on it would
    go there. Any other mailbox may be named: who has it is not known.
    """
    path = offer.envelope.reverse_path
    if path is None or not directory.is_of_others(offer.credential.tenant, path.domain):
        return None
    return _refuse(
        "5.7.1",
        f"{path.domain} in the reverse-path is not a domain of this credential",
        field="mail_from",
    )


def _choices(
    offer: Offer, controls: Sequence[tuple[str, str]], now: datetime
) -> tuple[Choices, tuple[str, ...]] | Refusal:
    """Return what was chosen by JSON and control fields, and notes on the latter."""
    if not controls and offer.choices is NOTHING:
        return NOTHING, ()
    parsed = parse_controls(controls)
    if isinstance(parsed, Defect):
        return _choice_refusal(NOTHING, parsed)
    choices = merge(offer.choices, parsed.choices)
    defect = defect_of(choices, now=now)
    if defect is not None:
        return _choice_refusal(offer.choices, defect)
    return choices, tuple(f"ignored {name}: unknown" for name in parsed.unknown)


def _choice_refusal(beside: Choices, defect: Defect) -> Refusal:
    """Return the refusal of a choice that was made beside the message or in it."""
    field = _name_of(beside, defect.choice)
    return _refuse("5.6.0", f"{field}: {defect.reason}", field=field)


def _name_of(beside: Choices, choice: str) -> str:
    """Return what the submitter calls ``choice``: a JSON member or a control field."""
    return json_name(choice) if getattr(beside, choice) else field_name(choice)


def _way(directory: Directory, offer: Offer, choices: Choices) -> _Way | Refusal:
    credential = offer.credential
    stream = directory.streams[credential.stream]
    if choices.stream == stream.name:
        choices = replace(choices, stream=None)  # what it has anyway is no choice
    if Scope.CONTROL not in credential.scopes:
        for choice in NEEDS_CONTROL:
            if getattr(choices, choice) is not None:
                field = _name_of(offer.choices, choice)
                return _refuse(
                    "5.7.1",
                    f"{field}: needs the scope {Scope.CONTROL}",
                    field=field,
                    needs=Scope.CONTROL,
                )
    if choices.stream is not None:
        named = directory.streams_by_name.get((credential.tenant, choices.stream))
        if named is None:
            return _choice_refusal(offer.choices, Defect("stream", "no such stream"))
        stream = named
    if choices.pool is None:
        return _Way(stream, stream.pool)
    pool = directory.pool_for(credential.tenant, choices.pool)
    if pool is None:
        return _choice_refusal(offer.choices, Defect("pool", "no such pool"))
    return _Way(stream, pool.id)


def _selector(sending_domain: SendingDomain, stream: Stream) -> str | Refusal:
    """Return the selector that signs, fixed now so that a retry has the same octets."""
    key = sending_domain.primary_key
    if key is not None:
        return key.selector
    text = f"{sending_domain.domain} has no usable DKIM key; "
    if stream.stream_class is StreamClass.BULK:
        text += "bulk mail must be signed with an aligned one"
    else:
        text += "this node has no signature of its own to fall back to"
    return _refuse("5.7.1", text, field="from")


def _labels(choices: Choices) -> Mapping[str, str]:
    if choices.campaign is None:
        return choices.metadata
    return {**choices.metadata, "campaign": choices.campaign}
