import ssl
from dataclasses import replace
from typing import Any

import pytest

from fakes.door import CREDENTIAL, make_settings, open_settings
from mailwright.accounts.directory import Scope
from mailwright.mta.smtp.framing import LineFault
from mailwright.mta.submission.dialogue import (
    Answer,
    BeginTls,
    Dialogue,
    Event,
    HangUp,
    LogIn,
    ReadMessage,
    State,
)
from mailwright.reply import Phase, local_reply

ACCEPTED = local_reply(250, "2.0.0", "accepted", Phase.DOT)
REFUSED = local_reply(550, "5.7.1", "no", Phase.DOT)
WRONG = local_reply(535, "5.7.8", "wrong", Phase.AUTH)
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def authorised(**changes: Any) -> Dialogue:
    return Dialogue(open_settings(**changes), CREDENTIAL)


def said(event: Event) -> str:
    """Return code and enhanced code of the last reply, with ``!`` when it hangs up."""
    assert isinstance(event, Answer | HangUp)
    last = event.octets.split(b"\r\n")[-2].decode()
    mark = "!" if isinstance(event, HangUp) else ""
    return " ".join(last.split(" ")[:2]) + mark


def talk(dialogue: Dialogue, *lines: str) -> str:
    """Return what is said to the last line."""
    answer = ""
    for line in lines:
        event = dialogue.receive(line.encode())
        answer = (
            said(event) if isinstance(event, Answer | HangUp) else type(event).__name__
        )
    return answer


MAIL, RCPT = "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.net>"


def test_a_transaction_goes_its_way() -> None:
    dialogue = authorised()
    assert talk(dialogue, "EHLO x") == "250 DSN"
    assert talk(dialogue, MAIL) == "250 2.1.0"
    assert talk(dialogue, RCPT) == "250 2.1.5"
    assert dialogue.receive(b"DATA") == ReadMessage()
    assert dialogue.envelope().recipients[0].address.canonical == "b@example.net"
    assert said(dialogue.message_ended(ACCEPTED)) == "250 2.0.0"
    assert dialogue.state is State.GREETED
    with pytest.raises(ValueError, match="no transaction"):
        dialogue.envelope()


@pytest.mark.parametrize(
    "lines",
    [
        [MAIL],
        [RCPT],
        ["DATA"],
        ["STARTTLS"],
        ["AUTH PLAIN"],
        ["EHLO x", RCPT],
        ["EHLO x", "DATA"],
        ["EHLO x", MAIL, "DATA"],
        ["EHLO x", MAIL, MAIL],
        ["EHLO x", MAIL, "AUTH PLAIN"],
        ["EHLO x", MAIL, "STARTTLS"],
        ["EHLO x", MAIL, RCPT, MAIL],
        ["EHLO x", MAIL, RCPT, "RSET", "DATA"],
        ["EHLO x", MAIL, RCPT, "EHLO x", RCPT],
        ["EHLO x", MAIL, RCPT, "HELO x", "DATA"],
        ["EHLO x", "MAIL FROM:<nobody>", RCPT],
        ["EHLO x", "RCPT TO:<nobody>"],
        ["EHLO x", MAIL, "RCPT TO:<nobody>", "DATA"],
    ],
)
def test_what_comes_out_of_order_is_503(lines: list[str]) -> None:
    assert talk(authorised(), *lines) == "503 5.5.1"


@pytest.mark.parametrize("reply", [ACCEPTED, REFUSED])
def test_an_envelope_serves_for_one_message_whatever_its_outcome(reply: Any) -> None:
    dialogue = authorised()
    talk(dialogue, "EHLO x", MAIL, RCPT)
    dialogue.receive(b"DATA")
    dialogue.message_ended(reply)
    assert talk(dialogue, RCPT) == "503 5.5.1"
    assert talk(dialogue, "DATA") == "503 5.5.1"


@pytest.mark.parametrize(
    ("settings", "is_secure", "answer"),
    [
        (make_settings(), False, "530 5.7.0"),
        (make_settings(tls=TLS, allows_clear_auth=False), False, "530 5.7.0"),
        (make_settings(tls=TLS, allows_clear_auth=False), True, "530 5.7.0"),
        (open_settings(), False, "550 5.7.1"),
    ],
)
@pytest.mark.parametrize("line", [MAIL, "MAIL FROM:<nobody>"])
def test_a_stranger_may_not_submit(
    settings: Any, is_secure: bool, answer: str, line: str
) -> None:
    dialogue = Dialogue(settings, None)
    if is_secure:
        dialogue.secured()
    assert talk(dialogue, "EHLO x", line) == answer
    assert talk(dialogue, RCPT) == "503 5.5.1"


def test_a_credential_without_the_scope_may_not_submit() -> None:
    reader = replace(CREDENTIAL, scopes=frozenset({Scope.READ}))
    assert talk(Dialogue(open_settings(), reader), "EHLO x", MAIL) == "550 5.7.1"


def test_tls_forgets_what_was_said_before() -> None:
    dialogue = Dialogue(make_settings(tls=TLS), None)
    talk(dialogue, "EHLO plain")
    dialogue.logged_in(CREDENTIAL)
    assert dialogue.receive(b"STARTTLS") == BeginTls()
    dialogue.secured()
    assert dialogue.ehlo_name == ""
    assert dialogue.credential is None
    assert not dialogue.is_authenticated
    assert talk(dialogue, MAIL) == "503 5.5.1"
    assert talk(dialogue, "EHLO x", "STARTTLS") == "503 5.5.1"
    assert talk(dialogue, MAIL) == "530 5.7.0"


def test_ehlo_offers_what_can_be_used_now() -> None:
    dialogue = Dialogue(make_settings(tls=TLS, allows_clear_auth=False), None)
    clear = dialogue.receive(b"EHLO x")
    assert isinstance(clear, Answer)
    assert b"250-SIZE 25000000\r\n" in clear.octets
    assert clear.octets.endswith(b"250 STARTTLS\r\n")
    assert b"AUTH" not in clear.octets
    dialogue.secured()
    secure = dialogue.receive(b"EHLO x")
    assert isinstance(secure, Answer)
    assert secure.octets.endswith(b"250 AUTH PLAIN LOGIN\r\n")
    assert b"STARTTLS" not in secure.octets


def test_auth_is_refused_where_it_would_be_overheard() -> None:
    needs_tls = Dialogue(make_settings(tls=TLS, allows_clear_auth=False), None)
    assert talk(needs_tls, "EHLO x", "AUTH PLAIN") == "538 5.7.11"
    without = Dialogue(open_settings(), CREDENTIAL)
    assert talk(without, "EHLO x", "AUTH PLAIN") == "503 5.5.1"
    clear = Dialogue(make_settings(), None)
    assert isinstance(clear.receive(b"EHLO x"), Answer)
    assert isinstance(clear.receive(b"AUTH PLAIN"), LogIn)
    clear.logged_in(CREDENTIAL)
    assert talk(clear, "AUTH PLAIN") == "503 5.5.1"
    assert talk(clear, MAIL) == "250 2.1.0"


def test_the_third_wrong_login_closes() -> None:
    dialogue = Dialogue(make_settings(), None)
    assert said(dialogue.login_refused(WRONG)) == "535 5.7.8"
    assert said(dialogue.login_refused(WRONG)) == "535 5.7.8"
    assert said(dialogue.login_refused(WRONG)) == "421 4.7.0!"
    assert dialogue.state is State.CLOSED


def test_a_size_over_the_limit_is_refused_before_the_message() -> None:
    dialogue = authorised(max_message_octets=1_000)
    assert talk(dialogue, "EHLO x", MAIL + " SIZE=1001") == "552 5.3.4"
    assert talk(dialogue, MAIL + " SIZE=1000") == "250 2.1.0"


def test_recipients_are_limited_and_the_ones_taken_stay() -> None:
    dialogue = authorised(max_recipients=2)
    talk(dialogue, "EHLO x", MAIL)
    assert talk(dialogue, "RCPT TO:<b@example.net>") == "250 2.1.5"
    assert talk(dialogue, "RCPT TO:<c@example.net>") == "250 2.1.5"
    assert talk(dialogue, "RCPT TO:<B@EXAMPLE.net>") == "250 2.1.5", "named before"
    assert talk(dialogue, "RCPT TO:<d@example.net>") == "452 4.5.3"
    dialogue.receive(b"DATA")
    assert [str(taken.address) for taken in dialogue.envelope().recipients] == [
        "b@example.net",
        "c@example.net",
    ]


def test_an_address_beyond_ascii_needs_smtputf8_in_mail() -> None:
    dialogue = authorised()
    talk(dialogue, "EHLO x", MAIL)
    assert talk(dialogue, "RCPT TO:<иван@example.net>") == "553 5.6.7"
    talk(dialogue, "RSET", MAIL + " SMTPUTF8")
    assert talk(dialogue, "RCPT TO:<иван@example.net>") == "250 2.1.5"
    dialogue.receive(b"DATA")
    assert dialogue.envelope().has_utf8


def test_the_last_error_allowed_closes() -> None:
    dialogue = authorised(max_errors=3)
    assert talk(dialogue, "BOGUS", "BOGUS") == "500 5.5.1"
    assert talk(dialogue, "DATA") == "421 4.7.0!"


def test_an_accepted_message_pays_for_errors_and_commands() -> None:
    dialogue = authorised(max_errors=3, max_commands=8)
    for _ in range(5):
        assert talk(dialogue, "EHLO x", "BOGUS", "BOGUS", MAIL, RCPT) == "250 2.1.5"
        dialogue.receive(b"DATA")
        assert said(dialogue.message_ended(ACCEPTED)) == "250 2.0.0"


def test_refused_recipients_of_who_may_submit_are_no_errors() -> None:
    dialogue = authorised(max_errors=3)
    talk(dialogue, "EHLO x", MAIL)
    for _ in range(20):
        assert talk(dialogue, "RCPT TO:<not an address>") == "550 5.1.3"
    assert talk(dialogue, RCPT) == "250 2.1.5"


def test_commands_without_a_message_are_limited() -> None:
    dialogue = authorised(max_commands=5)
    assert talk(dialogue, *["NOOP"] * 5) == "250 2.0.0"
    assert talk(dialogue, "NOOP") == "421 4.7.0!"


@pytest.mark.parametrize("fault", LineFault)
def test_a_broken_stream_closes(fault: LineFault) -> None:
    assert said(authorised().fault(fault)) == "500 5.5.2!"


@pytest.mark.parametrize(
    "line", ["GET / HTTP/1.1", "POST / HTTP/1.1", "CONNECT x:25 HTTP/1.1"]
)
def test_another_protocol_is_hung_up_on_at_once(line: str) -> None:
    assert talk(authorised(), line) == "421 4.7.0!"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("NOOP", "250 2.0.0"),
        ("HELP", "214 2.0.0"),
        ("VRFY a", "252 2.1.5"),
        ("EXPN a", "502 5.5.1"),
        ("RSET", "250 2.0.0"),
        ("QUIT", "221 2.0.0!"),
        ("HELO x", "250 mx.example.org"),
    ],
)
def test_simple_commands_get_their_answer(line: str, answer: str) -> None:
    assert talk(authorised(), line) == answer
    assert talk(authorised(), "EHLO x", MAIL, RCPT, line) == answer


def test_a_stopping_node_finishes_what_is_under_way_and_begins_nothing() -> None:
    dialogue = authorised()
    talk(dialogue, "EHLO x", MAIL)
    dialogue.stop()
    assert not dialogue.should_leave
    assert talk(dialogue, RCPT) == "250 2.1.5"
    dialogue.receive(b"DATA")
    ended = dialogue.message_ended(ACCEPTED)
    assert said(ended) == "421 4.3.2!"
    assert isinstance(ended, HangUp)
    assert ended.octets.startswith(b"250 2.0.0 accepted\r\n")

    fresh = authorised()
    talk(fresh, "EHLO x", MAIL, RCPT)
    fresh.receive(b"DATA")
    fresh.message_ended(REFUSED)
    assert not fresh.has_transaction
    fresh.stop()
    assert fresh.should_leave
    assert talk(fresh, MAIL) == "421 4.3.2!"
