"""A node that believes whatever its disk says: ``trusting_node.py FILE``; a control."""

import sys

from mailwright.cli.main import main
from mailwright.queue import content
from mailwright.store import store


class _Agreeable(int):
    def __eq__(self, _other: object) -> bool:
        return True

    __hash__ = int.__hash__


content.checksum_of = lambda _header, _body: _Agreeable()
store.refuse_lost = lambda _database: None
store.refuse_lost_log = lambda _database: None
sys.argv.insert(1, "serve")
main()
