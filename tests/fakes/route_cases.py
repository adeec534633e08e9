"""How each route of the API is tried by one tenant with what is another's."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fakes.campaign_cases import CAMPAIGN_ROUTES
from fakes.tenant_cases import READ, SEND, Case, Probe, get
from fakes.two_tenants import GONE, NEVER, SCOPES, Ask, Side, message
from mailwright.accounts.directory import Scope

OPERATE = frozenset({Scope.OPERATE})
MANAGE = frozenset({Scope.MANAGE, Scope.OPERATE})
#: What is a tenant's alone to manage.
TENANTS = frozenset({Scope.MANAGE})
#: Kinds of credentials of one tenant; the operator's beside them.
KINDS = tuple(SCOPES)
#: Parts of a selection that are names: there is no such one, or there is.
NAMES = ("tenant", "stream", "pool")
#: Parts that may be given for a list or an operation on what waits.
PARTS = (*NAMES, "line", "message", "delivery")


def selecting(name: str, **selection: str) -> Ask:
    body: dict[str, Any] = {"selection": selection}
    if name in {"hold", "cancel"}:
        body["reason"] = "try"
    if name == "move":
        body["to_pool"] = "main"
    return Ask("POST", f"/v1/queue/{name}", json=body)


def counting(ask: Ask) -> Ask:
    return replace(ask, json={**ask.json, "dry_run": True})


def selectors(name: str, *parts: str) -> list[Probe]:
    """Return a probe for each part of a selection; own mail is only counted."""

    def probe(of: str) -> Probe:
        part = of if of in {*NAMES, "line"} else "id"

        def ask(value: str) -> Ask:
            return selecting(name, **{part: value})

        status = 422 if of in NAMES else 200
        return Probe(of, ask, status, lambda value: counting(ask(value)))

    return [probe(of) for of in parts]


def filters(path: str, *parts: str) -> list[Probe]:
    """Return a probe for each parameter; 200 with nothing in it unless told."""

    def probe(of: str) -> Probe:
        part = of if of in {*NAMES, "line"} else "id"
        status = 422 if of in NAMES else 200
        return Probe(of, lambda value: get(path, **{part: value}), status)

    return [probe(of) for of in parts]


def composed(**members: str) -> Ask:
    return Ask("POST", "/v1/messages", json=message(Side("ours"), GONE, **members))


def raw(author: str = "a@ours.example", field: str = "") -> Ask:
    """Return a whole message with one more field."""
    content = f"From: {author}\r\nSubject: x\r\n{field}\r\nhello\r\n"
    return Ask(
        "POST",
        "/v1/messages",
        {"rcpt": GONE},
        content=content.encode(),
        headers={"Content-Type": "message/rfc822"},
    )


def controlled(name: str) -> Callable[[str], Ask]:
    return lambda value: raw(field=f"X-Mailwright-{name}: {value}\r\n")


WEBHOOKS = "/v1/webhooks"
SETTINGS, QUEUE = "/v1/settings", "/v1/queue"
SUPPRESSIONS, ASKED = "/v1/suppressions", "asked@shared.example"
ROUTES: Mapping[tuple[str, str], Case] = {
    **CAMPAIGN_ROUTES,
    ("POST", "/v1/messages"): Case(
        SEND,
        lambda side: Ask("POST", "/v1/messages", json=message(side, GONE)),
        [
            Probe("domain", lambda value: composed(**{"from": f"a@{value}"}), 422),
            Probe("unproven", lambda value: composed(**{"from": f"a@{value}"}), 422),
            Probe("stream", lambda value: composed(stream=value), 422),
            Probe("domain", lambda value: raw(f"a@{value}"), 422),
            Probe("stream", controlled("Stream"), 422),
            Probe("pool", controlled("Pool"), 422),
        ],
    ),
    ("GET", "/v1/messages/{id}"): Case(
        READ,
        lambda side: get(f"/v1/messages/{side['message']}"),
        [
            Probe(of, lambda value: get(f"/v1/messages/{value}"))
            for of in ("message", "final message")
        ],
        is_read=True,
    ),
    ("GET", "/v1/events"): Case(
        READ,
        lambda side: get("/v1/events"),
        [
            *(
                Probe(of, lambda value: get("/v1/events", message=value), 200)
                for of in ("message", "final message")
            ),
            Probe("tag", lambda value: get("/v1/events", tag=value), 200),
            Probe(
                "campaign",
                lambda value: get("/v1/events", campaign=value),
                200,
                # Nothing has happened in it: an own one is asked for by itself.
                prove=lambda value: get(f"/v1/campaigns/{value}"),
            ),
            Probe("customer", lambda value: get("/v1/events", recipient=value), 200),
        ],
        is_read=True,
    ),
    ("GET", WEBHOOKS): Case(TENANTS, lambda side: get(WEBHOOKS), is_read=True),
    ("POST", WEBHOOKS): Case(
        TENANTS,
        lambda side: Ask("POST", WEBHOOKS, json={"url": "ftp://hooks.example/"}),
        [
            Probe(
                "campaign",
                lambda value: Ask(
                    "POST",
                    WEBHOOKS,
                    json={"url": "https://hooks.example/", "campaign": value},
                ),
                422,
            )
        ],
    ),
    ("GET", f"{WEBHOOKS}/{{id}}"): Case(
        TENANTS,
        lambda side: get(f"{WEBHOOKS}/{side['webhook']}"),
        [Probe("webhook", lambda value: get(f"{WEBHOOKS}/{value}"))],
        is_read=True,
    ),
    ("PATCH", f"{WEBHOOKS}/{{id}}"): Case(
        TENANTS,
        lambda side: Ask("PATCH", f"{WEBHOOKS}/{side['webhook']}", json={}),
        [
            Probe(
                "webhook",
                lambda value: Ask(
                    "PATCH", f"{WEBHOOKS}/{value}", json={"name": "another"}
                ),
            )
        ],
    ),
    ("DELETE", f"{WEBHOOKS}/{{id}}"): Case(
        TENANTS,
        lambda side: Ask("DELETE", f"{WEBHOOKS}/{NEVER['webhook']}"),
        [
            Probe(
                "webhook",
                lambda value: Ask("DELETE", f"{WEBHOOKS}/{value}"),
                # Deleted, it could not be asked for by the next case.
                prove=lambda value: get(f"{WEBHOOKS}/{value}"),
            )
        ],
    ),
    **{
        ("POST", f"{WEBHOOKS}/{{id}}/{what}"): Case(
            TENANTS,
            lambda side, what=what, body=body: Ask(
                "POST", f"{WEBHOOKS}/{side['webhook']}/{what}", json=body
            ),
            [
                Probe(
                    "webhook",
                    lambda value, what=what, body=body: Ask(
                        "POST", f"{WEBHOOKS}/{value}/{what}", json=body
                    ),
                )
            ],
        )
        for what, body in {
            "pause": None,
            "resume": None,
            "replay": {"after": ""},
            "secret": {},
            "test": None,
        }.items()
    },
    ("GET", "/healthz"): Case(None, lambda side: get("/healthz"), is_read=True),
    ("GET", "/readyz"): Case(None, lambda side: get("/readyz"), is_read=True),
    ("GET", "/metrics"): Case(None, lambda side: get("/metrics")),
    ("GET", QUEUE): Case(
        MANAGE,
        lambda side: get(QUEUE, by="stream"),
        filters(QUEUE, *PARTS),
        is_read=True,
    ),
    ("GET", f"{QUEUE}/lines"): Case(
        MANAGE,
        lambda side: get(f"{QUEUE}/lines"),
        filters(f"{QUEUE}/lines", *PARTS),
        is_read=True,
    ),
    ("GET", f"{QUEUE}/deliveries"): Case(
        MANAGE,
        lambda side: get(f"{QUEUE}/deliveries", tenant=side.tenant),
        filters(f"{QUEUE}/deliveries", *PARTS),
        is_read=True,
    ),
    ("GET", "/v1/queue/{ident}"): Case(
        MANAGE,
        lambda side: get(f"/v1/queue/{side['message']}"),
        [
            Probe(of, lambda value: get(f"/v1/queue/{value}"))
            for of in ("message", "delivery")
        ],
        is_read=True,
    ),
    ("GET", "/v1/holds"): Case(MANAGE, lambda side: get("/v1/holds"), is_read=True),
    ("POST", "/v1/queue/hold"): Case(
        MANAGE,
        lambda side: counting(selecting("hold", domain=side["held"])),
        selectors("hold", *PARTS),
    ),
    ("POST", "/v1/queue/release"): Case(
        MANAGE,
        lambda side: counting(selecting("release", domain=side["held"])),
        [
            *selectors("release", *NAMES),
            Probe(
                "hold",
                lambda value: Ask("POST", "/v1/queue/release", json={"hold": value}),
                prove=lambda value: Ask(
                    "POST", "/v1/queue/release", json={"hold": value, "dry_run": True}
                ),
            ),
        ],
    ),
    ("POST", "/v1/queue/retry"): Case(
        MANAGE,
        lambda side: counting(selecting("retry", domain=side["held"])),
        selectors("retry", *PARTS),
    ),
    ("POST", "/v1/queue/cancel"): Case(
        MANAGE,
        lambda side: counting(selecting("cancel", domain=side["held"])),
        selectors("cancel", *PARTS),
    ),
    ("POST", "/v1/queue/move"): Case(
        OPERATE,
        lambda side: counting(selecting("move", domain=side["held"])),
        [
            Probe("line", lambda value: selecting("move", line=value), 403),
            Probe(
                "pool",
                lambda value: Ask(
                    "POST",
                    "/v1/queue/move",
                    json={"selection": {"tenant": "ours"}, "to_pool": value},
                ),
                403,
            ),
        ],
    ),
    ("GET", "/v1/lanes"): Case(OPERATE, lambda side: get("/v1/lanes"), is_read=True),
    ("GET", "/v1/explain"): Case(
        OPERATE,
        lambda side: get("/v1/explain", what=side["message"]),
        [
            Probe(of, lambda value: get("/v1/explain", what=value), 403)
            for of in ("message", "delivery", "held")
        ],
        is_read=True,
    ),
    ("GET", SETTINGS): Case(OPERATE, lambda side: get(SETTINGS), is_read=True),
    ("PUT", SETTINGS): Case(
        OPERATE,
        lambda side: Ask("PUT", SETTINGS, {"dry_run": "true"}, {"settings": {}}),
        [
            Probe(
                "tenant",
                lambda value: Ask(
                    "PUT", SETTINGS, json={"settings": {"tenant": [{"name": value}]}}
                ),
                403,
            )
        ],
    ),
    ("GET", f"{SETTINGS}/log"): Case(
        OPERATE, lambda side: get(f"{SETTINGS}/log"), is_read=True
    ),
    ("GET", f"{SETTINGS}/log/{{version}}"): Case(
        OPERATE, lambda side: get(f"{SETTINGS}/log/1"), is_read=True
    ),
    ("GET", "/v1/credentials"): Case(
        OPERATE, lambda side: get("/v1/credentials"), is_read=True
    ),
    ("POST", "/v1/credentials"): Case(
        OPERATE,
        lambda side: Ask("POST", "/v1/credentials", json={"name": "Not A Name"}),
        [
            Probe(
                "tenant",
                lambda value: Ask(
                    "POST",
                    "/v1/credentials",
                    json={"name": "mine", "tenant": value, "stream": "news"},
                ),
                403,
            ),
            Probe(
                "credential",
                lambda value: Ask("POST", "/v1/credentials", json={"name": value}),
                403,
            ),
        ],
    ),
    ("POST", "/v1/credentials/{name}/secret"): Case(
        OPERATE,
        lambda side: Ask("POST", "/v1/credentials/nobody/secret"),
        [
            Probe(
                "credential",
                lambda value: Ask("POST", f"/v1/credentials/{value}/secret"),
                403,
            )
        ],
    ),
    ("DELETE", "/v1/credentials/{name}"): Case(
        OPERATE,
        lambda side: Ask("DELETE", "/v1/credentials/nobody"),
        [
            Probe(
                "credential",
                lambda value: Ask("DELETE", f"/v1/credentials/{value}"),
                403,
            )
        ],
    ),
    ("POST", "/v1/sending-domains/check"): Case(
        OPERATE,
        lambda side: Ask(
            "POST", "/v1/sending-domains/check", {"domain": side["unproven"]}
        ),
        [
            Probe(
                of,
                lambda value: Ask(
                    "POST", "/v1/sending-domains/check", {"domain": value}
                ),
                403,
            )
            for of in ("domain", "unproven")
        ],
    ),
    **{
        ("POST", f"/v1/sending-domains/{{domain}}/keys/{{selector}}/{how}"): Case(
            OPERATE,
            lambda side, how=how: Ask(
                "POST", f"/v1/sending-domains/nobody.example/keys/s1/{how}", json={}
            ),
            [
                Probe(
                    "domain",
                    lambda value, how=how: Ask(
                        "POST", f"/v1/sending-domains/{value}/keys/s1/{how}", json={}
                    ),
                    403,
                )
            ],
        )
        for how in ("retire", "revoke")
    },
    ("POST", SUPPRESSIONS): Case(
        MANAGE,
        lambda side: Ask("POST", SUPPRESSIONS, json={"addresses": [ASKED]}),
        [
            Probe(
                of,
                lambda value, of=of: Ask(
                    "POST", SUPPRESSIONS, json={"addresses": [ASKED], of: value}
                ),
                422,
            )
            for of in ("tenant", "stream")
        ],
    ),
    ("GET", SUPPRESSIONS): Case(
        MANAGE,
        lambda side: get(SUPPRESSIONS),
        [
            Probe(of, lambda value, of=of: get(SUPPRESSIONS, **{of: value}), 422)
            for of in ("tenant", "stream")
        ],
        is_read=True,
    ),
    ("GET", f"{SUPPRESSIONS}/{{email}}"): Case(
        MANAGE,
        lambda side: get(f"{SUPPRESSIONS}/{GONE}"),
        [
            Probe("suppressed", lambda value: get(f"{SUPPRESSIONS}/{value}"), 200),
            Probe(
                "tenant", lambda value: get(f"{SUPPRESSIONS}/{GONE}", tenant=value), 422
            ),
        ],
        is_read=True,
    ),
    ("DELETE", f"{SUPPRESSIONS}/{{email}}"): Case(
        MANAGE,
        lambda side: Ask("DELETE", f"{SUPPRESSIONS}/{ASKED}"),
        [
            Probe(
                "suppressed",
                lambda value: Ask("DELETE", f"{SUPPRESSIONS}/{value}"),
                200,
            ),
            *(
                Probe(
                    of,
                    lambda value, of=of: Ask(
                        "DELETE", f"{SUPPRESSIONS}/{ASKED}", {of: value}
                    ),
                    422,
                )
                for of in ("tenant", "stream")
            ),
        ],
    ),
    ("GET", "/v1/clock"): Case(OPERATE, lambda side: get("/v1/clock"), is_read=True),
    ("POST", "/v1/clock/settle"): Case(
        OPERATE, lambda side: Ask("POST", "/v1/clock/settle", json={"reason": "x"})
    ),
    ("GET", "/v1/stop-all"): Case(
        OPERATE, lambda side: get("/v1/stop-all"), is_read=True
    ),
    ("POST", "/v1/stop-all"): Case(
        OPERATE, lambda side: Ask("POST", "/v1/stop-all", json={"reason": "x"})
    ),
    ("POST", "/v1/release-all"): Case(
        OPERATE, lambda side: Ask("POST", "/v1/release-all")
    ),
}
#: Routes that are not in the document: the document itself and its page.
UNLISTED = {"/openapi.json", "/docs", "/docs/docs.css", "/docs/docs.js"}
