import pytest

from mailwright.address import parse_address
from mailwright.envelope import Notify, Recipient, Ret
from mailwright.mta.smtp.commands import (
    Auth,
    Command,
    Data,
    Expand,
    Foreign,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reset,
    StartTls,
    Verify,
    parse_command,
)
from mailwright.mta.smtp.paths import decode_xtext
from mailwright.reply import Reply

A = parse_address("a@example.com")
B = parse_address("b@example.net")


def rcpt(**values: object) -> Rcpt:
    return Rcpt(Recipient(B, **values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("EHLO mail.example.com", Hello("mail.example.com", is_extended=True)),
        ("ehlo [127.0.0.1]", Hello("[127.0.0.1]", is_extended=True)),
        ("HELO pc-ивана", Hello("pc-ивана", is_extended=False)),
        ("STARTTLS", StartTls()),
        ("AUTH PLAIN", Auth("PLAIN", None)),
        ("AUTH login dXNlcg==", Auth("LOGIN", "dXNlcg==")),
        ("AUTH PLAIN =", Auth("PLAIN", "=")),
        ("DATA", Data()),
        ("rset", Reset()),
        ("NOOP whatever", Noop()),
        ("QUIT", Quit()),
        ("QUIT now", Quit()),
        ("VRFY somebody", Verify()),
        ("EXPN list", Expand()),
        ("HELP MAIL", Help()),
        ("POST / HTTP/1.1", Foreign()),
        ("GET / HTTP/1.1", Foreign()),
        ("MAIL FROM:<>", Mail(None)),
        ("MAIL FROM:<a@example.com>", Mail(A)),
        ("mail from: <A@EXAMPLE.com> ", Mail(A)),
        ('MAIL FROM:<"a"@example.com>', Mail(A)),
        ('MAIL FROM:<"a>b"@example.com>', Mail(parse_address('"a>b"@example.com'))),
        ("MAIL FROM:<a@example.com> SIZE=0", Mail(A, size=0)),
        (
            "MAIL FROM:<a@example.com>  size=12  body=8bitmime ",
            Mail(A, 12, has_8bit=True),
        ),
        ("MAIL FROM:<a@example.com> BODY=7BIT", Mail(A)),
        ("MAIL FROM:<a@example.com> SMTPUTF8", Mail(A, has_utf8=True)),
        (
            "MAIL FROM:<иван@example.com> SMTPUTF8",
            Mail(parse_address("иван@example.com"), has_utf8=True),
        ),
        ("MAIL FROM:<a@example.com> RET=hdrs", Mail(A, ret=Ret.HDRS)),
        ("MAIL FROM:<a@example.com> ENVID=q+2B1+20x", Mail(A, envid="q+1 x")),
        ("MAIL FROM:<a@example.com> AUTH=<>", Mail(A)),
        ("MAIL FROM:<a@example.com> AUTH=a+40b.example", Mail(A)),
        ("RCPT TO:<b@example.net>", rcpt()),
        ("rcpt to: <B@example.NET>", rcpt()),
        (
            "RCPT TO:<b@example.net> NOTIFY=NEVER",
            rcpt(notify=frozenset({Notify.NEVER})),
        ),
        (
            "RCPT TO:<b@example.net> NOTIFY=success,Failure,DELAY",
            rcpt(notify=frozenset(Notify) - {Notify.NEVER}),
        ),
        (
            "RCPT TO:<b@example.net> ORCPT=rfc822;B+2Bx@example.net",
            rcpt(orcpt="rfc822;B+x@example.net"),
        ),
        (
            "RCPT TO:<b@example.net> ORCPT=utf-8;\\x{431}@example.net",
            rcpt(orcpt="utf-8;\\x{431}@example.net"),
        ),
        (
            "RCPT TO:<b@example.net> ORCPT=utf-8;б@example.net",
            Rcpt(Recipient(B, orcpt="utf-8;\\x{431}@example.net"), needs_utf8=True),
        ),
        (
            "RCPT TO:<b@пример.рф>",
            Rcpt(Recipient(parse_address("b@пример.рф")), needs_utf8=True),
        ),
    ],
)
def test_a_good_line_is_its_command(line: str, command: Command) -> None:
    assert parse_command(line.encode(), is_extended=True) == command


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", "500 5.5.1"),
        (" ", "500 5.5.1"),
        ("HALO x", "500 5.5.1"),
        ("ÉHLO x", "500 5.5.1"),
        ("MAILFROM:<a@example.com>", "500 5.5.1"),
        ("MAILFROMSOMETHING", "500 5.5.1"),
        ("EHLO", "501 5.5.4"),
        ("EHLO  ", "501 5.5.4"),
        ("EHLO a b", "501 5.5.4"),
        ("EHLO " + "x" * 256, "501 5.5.4"),
        ("EHLO a\x00b", "500 5.5.2"),
        ("EHLO\ta", "500 5.5.2"),
        ("NOOP " + "x" * 506, "500 5.5.2"),
        ("DATA now", "501 5.5.4"),
        ("RSET x", "501 5.5.4"),
        ("STARTTLS x", "501 5.5.4"),
        ("VRFY", "501 5.5.4"),
        ("AUTH", "501 5.5.4"),
        ("AUTH PLAIN a b", "501 5.5.4"),
        ("AUTH ПЛАИН", "501 5.5.4"),
        ("MAIL", "501 5.5.4"),
        ("MAIL TO:<a@example.com>", "501 5.5.4"),
        ("MAIL FROM <a@example.com>", "501 5.5.4"),
        ("MAIL FROM :<a@example.com>", "501 5.5.4"),
        ("MAIL FROM:a@example.com", "501 5.1.7"),
        ("MAIL FROM:  <a@example.com>", "501 5.1.7"),
        ("MAIL FROM:<a@example.com", "501 5.1.7"),
        ("MAIL FROM:<a@example.com>>", "501 5.1.7"),
        ("MAIL FROM:<<a@example.com>>", "501 5.1.7"),
        ("MAIL FROM:<a@example.com>SIZE=1", "501 5.1.7"),
        ("MAIL FROM:<a@example.com>\x0bSIZE=1", "501 5.1.7"),
        ("MAIL FROM:<a@exa\x00mple.com>", "501 5.1.7"),
        ("MAIL FROM:<a@exa\rmple.com>", "501 5.1.7"),
        ("MAIL FROM:A <a@example.com>", "501 5.1.7"),
        ("MAIL FROM:<@relay.example:a@example.com>", "501 5.1.7"),
        ("MAIL FROM:<@relay.example,@b.example:a@example.com>", "501 5.1.7"),
        ("MAIL FROM:<a>", "550 5.1.7"),
        ("MAIL FROM:<a@localhost>", "550 5.1.7"),
        ("MAIL FROM:<a@[127.0.0.1]>", "550 5.1.7"),
        ("MAIL FROM:<a@b@example.com>", "550 5.1.7"),
        ("MAIL FROM:<host!user>", "550 5.1.7"),
        ("MAIL FROM:<a@example.com,b@example.com>", "550 5.1.7"),
        ('MAIL FROM:<"a@example.com>', "501 5.1.7"),
        ("MAIL FROM:<иван@example.com>", "553 5.6.7"),
        ("MAIL FROM:<a@пример.рф>", "553 5.6.7"),
        ("MAIL FROM:<a@example.com> junk", "555 5.5.4"),
        ("MAIL FROM:<a@example.com> X=1", "555 5.5.4"),
        ("MAIL FROM:<a@example.com> NOTIFY=NEVER", "555 5.5.4"),
        ("MAIL FROM:<a@example.com> =1", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> SIZE", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> SIZE=", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> SIZE=-1", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> SIZE=1e9", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> SIZE=١", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> SIZE=" + "9" * 21, "501 5.5.4"),
        ("MAIL FROM:<a@example.com> SIZE=1 SIZE=1", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> BODY=BINARYMIME", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> BODY", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> SMTPUTF8=1", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> RET=ALL", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> ENVID=", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> ENVID=a+2", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> ENVID=a+2b", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> ENVID=a+0D+0Ab", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> ENVID=a+80", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> ENVID=" + "x" * 101, "501 5.5.4"),
        ("MAIL FROM:<a@example.com> AUTH=a+0Ab", "501 5.5.4"),
        ("MAIL FROM:<a@example.com> " + "x" * 2_048, "500 5.5.2"),
        ("RCPT", "501 5.5.4"),
        ("RCPT FROM:<b@example.net>", "501 5.5.4"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:b@example.net", "501 5.1.3"),
        ("RCPT TO:<@relay.example:b@example.net>", "501 5.1.3"),
        ("RCPT TO:<postmaster>", "550 5.1.3"),
        ("RCPT TO:<b@[IPv6:::1]>", "550 5.1.3"),
        ("RCPT TO:<b@example.net.>", "550 5.1.3"),
        ("RCPT TO:<b@example.net\x7f>", "501 5.1.3"),
        ("RCPT TO:<b@example.net> SIZE=1", "555 5.5.4"),
        ("RCPT TO:<b@example.net> NOTIFY=", "501 5.5.4"),
        ("RCPT TO:<b@example.net> NOTIFY=ALWAYS", "501 5.5.4"),
        ("RCPT TO:<b@example.net> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("RCPT TO:<b@example.net> NOTIFY=DELAY,", "501 5.5.4"),
        ("RCPT TO:<b@example.net> ORCPT=b@example.net", "501 5.5.4"),
        ("RCPT TO:<b@example.net> ORCPT=rfc822;", "501 5.5.4"),
        ("RCPT TO:<b@example.net> ORCPT=;b", "501 5.5.4"),
        ("RCPT TO:<b@example.net> ORCPT=rfc822;б@example.net", "501 5.5.4"),
        ("RCPT TO:<b@example.net> ORCPT=rfc822;b+0D+0AX:1", "501 5.5.4"),
        ("RCPT TO:<b@example.net> ORCPT=rfc822;" + "x" * 500, "501 5.5.4"),
    ],
)
def test_a_bad_line_gets_exactly_this_answer(line: str, answer: str) -> None:
    reply = parse_command(line.encode(), is_extended=True)
    assert isinstance(reply, Reply)
    assert f"{reply.code} {reply.enhanced}" == answer


@pytest.mark.parametrize(
    "line", [b"MAIL FROM:<\xff@example.com>", b"EHLO \xc3", b"\xff"]
)
def test_what_is_not_utf8_is_refused(line: bytes) -> None:
    reply = parse_command(line, is_extended=True)
    assert isinstance(reply, Reply)
    assert reply.code in {500, 501}


def test_after_helo_there_are_no_parameters() -> None:
    reply = parse_command(b"MAIL FROM:<a@example.com> SIZE=1", is_extended=False)
    assert isinstance(reply, Reply)
    assert reply.code == 555


@pytest.mark.parametrize(
    ("head", "limit"),
    [
        (b"NOOP ", 512),
        (b"HELP ", 512),
        (b"MAIL FROM:<a@example.com> ENVID=", 2_048),
        (b"AUTH PLAIN ", 12_288),
    ],
)
def test_a_line_may_be_as_long_as_its_command_allows_with_its_crlf(
    head: bytes, limit: int
) -> None:
    longest = head + b"A" * (limit - 2 - len(head))
    kept = parse_command(longest, is_extended=True)
    assert not (isinstance(kept, Reply) and kept.code == 500)
    refused = parse_command(longest + b"A", is_extended=True)
    assert isinstance(refused, Reply)
    assert f"{refused.code} {refused.enhanced}" == "500 5.5.2"


def test_a_refusal_repeats_nothing_of_the_line() -> None:
    for line in (b"XSECRET", b"MAIL FROM:<SECRET>", b"RCPT TO:<SECRET@[x]> SECRET=1"):
        reply = parse_command(line, is_extended=True)
        assert isinstance(reply, Reply)
        assert "SECRET" not in reply.text


def test_xtext_is_decoded_strictly() -> None:
    assert decode_xtext("a+2Bb+3Dc") == "a+b=c"
    assert decode_xtext("") == ""
    for broken in ("a+2", "a+zz", "a b", "a=b", "é", "a+00", "+7F"):
        assert decode_xtext(broken) is None, broken
