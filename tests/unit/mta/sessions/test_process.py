"""What a process prepares beside its loop goes there together."""

from collections.abc import Sequence

import pytest

from fakes.session_rig import campaign_parcel, parcel
from mailwright.attempt import End, Parcel
from mailwright.mta.preparing import Preparer
from mailwright.mta.sessions import process
from mailwright.mta.sessions.process import OwnWorkers
from mailwright.mta.sessions.ready import OnReady, Outcome, Refused
from mailwright.reply import Phase, local_reply


class Thread:
    """Notes what it is to prepare, and does it when told."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], bool]] = []
        self._on_ready: OnReady = lambda _: None
        self._parcels: Sequence[Parcel] = ()

    def prepare(
        self, parcels: Sequence[Parcel], *, has_8bitmime: bool, on_ready: OnReady
    ) -> None:
        self.asked.append(([each.delivery for each in parcels], has_8bitmime))
        self._parcels, self._on_ready = parcels, on_ready

    def finish(self) -> None:
        self._on_ready([outcome_of(each) for each in self._parcels])


def outcome_of(each: Parcel) -> Outcome:
    reply = local_reply(451, "4.3.0", str(each.delivery), Phase.DATA)
    return Refused(End.UNSIGNABLE, reply)


class NoKeys:
    def keys_for(self, *_: object) -> str:
        return "no key"


def scene() -> tuple[OwnWorkers, Thread]:
    thread = Thread()
    return OwnWorkers(Preparer(NoKeys()), thread), thread  # type: ignore[arg-type] # as it is used


def test_what_waits_goes_together_and_each_gets_its_own() -> None:
    workers, thread = scene()
    told: dict[str, list[str]] = {}
    for name, numbers in (("a", (1, 2)), ("b", (3,)), ("c", (4, 5))):
        workers.prepare(
            [campaign_parcel(number) for number in numbers],
            has_8bitmime=True,
            on_ready=lambda made, name=name: told.update(
                {name: [each.reply.text for each in made]}
            ),
        )
    assert thread.asked == [([1, 2], True)]
    thread.finish()
    assert thread.asked[1:] == [([3, 4, 5], True)]
    assert told == {"a": ["1", "2"]}
    thread.finish()
    assert told == {"a": ["1", "2"], "b": ["3"], "c": ["4", "5"]}
    assert len(thread.asked) == 2


@pytest.mark.parametrize("apart", ["8bitmime", "many", "large"])
def test_what_does_not_fit_waits_for_the_next_time(
    monkeypatch: pytest.MonkeyPatch, apart: str
) -> None:
    monkeypatch.setattr(process, "TOGETHER", 3)
    monkeypatch.setattr(process, "LARGE_OCTETS", 100)
    workers, thread = scene()
    second = campaign_parcel(2)
    if apart == "large":
        second = parcel(2, b"text\r\n" * 100)
    batches: list[tuple[list[Parcel], bool]] = [
        ([campaign_parcel(1)], True),
        ([second], True),
        (
            [campaign_parcel(n) for n in ((3, 4, 5) if apart == "many" else (3,))],
            apart != "8bitmime",
        ),
    ]
    for parcels, has_8bitmime in batches:
        workers.prepare(parcels, has_8bitmime=has_8bitmime, on_ready=lambda _: None)
    for _ in batches:
        thread.finish()
    assert [numbers for numbers, _ in thread.asked] == [
        [each.delivery for each in parcels] for parcels, _ in batches
    ]


def test_other_mail_is_prepared_at_once() -> None:
    workers, thread = scene()
    made: list[Outcome] = []
    workers.prepare([campaign_parcel(1)], has_8bitmime=True, on_ready=made.extend)
    workers.prepare([parcel(2)], has_8bitmime=True, on_ready=made.extend)
    assert len(made) == 1
    assert thread.asked == [([1], True)]
