"""Whatever setup files are applied in whatever order: what is in force is what the last
one says, applying it or its export again changes nothing, and a name keeps its id."""

import tempfile
import tomllib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.node_folder import NodeFolder
from mailwright.accounts.changes import Authorship
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.secret_files import read_secret_files
from mailwright.accounts.settings.administration import Administration
from mailwright.accounts.settings.document import document_after, format_document
from mailwright.accounts.settings.present import Inventory, read_inventory
from mailwright.accounts.settings.records import records_of
from mailwright.config.setup import SetupFile
from mailwright.store.store import Store

PEM = Ed25519PrivateKey.generate().private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)
TENANTS = ("acme", "rival")


@st.composite
def setups(draw: st.DrawFn) -> dict[str, Any]:
    """Return a setup file's values: any part of a small world."""
    tenants = [name for name in TENANTS if draw(st.booleans())]
    pools = draw(st.sampled_from([["main"], ["main", "spare"], ["spare", "main"]]))
    weights = {name: draw(st.integers(1, 3)) for name in pools}
    streams = [
        {
            "tenant": tenant,
            "name": name,
            "class": draw(st.sampled_from(["bulk", "transactional"])),
            "pool": draw(st.sampled_from(pools)),
        }
        for tenant in tenants
        for name in draw(st.sampled_from([["news"], ["news", "offers"]]))
    ]
    credentials = [
        {
            "tenant": stream["tenant"],
            "name": f"{stream['tenant']}.{stream['name']}",
            "stream": stream["name"],
            "scopes": draw(st.sampled_from([["send"], ["read", "send"]])),
        }
        | draw(st.sampled_from([{}, {"daily_quota": 5}, {"hourly_limit": 7}]))
        | draw(st.sampled_from([{}, {"sha256": "ab" * 32}]))
        for stream in streams
        if draw(st.booleans())
    ]
    domains = []
    if tenants and draw(st.booleans()):
        selectors = draw(st.sampled_from([["s1"], ["s2"], ["s1", "s2"], ["s2", "s1"]]))
        primary, *extra = selectors
        domains.append(
            {
                "tenant": draw(st.sampled_from(tenants)),
                "domain": "example.com",
                "proof": draw(st.sampled_from(["dns", "operator"])),
                "selector": primary,
                "key_file": "key.pem",
                "extra_keys": [
                    {
                        "selector": each,
                        "key_file": "key.pem",
                        "signs": draw(st.booleans()),
                    }
                    for each in extra
                ],
            }
        )
    routes = [
        {"domain": "*", "next_hop": f"127.0.0.1:{draw(st.integers(1, 9))}"}
        | draw(
            st.sampled_from(
                [{}, {"login": "x", "password_file": "password", "tls": "required"}]
            )
        )
        for _ in range(draw(st.integers(0, 1)))
    ]
    throttles = draw(
        st.lists(
            st.sampled_from(
                [
                    {"limit": "20/min", "per": ["tenant", "provider"]},
                    {"limit": "9/min", "per": ["provider", "tenant"]},
                    {"limit": "5000/h burst 50", "source": "ip1"},
                    {"limit": "700/day", "provider": "google", "reason": "agreed"},
                    {"name": "all", "limit": "1/s"},
                    {"name": "all", "limit": "50/day", "per": ["domain"]},
                ]
            ),
            unique_by=lambda each: (
                (
                    each.get("name"),
                    each["limit"].partition("/")[2][:3],
                    *sorted(each.get("per", ())),
                )
                if "name" not in each
                else "all"
            ),
        )
    )
    if tenants and draw(st.booleans()):
        throttles.append({"limit": "3/s", "tenant": tenants[0], "stream": "news"})
    providers = draw(
        st.lists(
            st.sampled_from(
                [
                    {"name": "google", "tls": "required", "retry": ["5m", "1h"]},
                    {"name": "google", "overall": {"throttles": [], "connections": 3}},
                    {"name": "default", "per_source_and_site": {"throttles": ["9/h"]}},
                ]
            ),
            unique_by=lambda each: each["name"],
        )
    )
    return {
        "throttle": throttles,
        "provider": providers,
        "allowed_networks": draw(st.sampled_from([[], ["10.0.0.0/8"]])),
        "tenant": [{"name": each} for each in tenants],
        "source": [{"name": "ip1", "ehlo_name": "m.example.com"}],
        "pool": [
            {"name": name, "sources": {"ip1": weight}}
            for name, weight in weights.items()
        ],
        "stream": streams,
        "credential": credentials,
        "sending_domain": domains,
        "route": routes,
    }


@settings(max_examples=15, deadline=None)
@given(st.lists(setups(), min_size=2, max_size=5))
def test_the_last_file_is_in_force_and_names_keep_their_ids(
    files: list[dict[str, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key.pem").write_bytes(PEM)
        (folder / "password").write_text("a-password")
        node = NodeFolder(folder, files[0])

        async def body(store: Store, live: LiveSettings) -> None:
            administration = Administration(store, live)
            by = Authorship("tester", "", node.clock.now())
            ids: dict[tuple[str, ...], int] = {}
            for values in files:
                setup = SetupFile.model_validate(values)
                secrets = read_secret_files(setup, folder)
                await administration.apply(setup, secrets, by)

                again = await administration.apply(setup, secrets, by)
                assert again.changes == ()
                exported = await administration.document()
                sent = tomllib.loads(format_document(exported))
                kept = SetupFile.model_validate(sent)
                back = await administration.apply(
                    kept, read_secret_files(kept, folder), by
                )
                assert back.changes == ()

                wanted = records_of(setup, secrets)
                inventory = await read_inventory(store)
                said = document_after(wanted, Inventory(0, inventory.items))
                assert said == {
                    key: value for key, value in exported.items() if key != "base"
                }
                for ref, each in inventory.items.items():
                    key = (ref.kind.value, *ref.names)
                    assert ids.setdefault(key, each.row) == each.row
                assert live.directory().version == inventory.version

        node.drive_set_up(body)
