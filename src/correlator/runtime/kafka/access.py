"""Access: where the brokers are and how to prove who we are; secrets go in and never come out as text."""

import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from correlator.config.settings import KafkaSettings, SaslSettings, TlsSettings
from correlator.runtime.ports import Refused

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


def access_of(settings: KafkaSettings) -> Access:
    """Read certificates and the password that the settings name. Raises Refused, and says which cannot be used."""
    tls = None if settings.tls is None else _context(settings.tls)
    return Access(settings.bootstrap, tls, None if settings.sasl is None else _login(settings.sasl))


def _context(settings: TlsSettings) -> ssl.SSLContext:
    place = "ca"
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.cert is not None:
            place = "cert"
            context.load_cert_chain(settings.cert, settings.key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        named = settings.ca if place == "ca" else ", ".join(filter(None, (settings.cert, settings.key)))
        raise Refused(f"kafka.tls.{place}: {named}: cannot be used: {getattr(error, 'strerror', None) or error}") from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase; write it without one, readable by this user alone")


def _login(settings: SaslSettings) -> Login:
    if settings.password_env is not None:
        password = os.environ.get(settings.password_env)
        if not password:
            raise Refused(f"kafka.sasl.password_env: the environment has no {settings.password_env}, or it is empty")
        return Login(settings.mechanism, settings.username, password)
    assert settings.password_file is not None, "the settings were checked"
    try:
        password = Path(settings.password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise Refused(f"kafka.sasl.password_file: {settings.password_file}: cannot be read: {reason}") from None
    return Login(settings.mechanism, settings.username, password)
