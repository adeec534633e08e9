"""A node with two tenants on it that use the same words, put together but not running.

Mail stays where it is put: nothing runs but the store, so two nodes that were asked the
same hold the same. All that is the rival's alone says ``rival``; what both call the same
(a stream, a recipient, an idempotency key) is where one could be taken for the other.
"""

import asyncio
import hashlib
import itertools
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from fakes.node_process import dkim_pem
from fakes.resolver import FakeResolver
from mailwright.accounts.directory import Scope
from mailwright.bounce.suppression import suppress
from mailwright.clock import ManualClock
from mailwright.config.loading import load_node
from mailwright.daemon.lifecycle import open_node
from mailwright.daemon.wiring import Node
from mailwright.ids import COUNTER_BITS, Kind, TenantId, format_public, parse_public
from mailwright.store.statements import unit

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
#: Both tenants write to these; the rival alone has suppressed the second.
SHARED, GONE = "both@shared.example", "gone@shared.example"
IDEMPOTENCY_KEY = "order-1"
#: Names of credentials and what they may.
SCOPES: Mapping[str, frozenset[Scope]] = {
    "sender": frozenset({Scope.SEND}),
    "controller": frozenset({Scope.CONTROL}),
    "reader": frozenset({Scope.READ}),
    "manager": frozenset({Scope.MANAGE}),
    "crm": frozenset({Scope.SEND, Scope.CONTROL, Scope.READ, Scope.MANAGE}),
}
_NODE = """\
name = "n1"
hostname = "mta.house.example"
state_dir = "state"
bootstrap = "setup.toml"

[[smtp]]
listen = "127.0.0.1:0"
tls = "none"

[http]
listen = "127.0.0.1:0"

[dns]
nameservers = ["127.0.0.1"]
port = 9
"""
_SETUP = """\
allowed_networks = ["127.0.0.0/8"]

[[tenant]]
name = "house"

[[source]]
name = "main"
ehlo_name = "mta.house.example"

[[pool]]
name = "main"
sources = { main = 1 }

[[stream]]
tenant = "house"
name = "news"
class = "bulk"
pool = "main"
"""
_TENANT = """
[[tenant]]
name = "{tenant}"

[[pool]]
name = "{tenant}-pool"
sources = {{ main = 1 }}

[[stream]]
tenant = "{tenant}"
name = "news"
class = "bulk"
pool = "main"

[[stream]]
tenant = "{tenant}"
name = "{tenant}-stream"
class = "transactional"
pool = "{tenant}-pool"

[[sending_domain]]
tenant = "{tenant}"
domain = "{tenant}.example"
return_path_domain = "returns.{tenant}.example"
selector = "s1"
key_file = "s1.pem"
proof = "operator"

[[sending_domain]]
tenant = "{tenant}"
domain = "unproven-{tenant}.example"
selector = "s1"
key_file = "s1.pem"
proof = "dns"
"""
_ROUTE = """
[[route]]
domain = "{domain}"
next_hop = "127.0.0.1:{port}"
tls = "none"
"""
_CREDENTIAL = """
[[credential]]
tenant = "{tenant}"
name = "{name}"
stream = "news"
scopes = {scopes}
sha256 = "{digest}"
"""


def key_of(name: str) -> str:
    """Return the API key of the credential ``name``."""
    return f"mw_{name}_" + hashlib.sha256(name.encode()).hexdigest()[:32]


def write_two_tenants(
    folder: Path, *, with_rival: bool = True, routes: Mapping[str, int] | None = None
) -> Path:
    """Write a node's files; return the first one.

    Mail to the domains of ``routes`` goes to these ports of this machine. The operator's
    credential has to be some tenant's: the rival's, if there is one.
    """
    (folder / "s1.pem").write_bytes(dkim_pem())
    text = _SETUP
    tenants = ("ours", "rival") if with_rival else ("ours",)
    for tenant in tenants:
        text += _TENANT.format(tenant=tenant)
        for name, scopes in [*SCOPES.items(), ("gone", frozenset({Scope.READ}))]:
            text += _credential(tenant, f"{tenant}-{name}", scopes)
    owner = "rival" if with_rival else "house"
    text += _credential(owner, f"{owner}-operator", frozenset({Scope.OPERATE}))
    for domain, port in (routes or {}).items():
        text += _ROUTE.format(domain=domain, port=port)
    (folder / "setup.toml").write_text(text)
    settings = folder / "node.toml"
    settings.write_text(_NODE)
    return settings


def _credential(tenant: str, name: str, scopes: frozenset[Scope]) -> str:
    digest = hashlib.sha256(key_of(name).encode()).hexdigest()
    listed = str(sorted(map(str, scopes))).replace("'", '"')
    return _CREDENTIAL.format(tenant=tenant, name=name, scopes=listed, digest=digest)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Side:
    """One tenant: its name, and the ids that things of its got."""

    tenant: str
    ids: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, kind: str) -> str:
        """Return the name or id of this tenant's ``kind``."""
        named = {
            "tenant": self.tenant,
            "credential": f"{self.tenant}-crm",
            "stream": f"{self.tenant}-stream",
            "pool": f"{self.tenant}-pool",
            "domain": f"{self.tenant}.example",
            "unproven": f"unproven-{self.tenant}.example",
            "return_path": f"returns.{self.tenant}.example",
            "held": f"held-{self.tenant}.example",
            "tag": f"{self.tenant}-tag",
            "customer": f"one@customer-of-{self.tenant}.example",
            "template": f"{self.tenant}-template",
            "key": key_of(f"{self.tenant}-crm"),
            "suppressed": f"left-{self.tenant}@shared.example",
        }
        return named.get(kind) or self.ids[kind]

    @property
    def traces(self) -> frozenset[str]:
        """What must not stand in an answer to another tenant, in lower case."""
        numbers = {
            str(public.number)
            for text in self.ids.values()
            for kind in Kind
            if (public := parse_public(text, kind)) is not None
        }
        return frozenset({self.tenant, *numbers, *(map(str.lower, self.ids.values()))})


#: The same for a tenant that never was; ids are of ours' node, but never given out.
NEVER = Side(
    "never",
    {
        "message": format_public(Kind.MESSAGE, START, (1 << COUNTER_BITS) + 900_001),
        "delivery": format_public(Kind.DELIVERY, START, (1 << COUNTER_BITS) + 900_002),
        "final message": format_public(
            Kind.MESSAGE, START, (1 << COUNTER_BITS) + 900_003
        ),
        "line": str((1 << COUNTER_BITS) + 900_004),
        "hold": str((1 << COUNTER_BITS) + 900_005),
        "webhook": format_public(Kind.WEBHOOK, START, (1 << COUNTER_BITS) + 900_006),
        "campaign": format_public(Kind.CAMPAIGN, START, (1 << COUNTER_BITS) + 900_007),
    },
)


@dataclass
class World:
    """The node and its tenants."""

    node: Node
    app: FastAPI
    ours: Side
    rival: Side
    operator: str
    #: The cursor after all that was there when the node was handed over.
    last: str = ""
    _peers: Any = field(default_factory=lambda: itertools.count(1))

    async def ask(self, ask: Ask, by: str | None, *, peer: str = "") -> httpx.Response:
        """Return the answer to ``ask`` with the key of the credential ``by``.

        Each request comes from an address of its own, so that no guess limit counts.
        """
        given = {} if by is None else {"Authorization": f"Bearer {key_of(by)}"}
        return await self.send(ask, {**given, **ask.headers}, peer=peer)

    async def send(
        self, ask: Ask, headers: Mapping[str, str], *, peer: str = ""
    ) -> httpx.Response:
        """Return the answer to ``ask`` with these header fields."""
        number = next(self._peers)
        address = peer or f"127.1.{number >> 8}.{number & 255}"
        transport = httpx.ASGITransport(
            self.app, client=(address, 40_000), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(
            transport=transport, base_url="http://node.test"
        ) as client:
            return await client.request(
                ask.method,
                ask.path,
                params=dict(ask.params),
                json=ask.json,
                content=ask.content,
                headers=dict(headers),
            )

    def state_of(self, side: Side) -> Mapping[str, Sequence[object]]:
        """Return all that the node keeps of a tenant, on disk and of its lines."""
        tenant = self.tenant_id(side)
        path = self.node.settings.state_dir / "mailwright.db"
        found: dict[str, Sequence[object]] = {}
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            tables = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            ).fetchall()
            for (table,) in tables:
                columns = database.execute(f"PRAGMA table_info({table})").fetchall()
                if "tenant" in {column[1] for column in columns}:
                    rows = database.execute(
                        f"SELECT * FROM {table} WHERE tenant = ?", (tenant,)
                    )
                    found[table] = sorted(rows.fetchall(), key=repr)
        found["lines in memory"] = [
            (line.id, line.count, line.is_held, line.next_due_at)
            for line in self.node.book
            if line.key.tenant == tenant
        ]
        return found

    def tenant_id(self, side: Side) -> TenantId:
        tenants = self.node.state.settings.directory().tenants.values()
        return next(each.id for each in tenants if each.name == side.tenant)


def message(side: Side, *recipients: str, **members: Any) -> dict[str, Any]:
    """Return a message of a tenant for ``POST /v1/messages``."""
    return {
        "from": f"{side.tenant} <news@{side['domain']}>",
        "bcc": [*recipients],
        "subject": f"news of {side.tenant}",
        "text": f"Dear customer of {side.tenant}\r\n",
        "tags": [f"{side.tenant}-tag"],
        "metadata": {"order": f"{side.tenant}-order"},
    } | members


@asynccontextmanager
async def two_tenants(folder: Path, *, with_rival: bool = True) -> AsyncIterator[World]:
    """Put a node together and give each tenant mail, holds, events and what is final."""
    settings = load_node(write_two_tenants(folder, with_rival=with_rival))
    ours, rival = Side("ours"), Side("rival")
    async with (
        asyncio.timeout(400),
        open_node(settings, ManualClock(START), resolver=FakeResolver()) as node,
    ):
        app = node.doors.api._server.config.app
        assert isinstance(app, FastAPI)
        operator = "rival-operator" if with_rival else "house-operator"
        world = World(node, app, ours, rival, operator)
        node.readiness.note("starting", "")
        try:
            await _fill(world, ours)
            if with_rival:
                await _fill(world, rival)
            await _hold_everyones(world)
            everything = Ask("GET", "/v1/events", {"limit": "1000"})
            world.last = (await world.ask(everything, "ours-crm")).json()["next"]
            yield world
        finally:
            for listener in node.doors.listeners:
                await listener.close(within_s=0)
            await node.doors.api.stop()
            await node.operating.stop()


async def _fill(world: World, side: Side) -> None:
    crm, store = f"{side.tenant}-crm", world.node.state.store
    gone = [side["suppressed"], *([GONE] if side is world.rival else [])]
    for address in gone:
        subject = world.node.state.settings.keys.subject_key.subject(address)
        reason, author = f"{side.tenant}-evidence", f"{side.tenant}-crm"
        tenant, at = world.tenant_id(side), START - timedelta(days=1)
        await store.run(
            unit(suppress(subject, tenant, reason=reason, author=author, at=at))
        )

    async def post(body: Mapping[str, Any], path: str, **headers: str) -> Any:
        ask = Ask("POST", path, json=body, headers=headers)
        answer = await world.ask(ask, crm)
        assert answer.is_success, answer.text
        return answer.json()

    domain = f"customer-of-{side.tenant}.example"
    waits = await post(
        message(side, f"one@{domain}", f"two@{domain}", SHARED),
        "/v1/messages",
        **{"Idempotency-Key": IDEMPOTENCY_KEY},
    )
    side.ids["message"] = waits["id"]
    side.ids["delivery"] = waits["recipients"][0]["delivery"]
    await post(message(side, GONE, f"x@{side['held']}"), "/v1/messages")
    over = await post(message(side, f"over@{domain}"), "/v1/messages")
    side.ids["final message"] = over["id"]
    final = over["recipients"][0]["delivery"]
    reason = f"{side.tenant} took it back"
    cancelled = await post(
        {"selection": {"id": final}, "reason": reason}, "/v1/queue/cancel"
    )
    assert cancelled["deliveries"] == 1
    held = await post(
        {"selection": {"domain": side["held"]}, "reason": f"{side.tenant} asks"},
        "/v1/queue/hold",
    )
    assert held["lines"] == 1
    side.ids["hold"] = held["hold"]
    found = await world.ask(
        Ask("GET", "/v1/queue/lines", {"domain": "shared.example"}), crm
    )
    side.ids["line"] = found.json()["lines"][0]["id"]
    # Nobody listens there; only what the node keeps of it is looked at.
    hook = {"url": f"http://127.0.0.1:9/{side.tenant}", "name": f"{side.tenant}-hook"}
    side.ids["webhook"] = (await post(hook, "/v1/webhooks"))["webhook"]["id"]
    said = {"subject": f"news of {side.tenant}", "text": f"of {side.tenant}"}
    await post({"name": side["template"], **said}, "/v1/templates")
    author = {"name": f"of {side.tenant}", "from": f"news@{side['domain']}"}
    made = await post({**author, **said}, "/v1/campaigns")
    side.ids["campaign"] = made["id"]
    rows = Ask(
        "PUT",
        f"/v1/campaigns/{made['id']}/recipients",
        {"key": "k1"},
        content=f'{{"email":"{side["customer"]}"}}\n'.encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert (await world.ask(rows, crm)).is_success
    page = (await world.ask(Ask("GET", "/v1/events", {"limit": "1"}), crm)).json()
    side.ids["event"] = page["events"][0]["id"]
    side.ids["cursor"] = page["next"]


async def _hold_everyones(world: World) -> None:
    """Let the operator stop mail of both, for a reason that speaks of the rival."""
    ask = Ask(
        "POST",
        "/v1/queue/hold",
        json={
            "selection": {"domain": "shared.example"},
            "reason": "rival sends too much",
        },
    )
    answer = await world.ask(ask, world.operator)
    assert answer.is_success, answer.text


#: Ids, cursors and Message-IDs count up over all tenants: their numbers say how much the
#: node does, not who does it; secrets are random. Where two nodes are compared they are
#: only told apart.
_COUNTED = re.compile(
    r"(?:msg|dlv|whk|cmp)_[0-9]{8}_[0-9a-z]{13}"
    r"|evt_[0-9]+_[0-9]+"
    r"|whsec_[A-Za-z0-9+/=]+"
    r"|sub_[0-9a-f]{32}"
    r'|(?<=")9[0-9]{15}(?=")'
    r'|(?<="next":")[A-Za-z0-9_-]{16,}(?=")'
    r"|[0-9a-f]{16}\.[0-9]+(?=[@;])"
    # A signature covers the Message-ID.
    r"|(?<= b=)[A-Za-z0-9+/=\r\n ]+?(?=\r\n[A-Z])"
)


def uncounted(texts: Sequence[str]) -> list[str]:
    """Return ``texts`` with each id written as the how-manieth different one it is."""
    seen: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        return seen.setdefault(found[0], f"#{len(seen) + 1}")

    return [_COUNTED.sub(name, text) for text in texts]
