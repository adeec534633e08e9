"""swaks, as an operator would try a node with it: logins, TLS, and relaying.

Oracle: the exit status and dialog of swaks, and the node's database.
"""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trustme

from fakes.node_process import API_KEY
from fakes.relay_forms import PLAIN_PATH, RECIPIENTS, SENDERS, US, Doors, doors

pytestmark = pytest.mark.scenario

#: How many run at once; it is Perl that starts anew each time.
AT_ONCE = 4
TAKEN = "250 2.0.0 accepted as"


def login(name: str, password: str) -> Sequence[str]:
    return ("--auth-user", name, "--auth-password", password)


GOOD = login("crm", API_KEY)


async def swaks(port: int, *options: str) -> tuple[int, str]:
    """Return exit status and dialog; of options given twice the last counts."""

    def run() -> tuple[int, str]:
        done = subprocess.run(
            [
                *("swaks", "--server", f"127.0.0.1:{port}", "--timeout", "240"),
                *("--ehlo", "client.example", "--from", "a@example.com"),
                *("--to", PLAIN_PATH),
                *("--data", "From: a@example.com\nSubject: swaks\n\ntake this on\n"),
                *options,
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return await asyncio.to_thread(run)


def drive(folder: Path, play: Callable[[Doors], Awaitable[None]]) -> None:
    async def scene() -> None:
        async with doors(folder) as open_doors:
            await play(open_doors)

    asyncio.run(scene())


def test_swaks_logs_in_by_starttls_and_by_tls_on_connect(tmp_path: Path) -> None:
    async def play(doors: Doors) -> None:
        _, support = await swaks(doors.auth, "--support")
        assert "TLS supported" in support, "apt-get install -y libnet-ssleay-perl"

        verify = ("--tls-verify", "--tls-ca-path", str(doors.authority))
        taken = 0
        for port, tls in ((doors.auth, "-tls"), (doors.implicit, "-tlsc")):
            for mechanism in ("PLAIN", "LOGIN"):
                status, dialog = await swaks(
                    port, tls, *verify, "--auth", mechanism, *GOOD
                )
                assert status == 0, dialog
                assert "=== TLS started" in dialog
                assert f"AUTH {mechanism}" in dialog
                assert "<~  235 2.7.0" in dialog
                assert f"<~  {TAKEN}" in dialog
                taken += 1
                assert doors.messages() == taken
            # What STARTTLS offers and what the other port has at once, differ.
            _, dialog = await swaks(port, tls, "--quit-after", "EHLO")
            assert ("STARTTLS" in dialog) == (tls == "-tls")

        # Control: swaks does look at the certificate.
        stranger = tmp_path / "stranger.pem"
        trustme.CA().cert_pem.write_to_path(stranger)
        status, dialog = await swaks(
            doors.auth, "-tls", "--tls-verify", "--tls-ca-path", str(stranger)
        )
        assert status != 0, dialog
        assert doors.messages() == taken

    drive(tmp_path, play)


#: What cannot work by STARTTLS nor on the port of TLS, and what swaks hears.
REFUSED: dict[str, tuple[Sequence[str], str]] = {
    "no login": ((), "530 5.7.0 authentication required"),
    "wrong password by PLAIN": (("-a", "PLAIN", *login("crm", "wrong")), "535 5.7.8"),
    "wrong password by LOGIN": (("-a", "LOGIN", *login("crm", "wrong")), "535 5.7.8"),
    "half a password": (("-a", "PLAIN", *login("crm", API_KEY[:-1])), "535 5.7.8"),
    "empty password": (("-a", "PLAIN", *login("crm", "<>")), "501 5.5.2"),
    "unknown login": (("-a", "PLAIN", *login("nobody", API_KEY)), "535 5.7.8"),
    "a mechanism that we do not have": (("-a", "CRAM-MD5", *GOOD), "not available"),
}


def test_swaks_sends_nothing_without_a_good_login_under_tls(tmp_path: Path) -> None:
    async def play(doors: Doors) -> None:
        # Control, first and last: the doors are open for who has the password. Who has
        # shown it once is not shut out by some mistakes: each one is looked at.
        for port, tls in ((doors.auth, "-tls"), (doors.implicit, "-tlsc")):
            status, dialog = await swaks(port, tls, "-a", "PLAIN", *GOOD)
            assert status == 0, dialog
        for name, (options, answer) in REFUSED.items():
            for port, tls in ((doors.auth, "-tls"), (doors.implicit, "-tlsc")):
                status, dialog = await swaks(port, tls, *options)
                assert status != 0, (name, dialog)
                assert answer in dialog, (name, dialog)
                assert TAKEN not in dialog, name
        for options in ((), ("-a", "PLAIN", *GOOD), ("-a", "LOGIN", *GOOD)):
            status, dialog = await swaks(doors.auth, *options)
            assert status != 0, dialog
            # Not even offered, so that nobody says a password in clear.
            assert "AUTH" not in dialog.replace("Auth", ""), dialog
        assert doors.messages() == 2
        status, dialog = await swaks(doors.auth, "-tls", "-a", "PLAIN", *GOOD)
        assert status == 0, dialog
        assert doors.messages() == 3

    drive(tmp_path, play)


def inner(path: str) -> str | None:
    """Return what swaks can put between angle brackets, if it can express ``path``."""
    is_wrapped = path.startswith("<") and path.endswith(">")
    if not is_wrapped or "," in path or "\0" in path:
        return None
    return path[1:-1] or "<>"


def relay_forms() -> dict[str, Sequence[str]]:
    """Return what asks a node to relay, as options of swaks."""
    forms: dict[str, Sequence[str]] = {}
    for path in RECIPIENTS:
        if (to := inner(path)) is not None:
            forms[f"to {to}"] = ("--to", to)
    for path in SENDERS:
        if (sender := inner(path)) is not None:
            forms[f"from {sender}"] = ("--from", sender)
    for hello in (US, "localhost", "[127.0.0.1]", "[127.0.0.2]", "example.com"):
        forms[f"hello {hello}"] = ("--ehlo", hello)
    return forms | {
        "old hello": ("--protocol", "SMTP", "--ehlo", "localhost"),
        # swaks does not say it to who does not offer it; test_relay_forms.py does.
        "XCLIENT if it is offered": (
            *("--xclient-addr", "127.0.0.2", "--xclient-optional"),
        ),
        "PROXY v1": (
            *("--proxy-version", "1", "--proxy-family", "TCP4"),
            *("--proxy-source", "127.0.0.2", "--proxy-source-port", "4000"),
            *("--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25"),
        ),
        "PROXY v2": (
            *("--proxy-version", "2", "--proxy-family", "AF_INET"),
            *("--proxy-command", "PROXY", "--proxy-protocol", "STREAM"),
            *("--proxy-source", "127.0.0.2", "--proxy-source-port", "4000"),
            *("--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25"),
        ),
        "pipelined": ("--pipeline",),
        "many recipients": ("--to", f"{PLAIN_PATH},c@{US},d@example.com"),
        "login if it is offered": ("--auth-optional", "PLAIN", *GOOD),
    }


def test_swaks_finds_no_form_in_which_the_node_relays(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    forms = relay_forms()
    assert len(forms) >= 40
    slots = asyncio.Semaphore(AT_ONCE)

    async def taken_at(port: int, *extra: str) -> list[str]:
        """Return the forms that are taken there."""

        async def is_taken(options: Sequence[str]) -> bool:
            async with slots:
                _, dialog = await swaks(port, *extra, *options)
            # swaks understood what it was to do, and did it.
            assert "=== Connected to" in dialog, dialog
            return TAKEN in dialog

        async with asyncio.TaskGroup() as tasks:
            asked = {
                name: tasks.create_task(is_taken(options))
                for name, options in forms.items()
            }
        return [name for name, task in asked.items() if task.result()]

    async def play(doors: Doors) -> None:
        found = {
            "named": await taken_at(doors.named),
            # There the login is offered after STARTTLS; the one form that has it may.
            "starttls": await taken_at(doors.auth, "-tls"),
        }
        publish(f"relay forms by swaks: {len(forms)} at 2 doors, taken: {found}")
        assert found == {"named": [], "starttls": ["login if it is offered"]}
        assert doors.messages() == 1
        # Control: a door that names the stranger's network takes many of these forms.
        assert len(await taken_at(doors.open)) >= 15
        assert doors.recipients() & {PLAIN_PATH, f"c@{US}"}

    drive(tmp_path, play)
