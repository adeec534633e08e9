"""Sessions that are led here, on the loop of production."""

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import override

from fakes.scripted_receiver import Behaviour, ScriptedReceiver
from fakes.session_rig import Keys, call_to, opened, parcel
from mailwright.accounts.signing_keys import DkimSecret
from mailwright.attempt import Attempt
from mailwright.clock import SystemClock
from mailwright.mta.connection import Connection
from mailwright.mta.preparing import Preparer
from mailwright.mta.renderers import Renderers
from mailwright.mta.sessions.host import Host, OrderKeys
from mailwright.mta.sessions.local import LocalSession, LocalSessions
from mailwright.mta.sessions.remote import SessionProcess
from mailwright.mta.sessions.session import Call, OnAttempt, TlsFailed
from mailwright.mta.sessions.threads import ThreadWorkers
from mailwright.mta.smtp.greeting import Greeting
from mailwright.mta.tls import load_contexts
from mailwright.reply import Reply
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


class Noting(LocalSessions):
    """Knows what its sessions are made of, and keeps none of it alive."""

    def __init__(self, keys: Any) -> None:
        workers = ThreadWorkers(Preparer(keys, Renderers(0)), 1)
        super().__init__(workers, load_contexts(), SystemClock(), workers.stop)
        self.parts: list[weakref.ref[Any]] = []

    @override
    async def open(
        self, call: Call, on_attempt: OnAttempt
    ) -> LocalSession | Reply | TlsFailed:
        session = await super().open(call, on_attempt)
        assert isinstance(session, LocalSession)
        parts: list[Any] = [session, session.connection]
        if session.tls:
            transport: Any = session.connection._transport
            parts.append(transport.get_extra_info("ssl_object"))
        self.parts += map(weakref.ref, parts)
        return session


def signing_keys() -> Keys:
    key = Ed25519PrivateKey.generate()
    return Keys(DkimSecret("ed25519-sha256", "example.com", "s1", key))


async def send_one(sessions: Any, call: Call) -> None:
    attempts: list[Attempt] = []
    session: Any = await opened(sessions, call, attempts)
    session.offer([parcel(1)])
    await session.wait_until(lambda: not session.in_hand)
    session.quit()
    await session.wait_until(lambda: False)
    await session.end()
    await session.give_up("it is over")
    assert [each.reply.code for each in attempts] == [250]


async def in_the_node(tls: TlsDemand) -> list["weakref.ref[Any]"]:
    """Lead a session; return what it was made of."""
    sessions = Noting(signing_keys())
    async with (
        asyncio.timeout(PATIENCE_S),
        ScriptedReceiver(Behaviour(tls=server_tls())) as receiver,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(sessions.run())
        await send_one(sessions, call_to(receiver.port, tls=tls))
        sessions.stop()
    return sessions.parts


async def for_a_node(tls: TlsDemand) -> list["weakref.ref[Any]"]:
    """Lead one for the node at the other end of a socket."""
    order_keys = OrderKeys()
    sessions = Noting(order_keys)
    loop, (ours, its) = asyncio.get_running_loop(), socket.socketpair()
    async with (
        asyncio.timeout(PATIENCE_S),
        ScriptedReceiver(Behaviour(tls=server_tls())) as receiver,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(sessions.run())
        host, process = (
            Host(sessions, order_keys, tasks),
            SessionProcess(signing_keys()),
        )
        await loop.create_unix_connection(lambda: host, sock=its)
        await loop.create_unix_connection(lambda: process, sock=ours)
        await send_one(process, call_to(receiver.port, tls=tls))
        process.close()
        await host.lost
        sessions.stop()
    return sessions.parts


@pytest.mark.usefixtures("no_garbage_collector")
@pytest.mark.parametrize("tls", [TlsDemand.NONE, TlsDemand.OPPORTUNISTIC])
@pytest.mark.parametrize("led", [in_the_node, for_a_node])
def test_a_session_that_is_over_needs_no_look_for_garbage(
    led: Callable[[TlsDemand], Any], tls: TlsDemand
) -> None:
    parts = uvloop.run(led(tls))
    assert len(parts) == (2 if tls is TlsDemand.NONE else 3)
    assert not any(part() for part in parts)
    assert not [each for each in gc.get_objects() if isinstance(each, Greeting)]


@pytest.mark.usefixtures("no_garbage_collector")
@pytest.mark.parametrize("led", [in_the_node, for_a_node])
def test_one_whose_connection_holds_who_is_told_of_ends_stays_in_memory(
    led: Callable[[TlsDemand], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "release", lambda _: None)
    assert all(part() for part in uvloop.run(led(TlsDemand.OPPORTUNISTIC)))
