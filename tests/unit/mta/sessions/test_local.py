"""Sessions that are led here, on the loop of production."""

import asyncio
import gc
import ssl
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fakes.scripted_receiver import Behaviour, ScriptedReceiver
from fakes.session_rig import Keys, call_to, opened, parcel
from mailwright.accounts.signing_keys import DkimSecret
from mailwright.attempt import Attempt
from mailwright.clock import SystemClock
from mailwright.mta.connection import Connection
from mailwright.mta.preparing import Preparer
from mailwright.mta.renderers import Renderers
from mailwright.mta.sessions.local import LocalSessions
from mailwright.mta.sessions.threads import ThreadWorkers
from mailwright.mta.smtp.greeting import Greeting
from mailwright.mta.tls import load_contexts
from mailwright.site import TlsDemand

PATIENCE_S = 120


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


async def led(tls: TlsDemand) -> list["weakref.ref[Any]"]:
    """Send a message over a session; return what the session was made of."""
    key = Ed25519PrivateKey.generate()
    keys = Keys(DkimSecret("ed25519-sha256", "example.com", "s1", key))
    attempts: list[Attempt] = []
    workers = ThreadWorkers(Preparer(keys, Renderers(0)), 1)
    sessions = LocalSessions(workers, load_contexts(), SystemClock(), workers.stop)
    async with (
        asyncio.timeout(PATIENCE_S),
        ScriptedReceiver(Behaviour(tls=server_tls())) as receiver,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(sessions.run())
        session: Any = await opened(sessions, call_to(receiver.port, tls=tls), attempts)
        parts = [session, session.connection]
        if tls is not TlsDemand.NONE:
            parts.append(session.connection._transport.get_extra_info("ssl_object"))
        references = [weakref.ref(part) for part in parts]
        session.offer([parcel(1)])
        await session.wait_until(lambda: not session.in_hand)
        session.quit()
        await session.wait_until(lambda: False)
        await session.end()
        await session.give_up("it is over")
        assert [each.reply.code for each in attempts] == [250]
        sessions.stop()
    return references


@pytest.mark.usefixtures("no_garbage_collector")
@pytest.mark.parametrize("tls", [TlsDemand.NONE, TlsDemand.OPPORTUNISTIC])
def test_a_session_that_is_over_needs_no_look_for_garbage(tls: TlsDemand) -> None:
    assert not any(part() for part in uvloop.run(led(tls)))
    assert not [each for each in gc.get_objects() if isinstance(each, Greeting)]


@pytest.mark.usefixtures("no_garbage_collector")
def test_one_that_holds_who_is_told_of_ends_stays_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Connection, "release", lambda _: None)
    assert all(part() for part in uvloop.run(led(TlsDemand.OPPORTUNISTIC)))
