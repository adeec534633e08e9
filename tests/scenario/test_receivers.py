"""Receivers that greylist and that limit rates, and a node that knows how to be taken.

Oracle: the receivers of the sandbox, which count who came from which address and whom
they turned away.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakes.node_process import SERVE, NodeProcess, write_node
from fakes.submitting import Book, Letter, submit_all
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

pytestmark = pytest.mark.scenario

DEADLINE_S = 300.0
DOMAIN = "choosy.example"
#: Forgets where it has been seen.
FORGETFUL = (str(Path(__file__).with_name("forgetful_node.py")),)
GREYLIST_S = 1.0
LETTERS = 40
#: What the receiver takes from one address in two seconds, and what the node is told: at
#: most five of them, so that some may be held on their way and come together.
RATE_COUNT, RATE_WINDOW_S, LIMIT = 10, 2.0, "2/s burst 1"
THROTTLE = f'\n[[throttle]]\nlimit = "{LIMIT}"\nper = ["source", "domain"]\n'
SECOND_SOURCE = """
[[source]]
name = "second"
address = "127.0.0.3"
ehlo_name = "mta2.example.com"
"""


def write_two_sources(folder: Path, net: Internet, more: str = "") -> Path:
    """Write a node with two sending addresses in one pool."""
    settings = write_node(folder, nameserver=net.nameserver, smtp_port=net.smtp_port)
    setup = folder / "setup.toml"
    text = setup.read_text()
    for old, new in (
        (
            '[[source]]\nname = "main"\n',
            '[[source]]\nname = "main"\naddress = "127.0.0.2"\n',
        ),
        ("sources = { main = 1 }", "sources = { main = 1, second = 1 }"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    setup.write_text(text + SECOND_SOURCE + more)
    return settings


async def deliver(
    folder: Path,
    behaviour: Behaviour,
    *,
    more: str = "",
    command: Sequence[str] = SERVE,
) -> Internet:
    """Return the internet after all letters have arrived."""
    inbox = InboxSettings(verify_share=0)
    async with Internet([SandboxDomain(DOMAIN, behaviour)], inbox=inbox) as net:
        settings = write_two_sources(folder, net, more)
        letters = [Letter(f"n{n}", (f"n{n}@{DOMAIN}",)) for n in range(LETTERS)]
        async with NodeProcess(settings, command) as node, asyncio.timeout(DEADLINE_S):
            await submit_all(node.smtp, letters, Book())
            await net.inbox.wait_copies(LETTERS)
        assert net.inbox.totals.duplicates == 0
    return net


def sources_by_recipient(net: Internet) -> dict[str, set[str]]:
    """Return from which addresses each recipient was tried."""
    found = defaultdict(set)
    for visit in net.conduct.visits:
        found[visit.local_part].add(visit.source)
    return found


def test_greylisted_mail_comes_again_from_where_it_came_first(tmp_path: Path) -> None:
    net = asyncio.run(deliver(tmp_path, Behaviour(greylist_s=GREYLIST_S)))
    sources = sources_by_recipient(net)
    assert len(sources) == LETTERS
    assert {len(each) for each in sources.values()} == {1}
    assert set.union(*sources.values()) == {"127.0.0.2", "127.0.0.3"}, "one source only"
    assert min(net.conduct.visits.values()) >= 2, "nothing was greylisted"


def test_control_a_node_that_forgets_the_source_is_found_out(tmp_path: Path) -> None:
    net = asyncio.run(
        deliver(tmp_path, Behaviour(greylist_s=GREYLIST_S), command=FORGETFUL)
    )
    sources = sources_by_recipient(net)
    assert max(len(each) for each in sources.values()) == 2


@pytest.mark.parametrize("is_limited", [True, False], ids=["limited", "control"])
def test_a_throttle_keeps_below_a_receiver_s_rate(
    tmp_path: Path, is_limited: bool
) -> None:
    behaviour = Behaviour(rate_count=RATE_COUNT, rate_window_s=RATE_WINDOW_S)
    more = THROTTLE if is_limited else ""
    net = asyncio.run(deliver(tmp_path, behaviour, more=more))
    # Without a throttle the receiver has to turn mail away; it arrives all the same.
    assert (net.conduct.rate_limited == 0) is is_limited
