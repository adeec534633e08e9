"""The settings of one SMTP listener, as one immutable value."""

import ssl
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorSettings:
    """How one listener behaves.

    Attributes:
        host: address to listen on; ``""`` is all of them.
        port: 0 lets the system choose.
        hostname: what the node calls itself in greetings and Received.
        tls: certificate and policy; ``None``: no TLS here.
        is_implicit_tls: TLS from the first octet (RFC 8314), instead of STARTTLS.
        allows_clear_auth: AUTH without TLS; for listeners on loopback.
        networks: peers that may submit without AUTH, as ``network_credential``.
        max_message_octets: header and body.
        max_header_octets: the header section.
        max_recipients: of one message (RFC 5321 §4.5.3.1.8 asks for ≥ 100).
        max_connections: open at once.
        max_connections_per_ip: of one IPv4 address or IPv6 /64; named networks are
            only bound by ``max_connections``.
        max_errors: 5xx answers without an accepted message between them.
        max_commands: without an accepted message between them.
        max_login_failures: then the connection closes.
        command_timeout_s: for a whole command line (RFC 5321 §4.5.3.2.7: 5 min).
        data_timeout_s: for a whole message.
        tls_timeout_s: for a handshake.
        budget_wait_s: for memory, before 452.
        spool_keep_octets: of one message that may stay in memory while more of it is
            awaited; the rest of its body goes to a file.
        spool_chunk_octets: written to that file at once, by a client that is not slow.
        spool_hold_s: how long more than ``spool_keep_octets`` are held for a chunk to
            come together.
        backlog: connections that the system holds until we take them.
        linger_s: for the last octets to leave after we closed.
    """

    host: str
    port: int
    hostname: str
    tls: ssl.SSLContext | None = None
    is_implicit_tls: bool = False
    allows_clear_auth: bool = False
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    network_credential: str = ""
    max_message_octets: int = 25_000_000
    max_header_octets: int = 100_000
    max_recipients: int = 1_000
    max_connections: int = 500
    max_connections_per_ip: int = 50
    max_errors: int = 10
    max_commands: int = 5_000
    max_login_failures: int = 3
    command_timeout_s: float = 300.0
    data_timeout_s: float = 1_200.0
    tls_timeout_s: float = 30.0
    budget_wait_s: float = 15.0
    spool_keep_octets: int = 65_536
    spool_chunk_octets: int = 262_144
    spool_hold_s: float = 1.0
    linger_s: float = 10.0
    backlog: int = 1_024

    def __post_init__(self) -> None:
        """Refuse combinations that cannot work."""
        if self.is_implicit_tls and self.tls is None:
            raise ValueError("implicit TLS needs a certificate")
        if self.networks and not self.network_credential:
            raise ValueError("open networks need a credential to act as")

    def offers_auth(self, *, is_secure: bool) -> bool:
        """Whether AUTH may be used on a connection that is, or is not, encrypted."""
        return is_secure or self.allows_clear_auth

    @property
    def can_authenticate(self) -> bool:
        """Whether a client can come to use AUTH here at all."""
        return self.tls is not None or self.allows_clear_auth
