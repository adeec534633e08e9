"""What the demo makes of the letters that receivers took."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from mailwright.sandbox.demo import examiner as module
from mailwright.sandbox.demo.content import Content
from mailwright.sandbox.demo.examiner import Examiner
from mailwright.sandbox.demo.ledger import Copy, Ledger
from mailwright.sandbox.demo.letters import Composed, Verbatim
from mailwright.sandbox.inbox import Inbox, InboxSettings, Letter, letter_of
from mailwright.sandbox.verification import Verification

KEPT = b"From: <a@shop.test>\r\n\r\nHello.\r\n"
EXPECTED = Verbatim(len(KEPT), hashlib.sha256(KEPT).digest())
GOOD = Verification("shop.test")
ANN = "ann@one.test"


def letter(
    ident: int, verification: Verification | None = GOOD, kept: bytes = KEPT
) -> Letter:
    content = f"Message-ID: <{ident}@shop.test>\r\n".encode() + kept
    made = letter_of(
        content,
        recipients=(ANN,),
        reverse_path="a@shop.test",
        source="127.1.0.1",
        is_tls=ident % 2 == 0,
        is_8bit_declared=False,
    )
    made.content = content
    made.verification = verification
    return made


def drive(scene: Callable[[Inbox, Ledger, Examiner], Awaitable[None]]) -> None:
    async def run() -> None:
        ledger = Ledger()
        inbox = Inbox(dict, InboxSettings(keep_content=True, verify_share=0))
        await scene(inbox, ledger, Examiner(inbox, ledger))

    asyncio.run(run())


def test_a_faithful_letter_is_entered_with_its_signer_and_forgotten() -> None:
    async def scene(inbox: Inbox, ledger: Ledger, examiner: Examiner) -> None:
        examiner.expect("<2@shop.test>", EXPECTED)
        taken = letter(2)
        inbox.letters.append(taken)
        await examiner.examine()
        assert ledger.signers == {Copy("<2@shop.test>", ANN): ["shop.test"]}
        assert taken.content is None
        found = examiner.found
        assert (found.copies, found.compared, found.altered) == (1, 1, [])
        assert (found.by_tls, found.sources) == (1, {"127.1.0.1": 1})

    drive(scene)


def test_an_altered_letter_is_named() -> None:
    async def scene(inbox: Inbox, ledger: Ledger, examiner: Examiner) -> None:
        examiner.expect("<1@shop.test>", EXPECTED)
        inbox.letters.append(letter(1, kept=KEPT.replace(b"Hello", b"Hullo")))
        await examiner.examine()
        text = "<1@shop.test>: octets differ from what was submitted"
        assert examiner.found.altered == [text]

    drive(scene)


def test_a_letter_waits_for_its_acknowledgement_and_its_verification() -> None:
    async def scene(inbox: Inbox, ledger: Ledger, examiner: Examiner) -> None:
        taken = letter(1, verification=None)
        inbox.letters.append(taken)
        await examiner.examine()
        assert examiner.found.compared == 0
        examiner.expect("<1@shop.test>", EXPECTED)
        await examiner.examine()
        assert examiner.found.compared == 1
        assert not ledger.signers
        taken.verification = Verification("", "broken")
        await examiner.examine()
        assert ledger.signers == {Copy("<1@shop.test>", ANN): [""]}

    drive(scene)


def test_letters_that_nobody_sent_are_entered_in_the_end() -> None:
    async def scene(inbox: Inbox, ledger: Ledger, examiner: Examiner) -> None:
        inbox.letters.append(letter(9))
        await examiner.examine()
        assert not ledger.signers
        await examiner.finish()
        assert ledger.signers == {Copy("<9@shop.test>", ANN): ["shop.test"]}
        assert examiner.found.copies == 1
        assert examiner.found.compared == 0

    drive(scene)


def test_only_so_many_composed_letters_are_parsed_and_all_are_entered() -> None:
    async def scene(inbox: Inbox, ledger: Ledger, examiner: Examiner) -> None:
        content = Content("a@shop.test", "", "", "Hello.\n")
        many = module.MAX_PARSED + 5
        for number in range(many):
            examiner.expect(f"<{number}@shop.test>", Composed(content))
            inbox.letters.append(letter(number))
        await examiner.examine()
        assert examiner.found.compared == module.MAX_PARSED
        assert not examiner.found.altered
        assert len(ledger.signers) == many

    drive(scene)
