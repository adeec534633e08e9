"""What the service manager is told, and when the watchdog is fed."""

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailwright.daemon.systemd import Notifier, Watchdog
from mailwright.store.ports import StoreError, StoreFailedError, StoreFullError


class Manager:
    """The other end of ``NOTIFY_SOCKET``."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self._socket.setblocking(False)
        self.address = address

    def heard(self) -> list[dict[str, str]]:
        """Return the assignments of each datagram that waits."""
        found = []
        while True:
            try:
                datagram = self._socket.recv(4096)
            except BlockingIOError:
                return found
            lines = datagram.decode().split("\n")
            found.append(dict(line.split("=", 1) for line in lines))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = f"@mailwright-{tmp_path.name}-{id(request)}"
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else name)
    yield manager
    manager.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"}
    notifier = Notifier.from_environ(environ, pid=1)
    yield notifier
    notifier.close()


def test_each_state_is_one_datagram(manager: Manager, notifier: Notifier) -> None:
    notifier.ready("mta1 runs")
    notifier.reloading()
    notifier.alive("fine")
    notifier.stopping()
    ready, reloading, alive, stopping = manager.heard()
    assert ready == {"READY": "1", "STATUS": "mta1 runs"}
    assert reloading.pop("RELOADING") == "1"
    assert re.fullmatch(r"[0-9]+", reloading.pop("MONOTONIC_USEC"))
    assert reloading == {}
    assert alive == {"WATCHDOG": "1", "STATUS": "fine"}
    assert stopping["STOPPING"] == "1"


def test_a_status_cannot_say_more_than_a_status(
    manager: Manager, notifier: Notifier
) -> None:
    notifier.alive("full\nMAINPID=1\r\nREADY=1" + "x" * 5000)
    [heard] = manager.heard()
    assert set(heard) == {"WATCHDOG", "STATUS"}
    assert len(heard["STATUS"]) == 500


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "1000000"},
        {"NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "1000000"},
    ],
)
def test_nobody_to_tell_is_no_error(environ: dict[str, str]) -> None:
    notifier = Notifier.from_environ(environ, pid=1)
    notifier.ready("")
    assert notifier.watchdog_s == 0
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({"WATCHDOG_USEC": "-5"}, 0),
        ({}, 0),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(
    environ: dict[str, str], expected: float
) -> None:
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": "@x", **environ}, pid=7)
    assert notifier.watchdog_s == expected
    notifier.close()


def test_a_manager_that_has_gone_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier(str(tmp_path / "gone"))
    notifier.ready("")
    notifier.alive("")
    notifier.close()
    notifier.alive("")
    assert len(caplog.records) == 1


class ScriptedStore:
    """Answers as the script says, then never."""

    node = epoch = 1

    def __init__(self, *answers: StoreError | None) -> None:
        self._answers = list(answers)

    async def run(self, unit: object) -> list[object]:
        if not self._answers:
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if answer is not None:
            raise answer
        return []


def signs_of_life(
    manager: Manager, notifier: Notifier, store: ScriptedStore
) -> tuple[int, list[float]]:
    """Return the signs that were given until the watchdog ended or hung."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def main() -> None:
        watchdog = Watchdog(notifier, store, pause=pause, status=lambda: "fine")
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(watchdog.run())
            for _ in range(50):  # turns of the loop: it has done all that it can
                await asyncio.sleep(0)
            running.cancel()

    asyncio.run(main())
    return sum("WATCHDOG" in each for each in manager.heard()), pauses


def test_signs_of_life_end_when_the_store_hangs(
    manager: Manager, notifier: Notifier
) -> None:
    given, pauses = signs_of_life(manager, notifier, ScriptedStore(None, None, None))
    assert given == 3
    assert pauses == [10, 10, 10]


@pytest.mark.parametrize(
    ("answer", "given"), [(StoreFullError("full"), 2), (StoreFailedError("disk"), 0)]
)
def test_a_full_disk_is_an_answer_and_a_failed_one_is_not(
    manager: Manager, notifier: Notifier, answer: StoreError, given: int
) -> None:
    store = ScriptedStore(answer, None)
    assert signs_of_life(manager, notifier, store)[0] == given


def test_no_sign_of_life_is_given_to_a_manager_that_wants_none(
    manager: Manager,
) -> None:
    notifier = Notifier(manager.address)
    assert signs_of_life(manager, notifier, ScriptedStore(None))[0] == 0
    notifier.close()
