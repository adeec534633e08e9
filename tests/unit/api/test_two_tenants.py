"""Two tenants never meet over HTTP: each route, tried with the other's names and ids.

The routes are those of the document that the node itself gives out, so one that comes
without a case here fails. What is asked of the other tenant must read like what is asked
of nobody, take the same statements with as many rows, and change nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from fastapi import APIRouter
from sqlalchemy import bindparam, select

from fakes.planted_leaks import any_domain, any_pool, known_unproven
from fakes.route_cases import KINDS, OPERATE, ROUTES, UNLISTED, Case, get, raw
from fakes.two_tenants import (
    GONE,
    IDEMPOTENCY_KEY,
    NEVER,
    SCOPES,
    Ask,
    Side,
    World,
    key_of,
    message,
    two_tenants,
    uncounted,
)
from mailwright.api.app import create_operator_app
from mailwright.api.problems import Kind, ProblemError
from mailwright.api.queue_view import Asking
from mailwright.bounce.suppressing import Suppressions
from mailwright.daemon.reading import NodeReading
from mailwright.events.following import Filter
from mailwright.queue.holds import Hold
from mailwright.queue.reading import OPEN_DELIVERIES
from mailwright.queue.statements import CLAIMED
from mailwright.queue.tables import deliveries
from mailwright.store.statements import Query

pytestmark = pytest.mark.slow


def drive(
    folder: Path, test: Callable[[World], Awaitable[None]], *, with_rival: bool = True
) -> None:
    async def run() -> None:
        async with two_tenants(folder, with_rival=with_rival) as world:
            await test(world)

    asyncio.run(run())


# --- what is looked for; each function returns what it found wrong -------------------


Cases: TypeAlias = Mapping[tuple[str, str], Case]


async def uncovered(world: World, cases: Cases = ROUTES) -> list[str]:
    """Return routes without a case, cases without a route, and what is not listed."""
    document = await world.ask(get("/openapi.json"), None)
    listed = {
        (method.upper(), path)
        for path, methods in document.json()["paths"].items()
        for method in methods
    }
    unlisted = {
        route.path
        for route in _routes(world.app.routes)
        if not _is_listed(route, listed)
    }
    return [
        *(f"{method} {path} has no case" for method, path in listed - cases.keys()),
        *(f"{method} {path} is no route" for method, path in cases.keys() - listed),
        *(f"{path} is not in the document" for path in unlisted ^ UNLISTED),
    ]


def _routes(routes: Iterable[Any]) -> Iterable[Any]:
    for route in routes:
        router = getattr(route, "original_router", None)
        if isinstance(router, APIRouter):
            yield from _routes(router.routes)
        else:
            yield route


def _is_listed(route: Any, listed: set[tuple[str, str]]) -> bool:
    return bool(route.methods) and all(
        (method, route.path_format) in listed for method in route.methods
    )


def traces(world: World, answer: httpx.Response, *echoed: str) -> list[str]:
    """Return what of the rival stands in an answer to another."""
    text = f"{answer.text} {dict(answer.headers)}".lower()
    for each in echoed:
        text = text.replace(each.lower(), "(echo)")
    return [
        f"{answer.request.method} {answer.request.url.path} says {trace}"
        for trace in world.rival.traces
        if trace in text
    ]


class Watch:
    """Notes which statements run, and how many rows each reads."""

    def __init__(self, world: World) -> None:
        self.seen: list[tuple[str, int]] = []
        store = world.node.state.store
        read = store.read

        async def watched(*bounds: Any) -> Any:
            found = await read(*bounds)
            self.seen += [
                (bound.query.name, len(rows))
                for bound, rows in zip(bounds, found, strict=True)
            ]
            return found

        store.read = watched  # type: ignore[method-assign]

    def taken(self) -> list[tuple[str, int]]:
        seen, self.seen = self.seen, []
        return seen


async def tell_tales(world: World, cases: Cases = ROUTES) -> list[str]:
    """Try each probe; return where the other's thing is told from nothing."""
    found: list[str] = []
    watch = Watch(world)
    before = world.state_of(world.rival)
    for (method, path), case in cases.items():
        for probe in case.probes:
            name = f"{method} {path} by {probe.of}"
            foreign, empty = world.rival[probe.of], NEVER[probe.of]
            watch.taken()
            theirs = await world.ask(probe.ask(foreign), "ours-crm")
            with_theirs = watch.taken()
            none = await world.ask(probe.ask(empty), "ours-crm")
            with_none = watch.taken()
            own = await world.ask(
                (probe.prove or probe.ask)(world.ours[probe.of]), "ours-crm"
            )
            if theirs.status_code != probe.nothing:
                found.append(f"{name}: {theirs.status_code} {theirs.text}")
            if _told(theirs, foreign) != _told(none, empty):
                found.append(f"{name}: {theirs.text} is not {none.text}")
            if with_theirs != with_none:
                found.append(f"{name}: {with_theirs} is not {with_none}")
            if probe.nothing != 403 and _told(own, world.ours[probe.of]) == _told(
                none, empty
            ):
                found.append(f"{name}: an own one is not answered otherwise")
            found += traces(world, theirs, foreign)
    after = world.state_of(world.rival)
    found += [
        f"{table} of the rival changed"
        for table in before
        if before[table] != after[table]
    ]
    return found


def _told(answer: httpx.Response, asked: str) -> tuple[int, str, dict[str, str]]:
    """Return an answer without what the asker had written itself."""
    headers = {
        name: value.replace(asked, "(echo)")
        for name, value in answer.headers.items()
        if name != "content-length"
    }
    text = answer.text.replace(asked, "(echo)")
    (text,) = uncounted([text])
    return answer.status_code, text, headers


async def overheard(world: World, cases: Cases = ROUTES) -> list[str]:
    """Ask each route that only reads, with each kind; return what is of the rival."""
    await world.ask(
        Ask("POST", "/v1/stop-all", json={"reason": "rival floods"}), world.operator
    )
    found = []
    for case in cases.values():
        for kind in (*KINDS, None):
            if case.is_read:
                by = None if kind is None else f"ours-{kind}"
                found += traces(world, await world.ask(case.plain(world.ours), by))
    for path in UNLISTED:
        found += traces(world, await world.ask(get(path), None))
    for cursor in world.rival.ids["cursor"], "":
        asked = get("/v1/events", after=cursor)
        found += traces(world, await world.ask(asked, "ours-reader"), cursor)
    after = str(int(world.rival["line"]) - 1)
    for asked in get("/v1/queue/lines", after=after), get("/v1/queue/lines", limit="1"):
        found += traces(world, await world.ask(asked, "ours-manager"), after)
    return found


async def opened(world: World) -> list[str]:
    """Ask each route with each kind of key; return where the wrong ones get in."""
    found = []
    for (method, path), case in ROUTES.items():
        for kind, scopes in [*SCOPES.items(), ("operator", OPERATE)]:
            by = world.operator if kind == "operator" else f"ours-{kind}"
            answer = await world.ask(case.plain(world.ours), by)
            may = case.opens is None or not case.opens.isdisjoint(scopes)
            is_in = answer.status_code not in {401, 403} and answer.status_code < 500
            if is_in is not may:
                found.append(f"{method} {path} with {kind}: {answer.status_code}")
        refusals = []
        for key in _wrong_keys():
            answer = await world.send(case.plain(world.ours), key)
            if case.opens is not None and answer.status_code != 401:
                found.append(f"{method} {path} with {key}: {answer.status_code}")
            refusals.append((answer.text, answer.headers.get("www-authenticate")))
        if case.opens is not None and len(set(refusals[1:])) != 1:
            found.append(f"{method} {path} tells wrong keys apart: {refusals}")
    return found


def _wrong_keys() -> list[dict[str, str]]:
    keys = ("mw_rival-crm_" + "a" * 32, "mw_never-crm_" + "a" * 32, key_of("ours-gone"))
    return [{}, *({"Authorization": f"Bearer {key}"} for key in keys)]


# --- tests ---------------------------------------------------------------------------


def test_every_route_has_a_case_and_every_case_a_route(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await uncovered(world) == []

    drive(tmp_path, test)


def test_each_route_lets_in_whom_its_scopes_name_and_nobody_else(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        revoke = Ask("DELETE", "/v1/credentials/ours-gone")
        assert (await world.ask(get("/v1/events"), "ours-gone")).status_code == 200
        assert (await world.ask(revoke, world.operator)).status_code == 204
        assert await opened(world) == []

    drive(tmp_path, test)


def test_what_is_anothers_is_the_same_as_nothing(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await tell_tales(world) == []

    drive(tmp_path, test)


def test_no_answer_speaks_of_the_other_tenant(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        assert await overheard(world) == []

    drive(tmp_path, test)


async def answers(world: World) -> list[str]:
    """Ask everything that a tenant may, with the rival's names; return the answers."""
    told = []
    asked = [case.plain for case in ROUTES.values() if case.opens is not OPERATE]
    for plain in asked:
        ask = plain(world.ours)
        if ask.path != "/metrics":
            told.append(await world.ask(ask, "ours-crm"))
    named = [
        probe.ask(Side("rival")[probe.of])
        for case in ROUTES.values()
        for probe in case.probes
        if probe.of in {"tenant", "stream", "pool", "domain", "unproven", "held"}
    ]
    told += [await world.ask(ask, "ours-crm") for ask in named]
    told += [
        await world.ask(get("/v1/events"), "ours-crm"),
        await world.ask(get("/v1/queue/lines"), "ours-crm"),
        await world.ask(get(f"/v1/messages/{world.ours['message']}"), "ours-crm"),
    ]
    return uncounted(
        [f"{each.request.url.path} {each.status_code} {each.text}" for each in told]
    )


def test_a_tenant_is_answered_as_if_there_were_no_other(tmp_path: Path) -> None:
    found: list[list[str]] = []

    async def test(world: World) -> None:
        found.append(await answers(world))

    for name, with_rival in (("both", True), ("alone", False)):
        (tmp_path / name).mkdir()
        drive(tmp_path / name, test, with_rival=with_rival)
    both, alone = found
    assert both == alone


def test_an_idempotency_key_is_the_tenants_own(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        domain = "customer-of-rival.example"
        body = message(
            world.rival, f"one@{domain}", f"two@{domain}", "both@shared.example"
        )
        headers = {"Idempotency-Key": IDEMPOTENCY_KEY}
        ask = Ask("POST", "/v1/messages", json=body, headers=headers)
        again = await world.ask(ask, "rival-crm")
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.json()["id"] == world.rival["message"]

        # The same key with the same octets, by another: nothing was answered to it yet.
        unused = replace(ask, headers={"Idempotency-Key": "rival-only"})
        assert (await world.ask(unused, "rival-crm")).status_code == 201
        stolen = await world.ask(unused, "ours-crm")
        fresh = await world.ask(
            replace(ask, headers={"Idempotency-Key": "never-used"}), "ours-crm"
        )
        assert (stolen.status_code, stolen.text) == (fresh.status_code, fresh.text)
        assert stolen.status_code == 422
        assert "message-refused" in stolen.text

        # Both at once with one key: neither is in the other's way.
        def mine(side: Side) -> Ask:
            body = message(side, GONE)
            return Ask(
                "POST", "/v1/messages", json=body, headers={"Idempotency-Key": "k"}
            )

        async with asyncio.TaskGroup() as tasks:
            both = [
                tasks.create_task(world.ask(mine(side), f"{side.tenant}-crm"))
                for side in (world.ours, world.rival)
            ]
        assert [each.result().status_code for each in both] == [201, 201]
        assert both[0].result().json()["id"] != both[1].result().json()["id"]

    drive(tmp_path, test)


def test_a_suppression_is_the_tenants_own(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        for side, state in ((world.ours, "queued"), (world.rival, "suppressed")):
            ask = Ask("POST", "/v1/messages", json=message(side, GONE))
            sent = (await world.ask(ask, f"{side.tenant}-crm")).json()
            assert [each["state"] for each in sent["recipients"]] == [state]

    drive(tmp_path, test)


def test_a_reverse_path_may_not_be_in_anothers_domain(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        statuses = []
        for side in (world.ours, world.rival, NEVER):
            for of in ("domain", "return_path"):
                ask = raw()
                ask = replace(ask, params={**ask.params, "mail_from": f"x@{side[of]}"})
                answer = await world.ask(ask, "ours-crm")
                statuses.append(answer.status_code)
                assert traces(world, answer, side[of]) == []
        assert statuses == [201, 201, 422, 422, 201, 201]

    drive(tmp_path, test)


def test_metrics_name_no_tenant_and_are_for_the_operators_networks(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        told = await world.ask(get("/metrics"), None)
        assert told.status_code == 200
        assert "mailwright_events_total{" in told.text
        assert traces(world, told) == []
        assert "ours-" not in told.text
        assert "ours.example" not in told.text
        far = await world.ask(get("/metrics"), "ours-crm", peer="192.0.2.7")
        proxied = replace(get("/metrics"), headers={"X-Forwarded-For": "127.0.0.1"})
        for refused in (far, await world.ask(proxied, "ours-crm")):
            assert refused.status_code == 403
            assert "mailwright_" not in refused.text

    drive(tmp_path, test)


def test_the_operators_socket_lets_no_address_in(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        app = create_operator_app(world.node.operating.offices.ports)
        asked = 0
        for path, methods in app.openapi()["paths"].items():
            for method in methods:
                case = ROUTES[method.upper(), path]
                ask = case.plain(world.ours)
                answer = await replace(world, app=app).ask(ask, world.operator)
                assert answer.status_code == 403, (method, path)
                assert traces(world, answer) == []
                asked += 1
        assert asked >= 20

    drive(tmp_path, test)


# --- controls: each of these leaks is planted, and must be found ----------------------

Patch = pytest.MonkeyPatch


def _of_anyone(patch: Patch) -> None:
    """Show a message to whoever knows its id."""
    shown = NodeReading.message

    async def message(self: NodeReading, tenant: Any, ident: Any) -> Any:
        for each in self._directory().tenants:
            found = await shown(self, each, ident)
            if found is not None:
                return found
        return None

    patch.setattr(NodeReading, "message", message)


def _read_before_refused(patch: Patch) -> None:
    shown = NodeReading.message

    async def message(self: NodeReading, tenant: Any, ident: Any) -> Any:
        await self._store.read(OPEN_DELIVERIES(message_id=ident.number))
        return await shown(self, tenant, ident)

    patch.setattr(NodeReading, "message", message)


def _refused_otherwise(patch: Patch) -> None:
    """Say of another's message that it may not be seen."""
    shown = NodeReading.message

    async def message(self: NodeReading, tenant: Any, ident: Any) -> Any:
        for each in self._directory().tenants:
            found = await shown(self, each, ident)
            if found is not None and each != tenant:
                raise ProblemError(Kind.FORBIDDEN)
        return await shown(self, tenant, ident)

    patch.setattr(NodeReading, "message", message)


def _everyones_events(patch: Patch) -> None:
    def anyones(tenant: Any, *more: Any) -> Filter:
        return Filter(None, *more)

    patch.setattr("mailwright.daemon.event_reading.Filter", anyones)


def _as_operator(patch: Patch) -> None:
    def operator(author: str, _tenant: Any = None) -> Asking:
        return Asking(author)

    patch.setattr("mailwright.api.operations.Asking", operator)


def _read_and_left_out(patch: Patch) -> None:
    """Read another's deliveries and drop them."""
    columns = (deliveries.c.line, deliveries.c.state, deliveries.c.due_at)
    query = Query(
        "unsettled of message",
        select(*CLAIMED, *columns).where(
            deliveries.c.message == bindparam("message_id")
        ),
    )
    patch.setattr("mailwright.queue.choosing.UNSETTLED_OF_MESSAGE", query)


def _said_by_whom(patch: Patch) -> None:
    patch.setattr(Hold, "for_tenant", lambda self, _tenant: self)


def _everyones_suppressions(patch: Patch) -> None:
    kept = Suppressions.of

    async def of(self: Suppressions, address: Any, _tenant: Any) -> Any:
        return await kept(self, address, None)

    patch.setattr(Suppressions, "of", of)


def _ends_anyones_suppression(patch: Patch) -> None:
    kept = Suppressions.remove

    async def remove(self: Suppressions, address: Any, scope: Any, **more: Any) -> Any:
        found = None
        for each in await self.of(address, None):
            found = await kept(self, address, each.scope, **more) or found
        return found

    patch.setattr(Suppressions, "remove", remove)


MESSAGE, EVENTS = "/v1/messages/{id}", "/v1/events"
CHECK = "/v1/suppressions/{email}"
SUBMIT, QUEUE = "/v1/messages", "/v1/queue"
Check: TypeAlias = Callable[[World, Cases], Awaitable[list[str]]]


@pytest.mark.parametrize(
    ("leak", "check", "at", "found"),
    [
        (_of_anyone, tell_tales, MESSAGE, f"GET {MESSAGE}"),
        (_read_before_refused, tell_tales, MESSAGE, "open deliveries"),
        (_refused_otherwise, tell_tales, MESSAGE, f"GET {MESSAGE}"),
        (_everyones_events, overheard, EVENTS, f"GET {EVENTS}"),
        (_everyones_events, tell_tales, EVENTS, f"GET {EVENTS}"),
        (_as_operator, overheard, QUEUE, f"GET {QUEUE}"),
        (_as_operator, tell_tales, f"{QUEUE}/cancel", "deliveries of the rival"),
        (_as_operator, tell_tales, f"{QUEUE}/release", "holds of the rival changed"),
        (_read_and_left_out, tell_tales, f"{QUEUE}/{{ident}}", "unsettled of message"),
        (any_pool, tell_tales, SUBMIT, f"POST {SUBMIT} by pool"),
        (any_domain, tell_tales, SUBMIT, f"POST {SUBMIT} by domain"),
        (known_unproven, tell_tales, SUBMIT, f"POST {SUBMIT} by unproven"),
        (_everyones_suppressions, tell_tales, CHECK, f"GET {CHECK} by suppressed"),
        (_ends_anyones_suppression, tell_tales, CHECK, "suppressions of the rival"),
        (_said_by_whom, overheard, f"{QUEUE}/lines", f"GET {QUEUE}/lines"),
        (_said_by_whom, overheard, MESSAGE, f"GET {SUBMIT}/msg_"),
    ],
)
def test_a_planted_leak_is_found(
    tmp_path: Path,
    leak: Callable[[Patch], None],
    check: Check,
    at: str,
    found: str,
) -> None:
    async def test(world: World) -> None:
        cases = {route: case for route, case in ROUTES.items() if route[1] == at}
        with pytest.MonkeyPatch.context() as patch:
            leak(patch)
            complaints = await check(world, cases)
        assert any(found in each for each in complaints), complaints

    drive(tmp_path, test)


def test_a_route_that_has_no_case_is_found(tmp_path: Path) -> None:
    async def answer() -> str:
        return "new"

    async def test(world: World) -> None:
        listed, hidden = APIRouter(), APIRouter(include_in_schema=False)
        listed.add_api_route("/v1/new", answer)
        hidden.add_api_route("/v1/hidden", answer)
        world.app.include_router(listed)
        world.app.include_router(hidden)
        assert set(await uncovered(world)) == {
            "GET /v1/new has no case",
            "/v1/hidden is not in the document",
        }
        gone = ("GET", "/v1/gone")
        cases = {**ROUTES, gone: ROUTES["GET", "/healthz"]}
        assert "GET /v1/gone is no route" in await uncovered(world, cases)

    drive(tmp_path, test)


def test_a_suppression_that_stops_everyone_is_found(tmp_path: Path) -> None:
    from sqlalchemy import ColumnElement, true

    from mailwright.bounce import suppression

    kept = suppression.is_suppressed
    found: list[list[str]] = []

    async def test(world: World) -> None:
        found.append(await answers(world))

    def anyones(
        subject: ColumnElement[bytes], tenant: Any, stream: Any, now: Any
    ) -> ColumnElement[bool]:
        row = suppression.suppressions.c
        return kept(subject, row.tenant, stream, now) & true()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suppression, "is_suppressed", anyones)
        for name, with_rival in (("both", True), ("alone", False)):
            (tmp_path / name).mkdir()
            drive(tmp_path / name, test, with_rival=with_rival)
    assert found[0] != found[1]
