"""How each route of campaigns and templates is tried with what is another tenant's."""

from collections.abc import Callable, Mapping
from typing import Any

from fakes.tenant_cases import READ, SEND, Case, Probe, get
from fakes.two_tenants import Ask, Side

CAMPAIGNS, TEMPLATES = "/v1/campaigns", "/v1/templates"
_ONE = f"{CAMPAIGNS}/{{id}}"


def content(side: Side, **members: Any) -> dict[str, Any]:
    """Return a campaign of a tenant for ``POST /v1/campaigns``."""
    return {
        "name": f"news of {side.tenant}",
        "from": f"{side.tenant} <news@{side['domain']}>",
        "subject": f"news of {side.tenant}",
        "text": "Dear {{ name }}",
    } | members


def template(side: Side) -> dict[str, Any]:
    """Return a template of a tenant for ``POST /v1/templates``."""
    return {
        "name": side["template"],
        "subject": f"news of {side.tenant}",
        "text": f"news of {side.tenant}",
    }


def _created(**members: Any) -> Ask:
    return Ask("POST", CAMPAIGNS, json=content(Side("ours"), **members))


def _of(
    method: str, tail: str, **given: Any
) -> tuple[Callable[[Side], Ask], list[Probe]]:
    """Return a question about a campaign, plainly and as a probe."""

    def ask(ident: str) -> Ask:
        return Ask(method, f"{CAMPAIGNS}/{ident}{tail}", **given)

    return lambda side: ask(side["campaign"]), [Probe("campaign", ask)]


def _read(method: str, tail: str) -> Case:
    return Case(READ, *_of(method, tail), is_read=True)


_ROWS = {"params": {"key": "k2"}, "content": b'{"email":"a@shared.example"}\n'}
_TYPE = {"Content-Type": "application/x-ndjson"}

CAMPAIGN_ROUTES: Mapping[tuple[str, str], Case] = {
    ("POST", CAMPAIGNS): Case(
        SEND,
        lambda side: Ask("POST", CAMPAIGNS, json=content(side)),
        [
            Probe("domain", lambda value: _created(**{"from": f"a@{value}"}), 422),
            Probe("unproven", lambda value: _created(**{"from": f"a@{value}"}), 422),
            Probe("stream", lambda value: _created(stream=value), 422),
            Probe("pool", lambda value: _created(pool=value), 422),
            Probe(
                "template",
                lambda value: _created(template={"name": value}, text=None),
                422,
            ),
        ],
    ),
    ("GET", CAMPAIGNS): Case(READ, lambda side: get(CAMPAIGNS), is_read=True),
    ("GET", _ONE): _read("GET", ""),
    ("PATCH", _ONE): Case(SEND, *_of("PATCH", "", json={"priority": 3})),
    ("PUT", f"{_ONE}/recipients"): Case(
        SEND, *_of("PUT", "/recipients", headers=_TYPE, **_ROWS)
    ),
    ("GET", f"{_ONE}/recipients"): _read("GET", "/recipients"),
    ("GET", f"{_ONE}/rejects"): _read("GET", "/rejects"),
    ("GET", f"{_ONE}/chunks"): Case(SEND, *_of("GET", "/chunks"), is_read=True),
    ("GET", f"{_ONE}/chunks/{{key}}"): Case(
        SEND, *_of("GET", "/chunks/k1"), is_read=True
    ),
    ("HEAD", f"{_ONE}/chunks/{{key}}"): Case(
        SEND, *_of("HEAD", "/chunks/k1"), is_read=True
    ),
    # Refused by what they say: nothing is rendered here.
    ("POST", f"{_ONE}/preview"): Case(READ, *_of("POST", "/preview", json={"x": 1})),
    ("POST", f"{_ONE}/test"): Case(SEND, *_of("POST", "/test", json={"to": []})),
    ("POST", f"{TEMPLATES}/{{name}}/preview"): Case(
        READ,
        lambda side: Ask(
            "POST", f"{TEMPLATES}/{side['template']}/preview", json={"x": 1}
        ),
        [
            Probe(
                "template",
                lambda value: Ask(
                    "POST", f"{TEMPLATES}/{value}/preview", json={"x": 1}
                ),
            )
        ],
    ),
    ("POST", TEMPLATES): Case(
        SEND, lambda side: Ask("POST", TEMPLATES, json=template(side))
    ),
    ("GET", TEMPLATES): Case(READ, lambda side: get(TEMPLATES), is_read=True),
    ("GET", f"{TEMPLATES}/{{name}}"): Case(
        READ,
        lambda side: get(f"{TEMPLATES}/{side['template']}"),
        [Probe("template", lambda value: get(f"{TEMPLATES}/{value}"))],
        is_read=True,
    ),
    ("GET", f"{TEMPLATES}/{{name}}/{{version}}"): Case(
        READ,
        lambda side: get(f"{TEMPLATES}/{side['template']}/1"),
        [Probe("template", lambda value: get(f"{TEMPLATES}/{value}/1"))],
        is_read=True,
    ),
    ("GET", "/v1/messages/{id}/rendered"): Case(
        READ,
        lambda side: get(f"/v1/messages/{side['message']}/rendered"),
        [
            Probe(of, lambda value: get(f"/v1/messages/{value}/rendered"))
            for of in ("message", "final message")
        ],
        is_read=True,
    ),
    **{
        ("POST", f"{_ONE}/{move}"): Case(SEND, *_of("POST", f"/{move}"))
        for move in ("pause", "resume", "seal", "start", "cancel")
    },
}
