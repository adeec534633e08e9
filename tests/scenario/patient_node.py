"""A node that counts a connection for everyone, however long its receiver is silent.

Everything else of it is the node as it is: ``patient_node.py FILE`` runs ``serve``.
"""

import sys

from mailwright.cli.main import main
from mailwright.queue import connections

assert connections.STUCK_S < 60
connections.STUCK_S = 1e9
sys.argv.insert(1, "serve")
main()
