"""Kafka behind TLS and a login, on a real broker that asks for both; and what must never be seen."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from correlator.config.settings import KafkaSettings, SaslSettings, TlsSettings
from correlator.runtime.kafka import KafkaLog, access_of
from correlator.runtime.ports import Messages, Position, Refused, TopicPartition, TopicSettings

from loadtest.broker import Broker, BrokerError
from tests.runtime import certificates

SECRET = "not-to-be-seen"  # noqa: S105 - a test's
EVENTS = TopicPartition("events", 0)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker whose second listener wants TLS, a certificate of ours and a login."""
    folder = tmp_path_factory.mktemp("secured")
    certificates.make(folder)
    plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="{SECRET}";'
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    settings = {
        **certificates.broker_settings(folder),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": plain,
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
    }
    users = (f"SCRAM-SHA-512=[name=alice,password={SECRET}]",)
    broker = Broker(folder, settings=settings, secure="SASL_SSL", users=users, is_brief=True)
    try:
        broker.start()
        yield broker
    except BrokerError as error:
        if os.environ.get("CI"):
            pytest.fail(f"no Kafka broker: {error}")
        pytest.skip(f"no Kafka broker: {error}")
    finally:
        broker.stop()


@pytest.fixture
def settings(secured: Broker, monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    """The settings that fit, with the password in the environment."""
    monkeypatch.setenv("KAFKA_PASSWORD", SECRET)
    folder = secured.folder
    return KafkaSettings(
        bootstrap=(f"127.0.0.1:{secured.secure_port}",),
        tls=TlsSettings(ca=str(folder / "ca.pem"), cert=str(folder / "client.pem"), key=str(folder / "client.key")),
        sasl=SaslSettings(mechanism="SCRAM-SHA-512", username="alice", password_env="KAFKA_PASSWORD"),  # noqa: S106 - a name
    )


async def test_records_go_in_and_out_over_tls_with_a_login(settings: KafkaSettings) -> None:
    assert settings.sasl is not None
    for number, mechanism in enumerate(("SCRAM-SHA-512", "PLAIN")):
        access = access_of(settings.model_copy(update={"sasl": settings.sasl.model_copy(update={"mechanism": mechanism})}))
        log = await KafkaLog.open(access)
        await log.open_topics([TopicSettings("events")])
        writer = log.writer("writer")
        await writer.start()
        await writer.begin()
        await writer.send(EVENTS, Messages([mechanism.encode()]))
        await writer.send_offsets("group", {EVENTS: Position(number, mechanism)})
        await writer.commit()
        await writer.close()
        reader = log.reader(EVENTS)
        found: list[bytes | None] = []
        while mechanism.encode() not in found:
            found += (await reader.poll(max_records=10, timeout_ms=200)).values
        await reader.close()
        await log.close()


async def test_a_broker_that_refuses_us_is_heard_behind_one_that_is_away(settings: KafkaSettings, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("wrong")
    sasl = SaslSettings(mechanism="SCRAM-SHA-512", username="alice", password_file=str(password))
    access = access_of(settings.model_copy(update={"sasl": sasl, "bootstrap": ("127.0.0.1:1", *settings.bootstrap)}))
    with pytest.raises(Refused, match=r"SaslAuthenticationFailed.*: check `kafka.sasl`"):
        await KafkaLog.open(access)


async def test_a_wrong_password_is_refused_and_never_repeated(
    settings: KafkaSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    password = tmp_path / "password"
    password.write_text("wrong-and-secret\n")
    sasl = SaslSettings(mechanism="SCRAM-SHA-512", username="alice", password_file=str(password))
    access = access_of(settings.model_copy(update={"sasl": sasl}))
    with pytest.raises(Refused, match=r"SaslAuthenticationFailed.*: check `kafka.sasl`") as caught:
        await KafkaLog.open(access)
    for text in (str(caught.value), repr(caught.value), repr(access), str(access), caplog.text):
        assert "wrong-and-secret" not in text
    assert access.login is not None
    assert access.login.password == "wrong-and-secret"  # noqa: S105 - the line break at the end of the file is not part of it


async def test_a_broker_of_another_authority_is_not_trusted(settings: KafkaSettings) -> None:
    with pytest.raises(Refused, match=r"unable to get local issuer certificate: check `kafka.tls.ca`"):
        await KafkaLog.open(access_of(settings.model_copy(update={"tls": TlsSettings()})))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"tls": TlsSettings(ca="missing.pem")}, "kafka.tls.ca: missing.pem: cannot be used: No such file or directory"),
        ({"tls": TlsSettings(cert="missing.pem")}, "kafka.tls.cert: missing.pem: cannot be used: No such file or directory"),
        ({"sasl": SaslSettings(username="a", password_file="gone")}, "kafka.sasl.password_file: gone: cannot be read: No such file"),  # noqa: S106
        ({"sasl": SaslSettings(username="a", password_env="NO_SUCH")}, "kafka.sasl.password_env: the environment has no NO_SUCH"),  # noqa: S106
    ],
)
def test_what_cannot_be_read_is_named(section: dict[str, object], message: str) -> None:
    with pytest.raises(Refused, match=message):
        access_of(KafkaSettings().model_copy(update=section))


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    certificates.lock(tmp_path, "client")
    tls = TlsSettings(cert=str(tmp_path / "client.pem"), key=str(tmp_path / "client.key"))
    with pytest.raises(Refused, match="the key has a passphrase; write it without one"):
        access_of(KafkaSettings(tls=tls))
