"""A node that connects where any DNS answer leads: ``trustful_dns_node.py FILE``.

A control: no address is refused, and an answer needs no id that fits.
"""

import sys

from mailwright import dns_exchange
from mailwright.cli.main import main
from mailwright.mta import dialing

dialing.is_permitted = lambda _address, _allowed: True
dns_exchange._Listener._is_ours = lambda _self, _data: True  # type: ignore[method-assign]
sys.argv.insert(1, "serve")
main()
