"""mailwright: a self-hosted mass mail transfer agent that keeps receivers' trust.

Start reading at ``docs/architecture.md``; the life of one message runs from
``mta/submission`` through ``queue`` to ``mta/courier``.
"""

from importlib.metadata import version

__version__ = version("mailwright")
