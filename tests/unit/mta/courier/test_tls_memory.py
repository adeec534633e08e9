"""Failed handshakes are remembered for three days, also across restarts."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailwright.clock import ManualClock
from mailwright.mta.tls_memory import StoredTlsFailures
from mailwright.store.settings import StoreSettings
from mailwright.store.statements import unit
from mailwright.store.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_failed_handshake_is_remembered_across_a_restart_for_three_days(
    tmp_path: Path,
) -> None:
    async def start(now: datetime, *, learns: str = "") -> StoredTlsFailures:
        store = await Store.open(
            StoreSettings(tmp_path / "t.db", tmp_path, "n"), clock=ManualClock(now)
        )
        memory = StoredTlsFailures(store)
        await memory.load(now)
        if learns:
            memory.remember(learns, "handshake failure", now)
            assert memory.is_broken(learns, now)
            await store.run(unit())  # whatever was handed in before is stored
        await store.close()
        return memory

    async def scenario() -> None:
        await start(NOW, learns="mx.example.net")
        await start(NOW, learns="mx.example.net")  # once more: no second row
        later = NOW + timedelta(days=2, hours=23)
        assert (await start(later)).is_broken("mx.example.net", later)
        assert not (await start(later)).is_broken("mx2.example.net", later)
        over = NOW + timedelta(days=3, seconds=1)
        assert not (await start(over)).is_broken("mx.example.net", over)

    asyncio.run(scenario())
