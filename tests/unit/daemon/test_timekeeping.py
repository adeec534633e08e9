"""A clock that is not believed is seen everywhere, and a person settles it."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes.node_process import write_node
from fakes.scripted_receiver import Behaviour
from fakes.threaded_node import threaded_node
from mailwright.cli.main import command_line
from mailwright.clock import ClockTrust, ManualClock
from mailwright.daemon.timekeeping import Timekeeping
from mailwright.daemon.vitals import Vitals

START = datetime(2026, 3, 1, tzinfo=UTC)


def keeping() -> tuple[Timekeeping, ClockTrust, Vitals, list[str]]:
    told: list[str] = []

    async def reconsider() -> None:
        told.append("reconsider")

    trust, vitals = ClockTrust(), Vitals()
    clock = ManualClock(START)
    return Timekeeping(clock, trust, vitals, reconsider), trust, vitals, told


def test_settling_says_who_and_why_and_lets_others_ask_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    time, trust, vitals, told = keeping()
    time.judge_start(START - timedelta(days=9), has_mail=True)
    assert trust.is_suspect
    assert vitals.is_clock_suspect
    suspicion = time.state().suspicion
    assert suspicion == "mail is queued and the last event is 9 days, 0:00:00 old"
    assert time.notices() == [f"the clock is suspect: {suspicion}"]

    with caplog.at_level(logging.WARNING):
        after = asyncio.run(time.settle("cli:root", "it was off for a week"))

    assert after.suspicion is None
    assert not vitals.is_clock_suspect
    assert time.notices() == []
    assert after.settled is not None
    assert (after.settled.author, after.settled.at) == ("cli:root", START)
    assert after.settled.suspicion == suspicion
    assert told == ["reconsider"]
    assert "settled by cli:root" in caplog.text
    assert "it was off for a week" in caplog.text


def test_settling_a_clock_that_is_believed_does_nothing() -> None:
    time, _, _, told = keeping()
    time.judge_start(START, has_mail=True)
    assert asyncio.run(time.settle("cli:root", "why not")).settled is None
    assert told == []


def test_a_suspicion_that_ends_by_itself_lets_others_ask_again() -> None:
    time, trust, _, told = keeping()
    trust.compared(timedelta(days=1))
    asyncio.run(time.look())
    assert told == []
    trust.compared(timedelta(0))
    asyncio.run(time.look())
    assert told == ["reconsider"]


def test_an_operator_settles_the_clock_of_a_running_node(tmp_path: Path) -> None:
    """Until then every place says why nothing expires."""
    later = Behaviour(replies={"RCPT": b"450 4.2.0 later\r\n"})
    with threaded_node(tmp_path, later) as node:
        trust = node.node.node.out.trust
        shown = node.run("clock", "show")
        assert shown.status == 0
        assert "it is believed" in shown.out

        async def doubt() -> None:
            trust.start(START, START - timedelta(days=2), has_mail=True)

        node.await_(doubt())
        node.submit("a@there.example")

        shown = node.run("clock", "show")
        assert shown.status == 1
        assert "NOT BELIEVED: mail is queued and the last event is 2 days" in shown.out
        assert "the clock is suspect" in node.run("explain", "there.example").out
        ready = node.await_(node.node.http.get("/readyz")).json()
        assert ready["status"] == "ready"
        assert "the clock is suspect" in ready["notices"][0]

        settled = json.loads(
            node.run("clock", "settle", "--reason", "I looked", "--json").out
        )
        assert settled["suspicion"] is None
        assert settled["settled"]["author"].startswith("cli:")
        assert settled["settled"]["reason"] == "I looked"
        assert not trust.is_suspect
        assert "mailwright_clock_suspect 0.0" in node.await_(node.node.metrics())
        assert "clock is suspect" not in node.run("explain", "there.example").out
        shown = node.run("clock", "show")
        assert shown.status == 0
        assert "I looked" in shown.out


def test_without_a_node_there_is_no_clock_to_settle(tmp_path: Path) -> None:
    settings = write_node(tmp_path)
    result = CliRunner().invoke(
        command_line(["clock"]), ["clock", "settle", "--settings", str(settings)]
    )
    assert result.exit_code == 1
    assert result.stderr == "the node does not run; start it first\n"
