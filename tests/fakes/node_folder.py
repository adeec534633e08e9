"""A node's folder with a real store, a setup file's values and the files they name."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailwright.accounts.bootstrap import apply_bootstrap
from mailwright.accounts.keyring import unlock
from mailwright.accounts.live import LiveSettings
from mailwright.clock import ManualClock
from mailwright.config.setup import SetupFile
from mailwright.store.settings import StoreSettings
from mailwright.store.store import Store

#: Occur in files only; a test that finds one anywhere else has found a leak.
CANARY_SECRET = "canary-secret-of-the-crm-0123456789"
CANARY_PASSWORD = "canary-password-of-the-smarthost"


@dataclass
class NodeFolder:
    """A state folder, a setup file's values and the files that they name."""

    folder: Path
    setup: dict[str, Any]
    clock: ManualClock = field(default_factory=ManualClock)

    @property
    def node_key(self) -> Path:
        return self.folder / "node.key"

    @property
    def database(self) -> Path:
        return self.folder / "node.db"

    @property
    def setup_file(self) -> SetupFile:
        return SetupFile.model_validate(self.setup)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        settings = StoreSettings(self.database, self.folder, "n1", readers=1)
        store = await Store.open(settings, clock=self.clock)
        try:
            yield store
        finally:
            await store.close()

    async def set_up(self, store: Store) -> LiveSettings:
        sealer = await unlock(store, self.node_key)
        await apply_bootstrap(store, self.setup_file, self.folder, sealer, self.clock)
        return await LiveSettings.load(store, sealer)

    def drive(self, body: Callable[[Store], Awaitable[None]]) -> None:
        """Run ``body`` on a store that is open and empty, or as it was left."""

        async def run() -> None:
            async with asyncio.timeout(120), self.store() as store:
                await body(store)

        asyncio.run(run())

    def drive_set_up(
        self, body: Callable[[Store, LiveSettings], Awaitable[None]]
    ) -> None:
        """Run ``body`` on a store with the setup file applied."""

        async def run(store: Store) -> None:
            await body(store, await self.set_up(store))

        self.drive(run)


def make_node_folder(folder: Path, rsa_pem: bytes, ed25519_pem: bytes) -> NodeFolder:
    """Write the files that :func:`setup_values` names and return them together."""
    (folder / "s1.pem").write_bytes(rsa_pem)
    (folder / "s2.pem").write_bytes(ed25519_pem)
    (folder / "crm.secret").write_text(f"{CANARY_SECRET}\n")
    (folder / "smarthost.password").write_text(f"{CANARY_PASSWORD}\r\n")
    return NodeFolder(folder, setup_values())


def setup_values() -> dict[str, Any]:
    """Return a setup file's values: two tenants, all kinds of everything."""
    return {
        "allowed_networks": ["127.0.0.0/8", "2001:db8::/32"],
        "tenant": [{"name": "acme"}, {"name": "rival"}],
        "source": [
            {"name": "ip1", "address": "192.0.2.1", "ehlo_name": "m1.example.com"},
            {"name": "ip2", "ehlo_name": "m2.example.com"},
        ],
        "pool": [
            {"name": "main", "sources": {"ip1": 3, "ip2": 1}, "overflow": "spare"},
            {"name": "spare", "sources": {"ip2": 1}},
        ],
        "stream": [
            {
                "tenant": "acme",
                "name": "receipts",
                "class": "transactional",
                "pool": "main",
            },
            {"tenant": "acme", "name": "news", "class": "bulk", "pool": "spare"},
            {
                "tenant": "rival",
                "name": "receipts",
                "class": "transactional",
                "pool": "spare",
            },
        ],
        "credential": [
            {
                "tenant": "acme",
                "name": "crm",
                "stream": "receipts",
                "secret_file": "crm.secret",
                "daily_quota": 5000,
            },
            {
                "tenant": "acme",
                "name": "printer",
                "stream": "news",
                "scopes": ["send"],
            },
            {
                "tenant": "rival",
                "name": "rival",
                "stream": "receipts",
                "sha256": "ab" * 32,
            },
        ],
        "sending_domain": [
            {
                "tenant": "acme",
                "domain": "example.com",
                "selector": "s1",
                "key_file": "s1.pem",
                "proof": "operator",
                "extra_keys": [{"selector": "s2", "key_file": "s2.pem"}],
            },
            {
                "tenant": "rival",
                "domain": "rival.example",
                "return_path_domain": "b.rival.example",
                "selector": "r1",
                "key_file": "s1.pem",
                "proof": "dns",
            },
        ],
        "route": [
            {
                "domain": "*",
                "next_hop": "smart.example.net:587",
                "tls": "required",
                "login": "acme",
                "password_file": "smarthost.password",
            },
            {
                "domain": "lan.example",
                "next_hop": "[::1]:2525",
                "tls": "none",
                "pipelining": "transactions",
            },
        ],
        "throttle": [
            {
                "name": "receipts",
                "limit": "50/s burst 100",
                "tenant": "acme",
                "stream": "receipts",
                "credential": "crm",
            },
            {"limit": "5000/h burst 50", "per": ["source", "provider"]},
            {"limit": "700/day", "source": "ip1", "reason": "a young address"},
        ],
        "provider": [
            {
                "name": "google",
                "tls": "required",
                "retry": ["10m", "1h"],
                "per_source": {"connections": 4},
                "overall": {"throttles": ["90/min", "2000/h"]},
            },
        ],
    }
