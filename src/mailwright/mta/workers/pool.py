"""Preparing in processes of their own: starts them, feeds them, replaces the dead.

One socket each. What is handed over in one turn of the loop leaves in one write. A
process that dies takes no mail with it: what it had is refused for now, rests as if it
could not be signed, and another process takes its place.

Large messages stay in the node and are prepared in threads: on their way to a process and
back they would be there five times.
"""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, Protocol, cast

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from typing_extensions import override

from mailwright.accounts.signing_keys import DkimSecret, SigningKeys
from mailwright.attempt import End, Parcel
from mailwright.clock import to_micros
from mailwright.ids import SendingDomainId
from mailwright.mta.workers.ready import Outcome, Refused, Workers
from mailwright.mta.workers.wire import (
    Batch,
    Frames,
    KeyOctets,
    Order,
    pack_batch,
    parse_outcomes,
)
from mailwright.reply import Phase, local_reply

logger = logging.getLogger(__name__)

#: A batch of large messages fits; beyond it the loop waits, not the kernel.
_SOCKET_OCTETS: Final = 1 << 20
#: Messages above this are prepared in the node.
LARGE_OCTETS: Final = 262_144
#: Keys that a process is to remember before it starts anew.
KEYS_MAX: Final = 2_000
#: Likewise octets of campaigns' contents.
CONTENT_OCTETS_MAX: Final = 64_000_000
#: How soon a process that died is replaced; one that dies young, later and later.
RESTART_S: Final = 0.1
RESTART_MAX_S: Final = 30.0
#: One that lived for so long was well.
WELL_S: Final = 60.0
#: For a process to end once its socket is closed.
_END_S: Final = 5.0
_DIED: Final = local_reply(
    451, "4.3.0", "not signed, not sent: the process that signs ended", Phase.DATA
)
_ABSENT: Final = local_reply(
    451, "4.3.0", "not signed, not sent: no process that signs runs", Phase.DATA
)


class Keys(Protocol):
    """The key ring, as far as signing goes."""

    def keys_for(
        self, sending_domain: SendingDomainId, selector: str, accepted_at: datetime
    ) -> SigningKeys | str:
        """Return what signs, the aligned key first, or why the mail must wait."""
        ...


class _Known:
    """What a process has been given; numbers its keys."""

    def __init__(self) -> None:
        # By identity: a replaced key has the same names. The key itself is held, or
        # another could come to have its identity.
        self._keys: dict[int, tuple[int, DkimSecret]] = {}
        self._contents: set[int] = set()
        self._octets = 0

    @property
    def is_full(self) -> bool:
        return len(self._keys) > KEYS_MAX or self._octets > CONTENT_OCTETS_MAX

    def forget(self) -> None:
        self._keys.clear()
        self._contents.clear()
        self._octets = 0

    def number(self, key: DkimSecret, new: list[KeyOctets]) -> int:
        """Return the number of ``key``; one that is not known is added to ``new``."""
        known = self._keys.get(id(key))
        if known is not None:
            return known[0]
        number = len(self._keys)
        self._keys[id(key)] = number, key
        der = key.private_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
        new.append(KeyOctets(number, key.algorithm, key.domain, key.selector, der))
        return number

    def body(self, content: int, body: bytes) -> bytes:
        """Return ``body`` if the process does not have it yet."""
        if content in self._contents:
            return b""
        self._contents.add(content)
        self._octets += len(body)
        return body


class _Worker(asyncio.Protocol):
    """One process, as the loop sees it."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known = _Known()
        self._frames = Frames()
        self._waiting: dict[int, tuple[asyncio.Future[list[Outcome]], int]] = {}
        self._outbox: list[bytes] = []
        self._count = 0
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        #: Messages that it has not answered.
        self.load = 0

    def order(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool
    ) -> asyncio.Future[list[Outcome]]:
        """Hand over ``parcels``; the future gets their outcomes."""
        forget = self._known.is_full
        if forget:
            self._known.forget()
        new: list[KeyOctets] = []
        orders = [self._order(parcel, new) for parcel in parcels]
        self._count += 1
        ended: asyncio.Future[list[Outcome]] = self._loop.create_future()
        self._waiting[self._count] = ended, len(parcels)
        self.load += len(parcels)
        batch = Batch(self._count, has_8bitmime, orders, new, forget)
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(pack_batch(batch))
        return ended

    def _order(self, parcel: Parcel, new: list[KeyOctets]) -> Order:
        found = self._keys.keys_for(
            parcel.sending_domain, parcel.selector, parcel.accepted_at
        )
        numbers: tuple[int, ...] = ()
        note = refusal = ""
        if isinstance(found, str):
            refusal = found
        else:
            note = found.note
            numbers = tuple(self._known.number(key, new) for key in found.keys)
        merge, content, fields, body = None, 0, b"", parcel.body
        if parcel.merge is not None:
            given = parcel.merge
            content, fields = given.content, given.fields
            merge = given.variant, given.recipient, given.message_id
            body = self._known.body(content, body)
        return Order(
            parcel.delivery,
            parcel.message,
            parcel.header,
            body,
            to_micros(parcel.accepted_at),
            numbers,
            note,
            refusal,
            content,
            merge,
            fields,
        )

    def close(self) -> None:
        """End the process: it goes when its socket is closed."""
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(outbox))

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            number, outcomes = parse_outcomes(frame)
            ended, count = self._waiting.pop(number)
            self.load -= count
            if not ended.done():  # whoever asked may have gone
                ended.set_result(outcomes)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        for ended, count in self._waiting.values():
            if not ended.done():
                ended.set_result([Refused(End.UNSIGNABLE, _DIED)] * count)
        self._waiting.clear()
        if not self.lost.done():
            self.lost.set_result(None)


class ProcessWorkers:
    """Implements :class:`~mailwright.mta.workers.ready.Workers` with processes.

    Nothing runs until :meth:`run` does; what is asked before waits for it.
    """

    def __init__(
        self,
        keys: Keys,
        count: int,
        beside: Workers,
        *,
        command: Sequence[str] = (
            sys.executable,
            "-m",
            "mailwright.mta.workers.process",
        ),
        start_within_s: float = 60.0,
    ) -> None:
        """``beside`` prepares large messages, and is run and stopped with this.

        ``command`` gets the number of its socket as its last argument.
        """
        self._beside = beside
        self._keys = keys
        self._count = count
        self._command = tuple(command)
        self._start_within_s = start_within_s
        self._workers: list[_Worker] = []
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        #: How often a process died.
        self.deaths = 0

    async def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool
    ) -> Sequence[Outcome]:
        """Return one outcome for each parcel, in their order."""
        large = [each for each in parcels if _is_large(each)]
        if not large:
            return await self._ordered(parcels, has_8bitmime=has_8bitmime)
        others = [each for each in parcels if not _is_large(each)]
        here = await self._beside.prepare(large, has_8bitmime=has_8bitmime)
        there: Sequence[Outcome] = ()
        if others:
            there = await self._ordered(others, has_8bitmime=has_8bitmime)
        from_here, from_there = iter(here), iter(there)
        return [next(from_here if _is_large(each) else from_there) for each in parcels]

    async def _ordered(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool
    ) -> Sequence[Outcome]:
        worker = self._least_busy()
        if worker is None:
            worker = await self._wait_for_one()
        if worker is None:
            return [Refused(End.UNSIGNABLE, _ABSENT)] * len(parcels)
        return await worker.order(parcels, has_8bitmime=has_8bitmime)

    async def run(self) -> None:
        """Keep the processes alive until :meth:`stop`; they are gone on return."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beside.run(), name="preparing threads")
                for number in range(self._count):
                    tasks.create_task(self._keep(), name=f"preparing process {number}")
        finally:
            self._stopping.set()
            self._changed.set()

    def stop(self) -> None:
        """End the processes; call it when nothing is in flight any more."""
        self._stopping.set()
        self._beside.stop()
        for worker in self._workers:
            worker.close()
        self._changed.set()

    async def _keep(self) -> None:
        rest_s = RESTART_S
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began_at = loop.time()
            await self._run_one()
            if self._stopping.is_set():
                return
            self.deaths += 1
            if loop.time() - began_at > WELL_S:
                rest_s = RESTART_S
            logger.error("a process that signs ended; another starts in %.1f s", rest_s)
            # What died at once would die at once again.
            with suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._stopping.wait()
            rest_s = min(rest_s * 2, RESTART_MAX_S)

    async def _run_one(self) -> None:
        """Run one process until it ends."""
        ours, its = socket.socketpair()
        with its:
            for each in (ours, its):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_OCTETS)
            try:
                process = await asyncio.to_thread(self._start, its.fileno())
            except OSError as error:
                ours.close()
                # The reason is all there is to say; the traceback is this line.
                logger.error(  # noqa: TRY400
                    "a process that signs cannot be started: %s", error
                )
                return
        worker = _Worker(self._keys)
        try:
            await asyncio.get_running_loop().create_unix_connection(
                lambda: worker, sock=ours
            )
            self._workers.append(worker)
            self._changed.set()
            if self._stopping.is_set():
                worker.close()
            await worker.lost
        finally:
            if worker in self._workers:
                self._workers.remove(worker)
            worker.close()
            await asyncio.shield(asyncio.to_thread(_wait_end, process))

    def _start(self, descriptor: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            [*self._command, str(descriptor)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[descriptor],
        )

    def _least_busy(self) -> _Worker | None:
        alive = (worker for worker in self._workers if not worker.lost.done())
        return min(alive, key=lambda worker: worker.load, default=None)

    async def _wait_for_one(self) -> _Worker | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._start_within_s):
                while (worker := self._least_busy()) is None:
                    if self._stopping.is_set():
                        return None
                    self._changed.clear()
                    await self._changed.wait()
                return worker
        return None


def _is_large(parcel: Parcel) -> bool:
    # A campaign's content goes to a process once, however large, and is rendered there.
    return parcel.merge is None and len(parcel.body) > LARGE_OCTETS


def _wait_end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process whose socket is closed; kill it if it does not go."""
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
