import pytest

from mailwright.errors import LocalProtocolError
from mailwright.mta.smtp.extensions import NO_EXTENSIONS, Extensions
from mailwright.mta.smtp.transaction import Transaction, xtext

DSN = Extensions(has_dsn=True)


def transaction(
    *, reverse_path: str = "a@example.net", recipient: str = "b@example.com"
) -> Transaction:
    return Transaction(1, reverse_path, recipient, b".\r\n", 0)


@pytest.mark.parametrize(
    "address",
    [
        "b@example.com>\r\nRSET",
        "b\n@example.com",
        "b\r@example.com",
        "b\x00@example.com",
        "b\x85@example.com",
        "b\u2028@example.com",
        "b\x7f@example.com",
    ],
)
def test_an_address_cannot_become_a_second_command(address: str) -> None:
    with pytest.raises(LocalProtocolError):
        transaction(recipient=address).check()
    with pytest.raises(LocalProtocolError):
        transaction(reverse_path=address).check()


def test_there_is_a_recipient() -> None:
    with pytest.raises(LocalProtocolError):
        transaction(recipient="").check()


def test_the_null_reverse_path_is_fit() -> None:
    one = transaction(reverse_path="")
    one.check()
    assert one.mail_command(NO_EXTENSIONS) == b"MAIL FROM:<>\r\n"


def test_nothing_is_said_that_was_not_offered() -> None:
    one = Transaction(
        1,
        "a@example.net",
        "b@example.com",
        b".\r\n",
        9,
        has_8bit=True,
        notify="NEVER",
        orcpt="rfc822;b@example.com",
        ret="FULL",
        envid="x",
    )
    assert one.mail_command(NO_EXTENSIONS) == b"MAIL FROM:<a@example.net>\r\n"
    assert one.rcpt_command(NO_EXTENSIONS) == b"RCPT TO:<b@example.com>\r\n"


@pytest.mark.parametrize(
    ("notify", "orcpt", "params"),
    [
        ("NEVER", "", b" NOTIFY=NEVER"),
        ("SUCCESS,DELAY", "", b" NOTIFY=SUCCESS,DELAY"),
        ("NEVER,SUCCESS", "", b""),  # RFC 3461 §4.1: NEVER stands alone
        ("success", "", b""),
        ("NEVER\r\nRSET", "", b""),
        ("", "rfc822;a b@x", b" ORCPT=rfc822;a+20b@x"),
        ("", "rfc822;a\r\nRSET", b" ORCPT=rfc822;a+0D+0ARSET"),
        ("", "rfc822", b""),
        ("", "rfc 822;a@x", b""),
        ("", "utf-8;пётр@x", b""),
        ("", "rfc822;" + "a" * 500, b""),
    ],
)
def test_parameters_of_rcpt(notify: str, orcpt: str, params: bytes) -> None:
    one = Transaction(
        1, "a@example.net", "b@example.com", b"", 0, notify=notify, orcpt=orcpt
    )
    assert one.rcpt_command(DSN) == b"RCPT TO:<b@example.com>" + params + b"\r\n"


@pytest.mark.parametrize(
    ("ret", "envid", "params"),
    [
        ("FULL", "", b" RET=FULL"),
        ("HDRS", "a=b", b" RET=HDRS ENVID=a+3Db"),
        ("ALL", "", b""),
        ("", "x" * 100, b" ENVID=" + b"x" * 100),
        ("", "x" * 101, b""),
    ],
)
def test_parameters_of_mail(ret: str, envid: str, params: bytes) -> None:
    one = Transaction(1, "", "b@example.com", b"", 0, ret=ret, envid=envid)
    assert one.mail_command(DSN) == b"MAIL FROM:<>" + params + b"\r\n"


def test_xtext_is_what_rfc_3461_says() -> None:
    assert xtext("a+b=c d\x7f~!") == "a+2Bb+3Dc+20d+7F~!"
