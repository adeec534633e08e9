"""What turns a campaign's content into one recipient's message."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Merge:
    """All that is the recipient's own; with the content and its date it gives the octets.

    Attributes:
        content: id of the campaign's content. A content never changes, so it also names
            what was compiled from it.
        fields: a JSON object: the recipient's fields. Those of the campaign and the
            defaults are the content's and lie beneath.
        variant: of the content, or ``""``.
        recipient: canonical address; the field ``email`` in templates.
        message_id: value of Message-ID, with angle brackets.
    """

    content: int
    fields: bytes
    variant: str
    recipient: str
    message_id: str
