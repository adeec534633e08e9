"""Octets that some server somewhere has taken for the end of a message."""

#: Each stands in the middle of a message, between two halves that are harmless.
#: None of them ends it, and all of them break the framing.
END_VARIANTS = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r\n\0.\r\n",
    b"\r\r\n.\r\n",
    b"\r\n.\r\r\n",
    b"\r\n.\0\r\n",
    b"\r\0\n.\r\n",
)

#: What would be obeyed, if the message had ended.
SMUGGLED = (
    b"MAIL FROM:<admin@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"
    b"From: admin@example.com\r\n\r\nsmuggled\r\n.\r\n"
)
