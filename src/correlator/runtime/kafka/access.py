"""Access: where the brokers are and how to prove who we are; secrets go in and never come out as text."""

import ssl
from collections.abc import Sequence
from typing import Final

import msgspec

REQUEST_PATIENCE_MS: Final = 10_000
"""How long one request may take. A broker answers in milliseconds, a coordinator that moves in seconds."""
RETRY_MS: Final = 10
"""aiokafka's own 100 ms between attempts halve the throughput: a coordinator is busy for a few milliseconds after every commit."""


class Login(msgspec.Struct, frozen=True):
    """A name and a password, proven by a SASL mechanism (PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512)."""

    mechanism: str
    username: str
    password: str

    def __repr__(self) -> str:
        """Leave the password out: this may end up in a trace."""
        return f"Login({self.mechanism}, {self.username})"


class Access(msgspec.Struct, frozen=True):
    """Everything a client needs to reach the brokers: addresses (host:port), TLS where there is a context, a login where one is asked."""

    bootstrap: Sequence[str]
    tls: ssl.SSLContext | None = None
    login: Login | None = None

    def __str__(self) -> str:
        """Name the brokers, as messages do."""
        return ", ".join(self.bootstrap)

    @property
    def protocol(self) -> str:
        """Kafka's name for this combination."""
        if self.login is None:
            return "PLAINTEXT" if self.tls is None else "SSL"
        return "SASL_PLAINTEXT" if self.tls is None else "SASL_SSL"

    def options(self) -> dict[str, object]:
        """Answer aiokafka's arguments, the same for clients and producers. They hold the password: never print them."""
        found: dict[str, object] = {
            "bootstrap_servers": list(self.bootstrap),
            "client_id": "correlator",
            "request_timeout_ms": REQUEST_PATIENCE_MS,
            "retry_backoff_ms": RETRY_MS,
            "security_protocol": self.protocol,
            "ssl_context": self.tls,
        }
        if self.login is not None:
            found["sasl_mechanism"] = self.login.mechanism
            found["sasl_plain_username"] = self.login.username
            found["sasl_plain_password"] = self.login.password
        return found
