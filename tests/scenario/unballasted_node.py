"""A node that holds no room back: ``unballasted_node.py FILE`` runs ``serve``."""

import sys

from mailwright.cli.main import main
from mailwright.store.ballast import Ballast

Ballast.give_up = lambda self: False  # type: ignore[method-assign]
sys.argv.insert(1, "serve")
main()
