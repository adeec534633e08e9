"""A node that repairs addresses, as client libraries do: ``repairing_node.py FILE``.

A control: what it puts on the wire is not what was said.
"""

import sys
from email.utils import parseaddr

from mailwright.address import Address, AddressError, parse_address
from mailwright.api import drafts
from mailwright.cli.main import main
from mailwright.mta.smtp import paths


def repaired(text: str) -> Address:
    """Return the address that is somewhere in ``text``."""
    try:
        return parse_address(text)
    except AddressError:
        visible = "".join(char for char in text if char.isprintable())
        return parse_address(parseaddr(visible)[1])


paths.parse_address = repaired
drafts.parse_address = repaired
sys.argv.insert(1, "serve")
main()
