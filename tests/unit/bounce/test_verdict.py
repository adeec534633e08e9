"""What a reply means for a delivery."""

import pytest

from mailwright.attempt import Outcome
from mailwright.bounce.verdict import verdict_of
from mailwright.reply import Phase, Reply, local_reply


@pytest.mark.parametrize(
    ("reply", "outcome", "category"),
    [
        (Reply(250, "2.0.0", "ok", Phase.DOT), Outcome.DELIVERED, ""),
        (Reply(251, "", "will forward", Phase.DOT), Outcome.DELIVERED, ""),
        (Reply(450, "4.2.1", "later", Phase.RCPT), Outcome.RETRY, "inactive"),
        (Reply(452, "4.2.2", "full", Phase.RCPT), Outcome.RETRY, "mailbox_full"),
        (
            Reply(550, "5.1.1", "no such user", Phase.RCPT),
            Outcome.FAIL,
            "invalid_mailbox",
        ),
        (Reply(550, "", "no", Phase.DOT), Outcome.FAIL, "unknown"),
        (Reply(599, "", "?", Phase.DATA), Outcome.FAIL, "unknown"),
        # RFC 5321 §4.5.3.1.10: an old spelling of "too many recipients".
        (Reply(552, "", "too many", Phase.RCPT), Outcome.RETRY, "unknown"),
        (Reply(552, "5.2.2", "full", Phase.RCPT), Outcome.FAIL, "mailbox_full"),
        (Reply(552, "5.3.4", "big", Phase.MAIL), Outcome.FAIL, "message_too_large"),
        # Neither 2, 4 nor 5: nothing is concluded.
        (Reply(354, "", "go on", Phase.DOT), Outcome.RETRY, "unknown"),
        (
            local_reply(550, "5.1.2", "no such domain", Phase.CONNECT),
            Outcome.FAIL,
            "invalid_domain",
        ),
        (
            local_reply(556, "5.1.10", "null MX", Phase.CONNECT),
            Outcome.FAIL,
            "invalid_domain",
        ),
        (local_reply(451, "4.4.3", "DNS", Phase.CONNECT), Outcome.RETRY, "network"),
    ],
)
def test_a_reply_means(reply: Reply, outcome: Outcome, category: str) -> None:
    verdict = verdict_of(reply)
    assert (verdict.outcome, verdict.category) == (outcome, category)


@pytest.mark.parametrize(
    "phase", [Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.TLS, Phase.AUTH]
)
def test_a_remote_refusal_before_mail_never_ends_a_delivery(phase: Phase) -> None:
    assert verdict_of(Reply(554, "5.7.1", "listed", phase)).outcome is Outcome.REQUEUE


@pytest.mark.parametrize("phase", list(Phase))
def test_only_class_2_delivers_and_only_class_5_fails(phase: Phase) -> None:
    for code in range(200, 600):
        outcome = verdict_of(Reply(code, "", "", phase)).outcome
        assert (outcome is Outcome.DELIVERED) == (code < 300)
        assert outcome is not Outcome.FAIL or code >= 500
