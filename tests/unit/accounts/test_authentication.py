import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.node_folder import NodeFolder
from mailwright.accounts.authentication import (
    MAX_SECRET_OCTETS,
    Authenticator,
    hash_secret,
    make_secret,
    name_in_key,
)
from mailwright.accounts.directory import Credential, Directory, Scope
from mailwright.accounts.guesses import Allowance, GuessLimiter, GuessLimits
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.logins import Denied, Logins, SmtpLogins
from mailwright.clock import ManualClock
from mailwright.ids import CredentialId, StreamId, TenantId
from mailwright.reply import Reply
from mailwright.store.store import Store

#: Fixed, so that tests have the same names in every process.
CRM_SECRET = "mw_crm_eu.1_" + "a2" * 16
CRM_HASH = hash_secret(CRM_SECRET)
OWNER_IP = "198.51.100.7"


def _credential(name: str, secret_hash: bytes | None) -> Credential:
    return Credential(
        CredentialId(1),
        TenantId(1),
        name,
        secret_hash,
        frozenset({Scope.SEND}),
        StreamId(1),
    )


CRM = _credential("crm_eu.1", CRM_HASH)
PRINTER = _credential("printer", None)


def _directory(*credentials: Credential) -> Directory:
    return Directory(
        version=1,
        tenants={},
        credentials={each.name: each for each in credentials},
        credentials_by_id={},
        sending_domains={},
        sending_domains_by_id={},
        streams={},
        streams_by_name={},
        pools={},
        pools_by_name={},
        sources={},
        routes={},
    )


@dataclass
class Counted:
    """Hashes and counts; an authenticator over the two credentials above."""

    hashes: int = 0
    authenticator: Authenticator = field(init=False)

    def __post_init__(self) -> None:
        directory = _directory(CRM, PRINTER)
        self.authenticator = Authenticator(lambda: directory, self._hash)

    def _hash(self, text: str) -> bytes:
        self.hashes += 1
        return hash_secret(text)


@pytest.mark.parametrize("name", ["crm", "a", "crm_eu.1", "a_b_c", "x" * 63])
def test_a_secret_names_its_credential_and_has_160_bits(name: str) -> None:
    text, digest = make_secret(name)

    token = text.removeprefix(f"mw_{name}_")
    assert re.fullmatch(r"[a-z2-7]{32}", token)
    assert len(base64.b32decode(token.upper())) * 8 == 160
    assert digest == hashlib.sha256(text.encode()).digest()
    assert name_in_key(text) == name
    assert make_secret(name)[0] != text


@pytest.mark.parametrize("name", ["", "Crm", "a b", "-a", "a-", "a\n", "ü", "x" * 64])
def test_a_name_that_no_credential_can_have_gets_no_secret(name: str) -> None:
    with pytest.raises(ValueError, match="not a credential's name"):
        make_secret(name)


@given(st.text(max_size=60))
def test_any_text_as_a_key_belongs_to_nobody(text: str) -> None:
    authenticator = Counted().authenticator
    assert authenticator.authenticate_key(text) is None
    assert authenticator.authenticate_key(f"mw_crm_eu.1_{text}") is None
    assert authenticator.authenticate(text, text) is None


def test_the_right_secret_is_let_in_by_both_ways() -> None:
    authenticator = Counted().authenticator
    assert authenticator.authenticate("crm_eu.1", CRM_SECRET) is CRM
    assert authenticator.authenticate_key(CRM_SECRET) is CRM


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("crm_eu.1", CRM_SECRET[:-1]),
        ("crm_eu.1", CRM_SECRET + "a"),
        ("crm_eu.1", CRM_SECRET.upper()),
        ("crm_eu.1", ""),
        ("CRM_EU.1", CRM_SECRET),
        ("printer", CRM_SECRET),
        ("printer", ""),
        ("nobody", CRM_SECRET),
        ("", ""),
        ("crm_eu.1", "\ud800"),
    ],
)
def test_anything_else_is_refused_with_the_same_work(name: str, secret: str) -> None:
    counted = Counted()

    assert counted.authenticator.authenticate(name, secret) is None

    assert counted.hashes == 1


def test_known_and_unknown_names_are_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    authenticator = Counted().authenticator
    for name in ("crm_eu.1", "printer", "nobody"):
        authenticator.authenticate(name, "wrong")

    assert compared == [(32, 32)] * 3


def test_a_text_longer_than_any_secret_is_not_hashed() -> None:
    counted = Counted()
    for name in ("crm_eu.1", "nobody"):
        secret = "x" * (MAX_SECRET_OCTETS + 1)
        assert counted.authenticator.authenticate(name, secret) is None
    assert counted.hashes == 0


def test_a_listener_open_to_networks_finds_its_credential() -> None:
    authenticator = Counted().authenticator
    assert authenticator.for_network("printer") is PRINTER
    assert authenticator.for_network("nobody") is None


def test_a_credential_is_refused_as_soon_as_the_directory_lacks_it() -> None:
    current = _directory(CRM)
    authenticator = Authenticator(lambda: current)
    assert authenticator.authenticate("crm_eu.1", CRM_SECRET) is CRM
    current = replace(current, credentials={})
    assert authenticator.authenticate("crm_eu.1", CRM_SECRET) is None


def test_a_credential_of_the_setup_file_logs_in(node: NodeFolder) -> None:
    async def body(store: Store, live: LiveSettings) -> None:
        found = Authenticator(live.directory).authenticate(
            "crm", "canary-secret-of-the-crm-0123456789"
        )
        assert found is live.directory().credentials["crm"]

    node.drive_set_up(body)


def test_no_hash_of_a_secret_is_shown() -> None:
    assert CRM_HASH.hex()[:8] not in repr(CRM)
    assert repr(CRM_HASH) not in repr(CRM)


def _logins(counted: Counted) -> Logins:
    strict = GuessLimits(pair=Allowance(burst=3, interval_s=60.0))
    return Logins(counted.authenticator, GuessLimiter(strict))


def test_a_limited_login_costs_no_hash_and_says_when_to_come_back() -> None:
    counted = Counted()
    logins = _logins(counted)
    for _ in range(3):
        assert logins.check("crm_eu.1", "wrong", OWNER_IP, 0.0) == Denied()
    assert counted.hashes == 3

    denied = logins.check("crm_eu.1", CRM_SECRET, OWNER_IP, 10.0)

    assert denied == Denied(wait_s=50.0)
    assert counted.hashes == 3
    assert logins.check("crm_eu.1", CRM_SECRET, OWNER_IP, 60.0) is CRM


def test_smtp_hears_535_for_every_wrong_login_and_454_when_limited() -> None:
    clock = ManualClock()
    logins = SmtpLogins(_logins(Counted()), clock)
    here, there = ip_address(OWNER_IP), ip_address("203.0.113.1")
    said = {
        str(logins.login(name, "wrong", here, clock.now()))
        for name in ("crm_eu.1", "printer", "nobody")
    }
    assert said == {"535 5.7.8 authentication credentials invalid"}
    for _ in range(2):
        logins.login("crm_eu.1", "wrong", here, clock.now())

    limited = logins.login("crm_eu.1", CRM_SECRET, here, clock.now())

    assert isinstance(limited, Reply)
    assert (limited.code, limited.enhanced) == (454, "4.7.0")
    assert logins.login("crm_eu.1", CRM_SECRET, there, clock.now()) is CRM
    # A wall clock that was set does not lift the limit; time that passed does.
    later = clock.now() + timedelta(days=1)
    assert logins.login("crm_eu.1", CRM_SECRET, here, later) is limited
    clock.advance(60.0)
    assert logins.login("crm_eu.1", CRM_SECRET, here, clock.now()) is CRM
    assert logins.for_network("printer") is PRINTER


def test_a_key_is_limited_under_the_name_in_it() -> None:
    counted = Counted()
    logins = _logins(counted)
    for _ in range(9):
        logins.check_key("mw_crm_eu.1_wrong", OWNER_IP, 0.0)
    assert counted.hashes == 3
    assert isinstance(logins.check("crm_eu.1", CRM_SECRET, OWNER_IP, 0.0), Denied)
    assert logins.check_key(CRM_SECRET, "203.0.113.1", 0.0) is CRM
