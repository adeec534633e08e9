from base64 import b64encode

import pytest

from mailwright.mta.submission.login import (
    Challenge,
    LoginExchange,
    NameAndSecret,
    Step,
)
from mailwright.reply import Reply


def encoded(text: str | bytes) -> str:
    return b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def exchange(mechanism: str, initial: str | None, *lines: str) -> Step:
    running = LoginExchange(mechanism)
    step = running.start(initial)
    for line in lines:
        assert isinstance(step, Challenge)
        step = running.answer(line.encode())
    return step


CLAIM = NameAndSecret("crm", "s3cret")


@pytest.mark.parametrize(
    ("mechanism", "initial", "lines"),
    [
        ("PLAIN", encoded("\0crm\0s3cret"), []),
        ("PLAIN", encoded("crm\0crm\0s3cret"), []),
        ("PLAIN", None, [encoded("\0crm\0s3cret")]),
        ("LOGIN", None, [encoded("crm"), encoded("s3cret")]),
        ("LOGIN", encoded("crm"), [encoded("s3cret")]),
    ],
)
def test_a_claim_comes_out_of_every_form(
    mechanism: str, initial: str | None, lines: list[str]
) -> None:
    assert exchange(mechanism, initial, *lines) == CLAIM


@pytest.mark.parametrize(
    ("mechanism", "initial", "lines", "answer"),
    [
        ("CRAM-MD5", None, [], "504 5.5.4"),
        ("", None, [], "504 5.5.4"),
        ("PLAIN", None, ["*"], "501 5.7.0"),
        ("LOGIN", None, [encoded("crm"), "*"], "501 5.7.0"),
        ("PLAIN", "!!!", [], "501 5.5.2"),
        ("PLAIN", encoded("\0crm\0s3cret") + "\n", [], "501 5.5.2"),
        ("PLAIN", " " + encoded("\0crm\0s3cret"), [], "501 5.5.2"),
        ("PLAIN", encoded("\0crm\0s3cret")[:-1], [], "501 5.5.2"),
        ("PLAIN", encoded("\0crm\0s3cret") + "====", [], "501 5.5.2"),
        ("PLAIN", encoded(b"\0crm\0\xff"), [], "501 5.5.2"),
        ("PLAIN", "=", [], "501 5.5.2"),
        ("PLAIN", "", [], "501 5.5.2"),
        ("PLAIN", encoded("crm\0s3cret"), [], "501 5.5.2"),
        ("PLAIN", encoded("other\0crm\0s3cret"), [], "501 5.5.2"),
        ("PLAIN", encoded("\0crm\0s3\0cret"), [], "501 5.5.2"),
        ("PLAIN", encoded("\0\0s3cret"), [], "501 5.5.2"),
        ("PLAIN", encoded("\0crm\0"), [], "501 5.5.2"),
        ("PLAIN", encoded("\0" + "c" * 256 + "\0s"), [], "501 5.5.2"),
        ("PLAIN", encoded("\0c\0" + "s" * 1_025), [], "501 5.5.2"),
        ("LOGIN", None, [encoded("crm"), ""], "501 5.5.2"),
        ("LOGIN", None, [encoded("c\0m"), encoded("s")], "501 5.5.2"),
    ],
)
def test_what_is_not_a_claim_is_refused(
    mechanism: str, initial: str | None, lines: list[str], answer: str
) -> None:
    step = exchange(mechanism, initial, *lines)
    assert isinstance(step, Reply)
    assert f"{step.code} {step.enhanced}" == answer


def test_the_prompts_of_login_are_the_ones_that_clients_look_for() -> None:
    running = LoginExchange("LOGIN")
    assert running.start(None) == Challenge(b"334 VXNlcm5hbWU6\r\n")
    assert running.answer(encoded("crm").encode()) == Challenge(b"334 UGFzc3dvcmQ6\r\n")
    assert LoginExchange("PLAIN").start(None) == Challenge(b"334 \r\n")


def test_a_secret_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(CLAIM)
    assert "crm" not in repr(CLAIM)
