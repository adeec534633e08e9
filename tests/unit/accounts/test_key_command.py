"""``mailwright key`` on a node's folder, in this process."""

import hashlib
import json
import logging
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailwright.cli.main import command_line
from mailwright.daemon.state import StateFolderError, prepare_folder, supplied_node_key
from mailwright.store.lock import LOCK_NAME, NodeLock

app = command_line()

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

[[credential]]
tenant = "acme"
name = "printer"
stream = "receipts"
scopes = ["send"]
"""
NODE = """
name = "n1"
hostname = "mta1.example.com"
state_dir = "state"
bootstrap = "setup.toml"
"""


class Commands:
    """Runs the command line and keeps what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "node.toml"
        self.settings.write_text(NODE)
        (folder / "setup.toml").write_text(SETUP)
        self.out = self.err = ""

    def __call__(self, *words: str) -> int:
        arguments = ["key", *words, "--settings", str(self.settings)]
        result = CliRunner().invoke(app, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        self.out, self.err = result.stdout, result.stderr
        return result.exit_code

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        database = sqlite3.connect(self.folder / "state" / "mailwright.db")
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()


@pytest.fixture
def key(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_create_works_before_the_node_has_ever_run(key: Commands) -> None:
    assert key("create", "app", "--tenant", "acme", "--stream", "receipts") == 0

    secret = key.out.strip()
    assert secret.startswith("mw_app_")
    assert "not shown again" in key.err
    assert secret not in key.err
    digest = hashlib.sha256(secret.encode()).digest()
    assert key.rows(
        "SELECT secret_hash, scopes FROM credentials WHERE name = 'app'"
    ) == [(digest, "control read send")]
    assert key.rows("SELECT version, author FROM settings_log")[0] == (1, "bootstrap")
    [(author,)] = key.rows("SELECT author FROM settings_log WHERE version = 2")
    assert str(author).startswith("cli:")


def test_a_secret_is_shown_once_and_is_nowhere_else(
    key: Commands, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key("create", "app", "--tenant", "acme", "--stream", "receipts", "--json")
    created = json.loads(key.out)
    assert created["name"] == "app"
    token = created["secret"].removeprefix("mw_app_").encode()

    key("list", "--json")

    assert token.decode() not in key.out + key.err + caplog.text
    octets = b"".join(
        path.read_bytes()
        for path in (key.folder / "state").rglob("*")
        if path.is_file()
    )
    assert b"mta1.example.com" in octets, "the control: it does see what is there"
    assert token not in octets


def test_a_credential_is_made_with_its_limits(key: Commands) -> None:
    made = key(
        *("create", "crm", "--tenant", "acme", "--stream", "receipts"),
        *("--hourly-limit", "1000", "--daily-quota", "5000", "--backlog-limit", "9"),
    )
    assert made == 0, key.err
    assert key("list", "--json") == 0
    [crm] = [
        each for each in json.loads(key.out)["credentials"] if each["name"] == "crm"
    ]
    assert (crm["hourly_limit"], crm["daily_quota"], crm["backlog_limit"]) == (
        *(1000, 5000),
        9,
    )
    assert key("list") == 0
    assert "1000 an" in key.out
    assert key.rows(
        "SELECT hourly_limit, daily_quota, backlog_limit FROM credentials "
        "WHERE name = 'crm'"
    ) == [(1000, 5000, 9)]


def test_limits_are_counts_and_no_part_of_a_new_secret(key: Commands) -> None:
    what = ("create", "crm", "--tenant", "acme", "--stream", "receipts")
    assert key(*what, "--daily-quota", "0") == 2
    assert key(*what, "--daily-quota", "9" * 30) == 1
    assert "daily_quota" in key.err or "less than" in key.err
    assert key("create", "printer", "--rotate", "--daily-quota", "7") == 1
    assert "leave out --daily-quota" in key.err
    # One that a setup file made keeps what the file says: no limit comes by the way.
    assert key("create", "printer", "--daily-quota", "7") == 1
    assert "it exists" in key.err


def test_list_shows_who_has_a_secret(key: Commands) -> None:
    key("create", "app", "--tenant", "acme", "--stream", "receipts", "--scopes", "read")

    assert key("list", "--json") == 0

    assert json.loads(key.out) == {
        "credentials": [
            {
                "name": "app",
                "tenant": "acme",
                "stream": "receipts",
                "scopes": ["read"],
                "has_secret": True,
                "hourly_limit": None,
                "daily_quota": None,
                "backlog_limit": None,
            },
            {
                "name": "printer",
                "tenant": "acme",
                "stream": "receipts",
                "scopes": ["send"],
                "has_secret": False,
                "hourly_limit": None,
                "daily_quota": None,
                "backlog_limit": None,
            },
        ]
    }
    assert key("list") == 0
    assert "named networks only" in key.out


def test_rotate_gives_an_existing_credential_a_new_secret(key: Commands) -> None:
    assert key("create", "printer", "--rotate") == 0
    first = key.out.strip()
    assert key("create", "printer", "--rotate") == 0
    second = key.out.strip()

    assert first != second
    assert key.rows("SELECT secret_hash FROM credentials") == [
        (hashlib.sha256(second.encode()).digest(),)
    ]


def test_a_credential_without_a_secret_gets_its_first_one(key: Commands) -> None:
    assert key("create", "printer") == 0
    assert key.out.startswith("mw_printer_")
    assert key("create", "printer") == 1
    assert "add --rotate" in key.err


def test_a_revoked_credential_is_gone_and_its_name_is_used_up(key: Commands) -> None:
    assert key("revoke", "printer") == 0
    assert key("list", "--json") == 0
    assert json.loads(key.out) == {"credentials": []}
    assert key("revoke", "printer", "--json") == 1
    assert key("create", "printer", "--rotate") == 1
    assert key("create", "printer", "--tenant", "acme", "--stream", "receipts") == 1
    assert "was revoked" in key.err


def test_a_wrong_request_says_what_would_be_right(key: Commands) -> None:
    here = ("--tenant", "acme", "--stream", "receipts")
    cases = {
        ("app", "--tenant", "acne", "--stream", "receipts"): "did you mean acme?",
        ("app", "--tenant", "acme", "--stream", "news"): "there are: receipts",
        ("app", "--stream", "receipts"): "add --tenant; there are: acme",
        ("app", "--tenant", "acme"): "add --stream; there are: receipts",
        ("A B", *here): "a name is up to 63",
        ("printer", *here): "add --rotate",
        ("printre", "--rotate"): "did you mean printer?",
        ("printer", "--rotate", "--tenant", "acme"): "changes only the secret",
        ("app", *here, "--scopes", "root"): "there are: control, manage, operate, ",
        ("app", *here, "--scopes", ","): "--scopes names none",
    }
    for words, said in cases.items():
        assert key("create", *words) == 1, words
        assert said in key.err
        assert key.out == ""


def test_wrong_settings_exit_2_and_start_nothing(key: Commands) -> None:
    key.settings.write_text(NODE.replace("bootstrap", "bootstrab"))
    assert key("list") == 2
    assert "bootstrab" in key.err
    assert "bootstrap" in key.err
    key.settings.write_text(NODE.replace('bootstrap = "setup.toml"', ""))
    assert key("list") == 2
    assert "bootstrap" in key.err
    key.settings.unlink()
    assert key("list") == 2


def test_a_foreign_or_lost_node_key_exits_2(key: Commands) -> None:
    assert key("list") == 0
    node_key = key.folder / "state" / "node.key"
    node_key.write_bytes(bytes(32))
    assert key("list") == 2
    assert "not the one" in key.err
    node_key.unlink()
    assert key("list") == 2
    assert "missing" in key.err


def test_while_a_node_runs_it_says_what_to_do(key: Commands) -> None:
    assert key("list") == 0
    with NodeLock([key.folder / "state" / LOCK_NAME]):
        assert key("list") == 1
    assert "the node is running" in key.err
    assert "stop it" in key.err
    assert "operator's door" in key.err
    assert key("list") == 0


def test_a_state_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "state")
    assert (tmp_path / "a" / "state").stat().st_mode & 0o777 == 0o700


def test_a_state_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    with pytest.raises(StateFolderError, match=f"sudo -u '#{owner}'"):
        prepare_folder(tmp_path)


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateFolderError, match="cannot be used"):
        prepare_folder(tmp_path / "file" / "state")


def test_the_service_managers_key_is_found(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert supplied_node_key({}) is None
    assert supplied_node_key(environ) is None
    (tmp_path / "node.key").touch()
    assert supplied_node_key(environ) == tmp_path / "node.key"
