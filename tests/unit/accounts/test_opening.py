from pathlib import Path

import pytest

from fakes.node_folder import NodeFolder
from mailwright.accounts.loading import load_directory, load_version
from mailwright.accounts.opening import NotSetUpError, open_settings
from mailwright.accounts.sealing import NodeKeyError
from mailwright.config.node import NodeSettings
from mailwright.config.problems import SettingsError
from mailwright.store.store import Store

SETUP = """
[[tenant]]
name = "acme"

[[source]]
name = "ip1"
ehlo_name = "mta1.example.com"

[[pool]]
name = "main"
sources = { ip1 = 1 }

[[stream]]
tenant = "acme"
name = "receipts"
class = "transactional"
pool = "main"

[[sending_domain]]
tenant = "acme"
domain = "example.com"
selector = "s1"
key_file = "s1.pem"
proof = "operator"
"""


def settings(node: NodeFolder, bootstrap: str | None = "setup.toml") -> NodeSettings:
    return NodeSettings(
        name="n1",
        hostname="mta1.example.com",
        state_dir=node.folder,
        bootstrap=None if bootstrap is None else node.folder / bootstrap,
    )


def test_an_empty_database_is_set_up_and_later_starts_find_it(
    node: NodeFolder,
) -> None:
    (node.folder / "setup.toml").write_text(SETUP)

    async def first(store: Store) -> None:
        live = await open_settings(store, settings(node), node.clock)
        domain = live.directory().sending_domains["example.com"]
        assert live.keys.dkim_key(domain.id, "s1") is not None

    async def later(store: Store) -> None:
        live = await open_settings(store, settings(node), node.clock)
        assert live.directory().version == 1
        assert "example.com" in live.directory().sending_domains

    node.drive(first)
    (node.folder / "setup.toml").unlink()
    (node.folder / "s1.pem").unlink()
    node.drive(later)


def test_an_empty_database_without_a_setup_file_is_left_empty(
    node: NodeFolder,
) -> None:
    async def body(store: Store) -> None:
        with pytest.raises(NotSetUpError, match="bootstrap ="):
            await open_settings(store, settings(node, None), node.clock)
        assert await load_version(store) == 0
        assert not node.node_key.exists()

    node.drive(body)
    # So a setup file that is named later is still taken.
    (node.folder / "setup.toml").write_text(SETUP)

    async def again(store: Store) -> None:
        live = await open_settings(store, settings(node), node.clock)
        assert live.directory().version == 1

    node.drive(again)


@pytest.mark.parametrize("text", [None, "no toml", "[[tenant]]\nnam = 'x'"])
def test_a_wrong_setup_file_leaves_nothing_behind(
    node: NodeFolder, text: str | None
) -> None:
    if text is not None:
        (node.folder / "setup.toml").write_text(text)

    async def body(store: Store) -> None:
        with pytest.raises(SettingsError):
            await open_settings(store, settings(node), node.clock)
        assert not (await load_directory(store)).tenants
        assert not node.node_key.exists()

    node.drive(body)


def test_a_supplied_key_is_the_one_that_counts(
    node: NodeFolder, tmp_path: Path
) -> None:
    (node.folder / "setup.toml").write_text(SETUP)
    supplied = tmp_path / "supplied.key"
    supplied.write_bytes(bytes(range(32)))
    supplied.chmod(0o400)

    async def first(store: Store) -> None:
        await open_settings(store, settings(node), node.clock, supplied_key=supplied)
        assert not node.node_key.exists()

    async def without(store: Store) -> None:
        with pytest.raises(NodeKeyError):
            await open_settings(store, settings(node), node.clock)

    node.drive(first)
    node.drive(without)
