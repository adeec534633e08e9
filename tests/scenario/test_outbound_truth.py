"""What is stored, signed and sent is one thing, as three other programs see it.

``make outbound`` does the same with ten thousand letters.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.dkim_judges import Judges
from mailwright.accounts.signing_keys import RSA_SHA256, DkimSecret
from mailwright.mta.dkim.signing import sign
from outbound import real_mail, rows
from outbound.differences import DIFFERENCES, known_refusals
from outbound.letters import DOMAIN
from outbound.truth import SELECTOR, published, signing_key

pytestmark = pytest.mark.scenario

LETTERS = 300


def test_the_wire_is_what_was_stored_and_signed(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    tally = asyncio.run(rows.truth(tmp_path, LETTERS))
    publish(f"outbound: {tally}")
    assert tally.messages == LETTERS
    assert min(tally.doors.values()) > LETTERS // 10
    assert tally.copies > LETTERS
    assert tally.is_good, tally.complaints


def test_a_node_that_signs_before_it_edits_is_caught_by_everyone(
    tmp_path: Path,
) -> None:
    tally = asyncio.run(rows.control(tmp_path))
    spoilt = tally.messages - tally.identical
    assert spoilt >= 5
    assert [tally.messages - count for count in tally.verified.values()] == [spoilt] * 3


def test_nobody_changes_a_signed_message_unseen(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    outcome = asyncio.run(rows.tampering(tmp_path, 3))
    publish(f"outbound: {outcome}")
    assert outcome.messages == 3
    assert outcome.is_good, outcome.complaints


def test_real_mail_is_refused_as_it_is_and_delivered_as_ours(
    tmp_path: Path, publish: Callable[[str], None]
) -> None:
    if not real_mail.mails():
        publish(f"outbound: {real_mail.NOT_RUN}")
        pytest.skip(real_mail.NOT_RUN)
    outcome = asyncio.run(rows.corpus(tmp_path))
    publish(f"outbound: {outcome}")
    for line in outcome.details():
        publish(f"    {line}")
    assert outcome.is_good, outcome.complaints


def test_the_judges_disagree_about_these_and_no_others(tmp_path: Path) -> None:
    key = DkimSecret(RSA_SHA256, DOMAIN, SELECTOR, signing_key())

    async def main() -> dict[str, list[str]]:
        contents = [
            sign(each.header, each.body, key, signed_at=1_767_323_045)
            + each.header
            + each.body
            for each in DIFFERENCES.values()
        ]
        async with Judges(tmp_path / "judges", published(), DOMAIN) as judges:
            return await judges.judge(contents)

    verdicts = asyncio.run(main())
    for place, (name, known) in enumerate(DIFFERENCES.items()):
        refused_by = {who for who, said in verdicts.items() if said[place]}
        assert refused_by == known.refused_by, name
        # Somebody holds with us, or it is us who are wrong.
        assert refused_by < verdicts.keys(), name
        if "Subject" not in name or "twice" in name:
            assert known_refusals(known.header + known.body) == refused_by, name
