"""Whatever a receiver answers and whenever the node dies: at least once, in order."""

import asyncio
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.hooking import InMemoryPoster, hooking
from mailwright.api.webhooks.schedule import Result

#: What may come of an attempt: a status, or a death before it is noted.
DIES = -1
ATTEMPTS = st.lists(
    st.sampled_from([200, 200, 200, 204, 500, 429, 302, 0, DIES]), max_size=25
)


class KilledError(Exception):
    """The process is gone."""


async def _dies(*_: object) -> None:
    raise KilledError


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 130), min_size=1, max_size=5), ATTEMPTS)
def test_each_event_arrives_and_only_whole_batches_are_repeated(
    portions: list[int], attempts: list[int]
) -> None:
    poster = InMemoryPoster()

    async def run(folder: Path) -> None:
        async with hooking(folder, poster=poster) as rig:
            entry, _ = await rig.create("http://127.0.0.1:9/")
            public = entry.endpoint.public
            for portion, status in itertools.zip_longest(portions, attempts):
                await rig.happen(portion or 0)
                if status is None:
                    continue
                poster.results = [Result(200 if status == DIES else status)]
                due_at = entry.endpoint.next_attempt_at
                if due_at is not None and due_at > rig.clock.now():
                    rig.clock.advance((due_at - rig.clock.now()).total_seconds())
                if not entry.endpoint.state.is_live:
                    await rig.door.resume(entry)
                if status == DIES:
                    rig.door.delivery._settle = _dies  # type: ignore[method-assign]
                try:
                    await rig.door.delivery.step(entry)
                except KilledError:
                    await rig.restart()
                    entry = rig.door.entry(entry.endpoint.tenant, public)
                rig.door.delivery.__dict__.pop("_settle", None)
            poster.results = []
            await rig.deliver(entry)
            check(rig.ids())

    def check(wanted: list[str]) -> None:
        names: dict[str, list[str]] = {}
        arrived: list[list[str]] = []
        for _, name, ids, is_taken in poster.sent:
            assert names.setdefault(name, ids) == ids
            if is_taken and (not arrived or arrived[-1] != ids):
                arrived.append(ids)
        # Whole batches, each in its turn; one that was repeated came again as it was.
        assert [each for ids in arrived for each in ids] == wanted

    with TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
