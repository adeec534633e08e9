"""The root of every exception that mailwright raises on purpose.

Outcomes are values (a :class:`~mailwright.reply.Reply`), never exceptions. An
exception means broken input to a parser, a broken environment, or a bug.
"""


class MailwrightError(Exception):
    """Something that mailwright detected and can name."""


class LocalProtocolError(MailwrightError):
    """We were about to break a protocol: a bug or a wrong call on our side."""


class RemoteProtocolError(MailwrightError):
    """The peer broke the protocol."""
