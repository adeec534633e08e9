"""How clients may write a mailbox."""

import pytest
from pydantic import ValidationError

from fakes.slowness import is_in_proportion
from mailwright.api.schemas import MailboxIn


@pytest.mark.parametrize(
    ("given", "name", "address"),
    [
        ("ann@example.com", "", "ann@example.com"),
        ("Ann <ann@example.com>", "Ann", "ann@example.com"),
        ("  Ann Lee  <ann@example.com> ", "Ann Lee", "ann@example.com"),
        ("<ann@example.com>", "", "ann@example.com"),
        ('"Lee, Ann" <ann@example.com>', "Lee, Ann", "ann@example.com"),
        (r'"Ann \"A\" Lee" <ann@example.com>', 'Ann "A" Lee', "ann@example.com"),
        ("Анна <anna@почта.example>", "Анна", "anna@почта.example"),
        # What could be two mailboxes is no name; as an address it is refused further in.
        ("a@b.example, Shop <c@d.example>", "", "a@b.example, Shop <c@d.example>"),
        ("Lee, Ann <ann@example.com>", "", "Lee, Ann <ann@example.com>"),
        ("Ann <a@b.example> <c@d.example>", "", "Ann <a@b.example> <c@d.example>"),
    ],
)
def test_a_string_is_an_address_or_a_name_with_one(
    given: str, name: str, address: str
) -> None:
    mailbox = MailboxIn.model_validate(given)
    assert (mailbox.name, mailbox.address) == (name, address)


def test_a_line_end_stays_in_the_name_where_it_is_refused_further_in() -> None:
    given = "Ann\r\nBcc: x <ann@example.com>"
    assert "\r\n" in MailboxIn.model_validate(given).name


def test_an_endless_string_costs_nothing() -> None:
    def refuse(octets: int) -> None:
        with pytest.raises(ValidationError):
            MailboxIn.model_validate(" " * octets)

    assert is_in_proportion(refuse, 5_000_000)
