"""Settings of `correlator run --config FILE`: where it listens, what it reads and how often it writes."""

import os
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from correlator.config.files import STDIN, STDIN_SHOWN, read_file
from correlator.config.nearest import Suggester
from correlator.config.problem import ConfigError, Findings
from correlator.config.schema import Between, Name, Section, Written, durations_as_text, emptied, mistake, unlisted
from correlator.config.validate import Validated, validate
from correlator.model.instant import DAY, HOUR, MINUTE, SECOND, Duration, format_duration

_PORT_LIMIT = 65535
_PATHS = ("rules", "topology")
"""The keys that name files and folders."""
_TOPIC: Final = r"^[A-Za-z0-9._-]{1,200}$"
_PREFIX: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_as_text: Final = PlainSerializer(format_duration, when_used="json")
_SECRETS: Final = ("ca", "cert", "key", "password_file")
OWN_TOPICS: Final = ("control", "frames", "checkpoints", "incidents", "alerts", "decisions", "dead-letters")
"""Names behind the prefix that the service writes to: no raw topic may have one."""


def _address(value: str, *, such_as: str = "127.0.0.1:8080") -> str:
    """Check an address and a port."""
    host, colon, port = value.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) <= len(str(_PORT_LIMIT)) and int(port) <= _PORT_LIMIT
    is_host = bool(host) and (":" not in host or (host.startswith("[") and host.endswith("]")))
    if not (colon and is_port and is_host):
        raise mistake(f"must be an address and a port such as {such_as}, not '{value}'")
    return value


def _broker(value: str) -> str:
    """Check a broker's address and port."""
    return _address(value, such_as="127.0.0.1:9092")


class HttpSettings(Section):
    """The HTTP server of health, metrics and the API."""

    listen: Annotated[str, Field(strict=True), AfterValidator(_address)] = Field(
        default="127.0.0.1:8080", description="Address and port; `[::1]:8080` for IPv6, port 0 takes a free one."
    )

    @property
    def host(self) -> str:
        """The address without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port, 0 for any free one."""
        return int(self.listen.rpartition(":")[2])


class CheckpointSettings(Section):
    """When changed state is written beside the log; whichever comes first."""

    rows: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = Field(default=100_000, description="After so many changed rows.")
    every: Annotated[Duration, BeforeValidator(Between(SECOND, HOUR)), durations_as_text, _as_text] = Field(
        default=5 * SECOND, description="After so much time."
    )


class BatchSettings(Section):
    """How much one transaction takes."""

    records: Annotated[int, Field(strict=True, ge=1, le=100_000)] = Field(default=16_000, description="Raw records at most.")


class TlsSettings(Section):
    """TLS to the brokers; a key with nothing behind it trusts the machine's authorities and shows no certificate."""

    ca: Name | None = Field(default=None, description="Certificates of the authorities to trust (PEM); those of the machine when left out.")
    cert: Name | None = Field(default=None, description="Our own certificate (PEM), where the brokers ask for one.")
    key: Name | None = Field(default=None, description="Its private key (PEM, without a passphrase), unless it lies in the same file.")

    @model_validator(mode="after")
    def _key_has_its_certificate(self) -> Self:
        if self.key is not None and self.cert is None:
            raise mistake("has a 'key' without a 'cert'; name both")
        return self


class SaslSettings(Section):
    """A login at the brokers. The password itself never stands in the settings."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How the password is proven; `PLAIN` sends it, so use it with `tls` only."
    )
    username: Name = Field(description="The name.")
    password_file: Name | None = Field(default=None, description="A file that holds the password; a line break at its end does not count.")
    password_env: Name | None = Field(default=None, description="Instead: the environment variable that holds it.")

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if (self.password_file is None) == (self.password_env is None):
            raise mistake("needs a password: name either 'password_file' or 'password_env'")
        return self


class KafkaSettings(Section):
    """The brokers, for all commands without `--embedded`."""

    bootstrap: Annotated[tuple[Annotated[str, Field(strict=True), AfterValidator(_broker)], ...], BeforeValidator(unlisted)] = Field(
        default=("127.0.0.1:9092",), description="Addresses of some brokers; these name the others."
    )
    replication: Annotated[int, Field(strict=True, ge=1, le=32)] | None = Field(
        default=None, description="Replicas of the topics that are created; three, or as many as there are brokers, when left out."
    )
    patience: Annotated[Duration, BeforeValidator(Between(0, DAY)), durations_as_text, _as_text] = Field(
        default=5 * MINUTE,
        description="For how long `run` waits at its start for brokers that are away; without settings not at all; later for ever.",
    )
    tls: Annotated[TlsSettings | None, BeforeValidator(emptied)] = Field(default=None, description="TLS to the brokers.")
    sasl: Annotated[SaslSettings | None, BeforeValidator(emptied)] = Field(default=None, description="A login at the brokers.")

    @model_validator(mode="after")
    def _has_brokers(self) -> Self:
        if not self.bootstrap:
            raise mistake("names no broker; leave 'bootstrap' out for 127.0.0.1:9092")
        return self

    def below(self, folder: Path) -> Self:
        """Answer the same settings with paths taken from `folder`."""
        update: dict[str, object] = {}
        for name, section in (("tls", self.tls), ("sasl", self.sasl)):
            if section is not None:
                paths = {key: path for key in _SECRETS if (path := getattr(section, key, None)) is not None}
                update[name] = section.model_copy(update={key: os.fspath(folder / path) for key, path in paths.items()})
        return self.model_copy(update=update)


_RetentionLimits = BeforeValidator(Between(HOUR, 3650 * DAY))


class RetentionSettings(Section):
    """How long records stay after they came, whatever their own times say. What is not read yet, or needed by a restart, stays longer."""

    raw: Annotated[Duration, _RetentionLimits, durations_as_text, _as_text] = Field(
        default=7 * DAY, description="For the raw topics. A backlog older than half of it makes the service unready."
    )
    frames: Annotated[Duration, BeforeValidator(Between(7 * DAY, 3650 * DAY)), durations_as_text, _as_text] = Field(
        default=7 * DAY, description="For the internal log; at least 7d. A backlog older than half of it makes the service unready."
    )
    decisions: Annotated[Duration, _RetentionLimits, durations_as_text, _as_text] = Field(default=30 * DAY, description="For decisions.")
    dead_letters: Annotated[Duration, _RetentionLimits, durations_as_text, _as_text] = Field(
        default=30 * DAY, description="For dead letters."
    )
    tombstones: Annotated[Duration, _RetentionLimits, durations_as_text, _as_text] = Field(
        default=DAY, description="For the marks that a document was deleted: a reader that was away longer does not learn of it."
    )


class TopicSettings(Section):
    """One raw topic that intake reads."""

    name: Annotated[Name, AfterValidator(Written(_TOPIC, "up to 200 letters, digits, '.', '_' and '-'"))] = Field(
        description="Its name, without the prefix.", json_schema_extra={"pattern": _TOPIC}
    )
    format: Literal["auto", "native", "alertmanager", "cloudevents"] = Field(
        default="auto", description="The shape of its records; `auto` tells it record by record."
    )
    arrival: Literal["record", "item"] = Field(
        default="record", description="When an item arrived: the record's timestamp, or its own `receivedAt` (recordings)."
    )
    partitions: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(default=1, description="Partitions to create it with.")


class Settings(Section):
    """All settings of a run; each may be left out."""

    rules: Annotated[tuple[Name, ...], BeforeValidator(unlisted)] = Field(
        default=("rules",), description="Files and folders of rules, relative to this file."
    )
    topology: Annotated[tuple[Name, ...], BeforeValidator(unlisted)] = Field(
        default=("topologies",), description="Files and folders of topologies, relative to this file."
    )
    prefix: Annotated[
        str,
        Field(strict=True),
        AfterValidator(Written(_PREFIX, "up to 64 small letters, digits, '.', '_' and '-', first a letter or digit")),
    ] = Field(
        default="correlator",
        description="What the names of all topics, groups and transactions of this application begin with.",
        json_schema_extra={"pattern": _PREFIX},
    )
    kafka: KafkaSettings = Field(default=KafkaSettings(), description="The brokers.")
    http: HttpSettings = Field(default=HttpSettings(), description="The HTTP server.")
    checkpoint: CheckpointSettings = Field(default=CheckpointSettings(), description="When state is written.")
    batch: BatchSettings = Field(default=BatchSettings(), description="How much one transaction takes.")
    log_retention: RetentionSettings = Field(default=RetentionSettings(), description="How long records stay in the log.")
    topics: Annotated[tuple[TopicSettings, ...], BeforeValidator(unlisted)] = Field(
        default=(TopicSettings(name="events"),), description="The raw topics."
    )

    @model_validator(mode="after")
    def _has_topics(self) -> Self:
        if not self.topics:
            raise mistake("names no topic to read; leave 'topics' out to read 'events'")
        return self


def load_settings(path: str | None) -> Settings:
    """Read settings from a file or `-`, or answer the defaults where there is none; paths in it are relative to it.

    A default folder of rules or topologies that is not there is left out: a laptop may have neither. A path that the file names must be
    there. Raises `ConfigError` with every problem.
    """
    if path is None:
        return _resolved(Settings(), Path())
    findings = Findings()
    document = read_file(path, findings)
    settings: object = None
    if document is not None:
        validated = validate(document, Settings, findings=findings, suggester=Suggester())
        check_names(validated, findings)
        settings = validated.model
    if findings.has_errors:
        raise ConfigError(findings.problems())
    assert isinstance(settings, Settings), "no errors were found"
    return _resolved(settings, _folder(path))


def settings_text(settings: Settings) -> str:
    """Write settings as text that `load_settings` reads from any folder, but for rules and topology: who takes them so reads no files."""
    kafka = settings.kafka.below(Path.cwd())
    return settings.model_copy(update={"kafka": kafka}).model_dump_json(exclude={*_PATHS}, exclude_none=True)


def check_names(settings: Validated, findings: Findings) -> None:
    """Record every name in a settings file that is wrong beside another: paths that are not there, topics that cannot be raw ones."""
    _check_paths(settings, findings)
    _check_topics(settings, findings)


def check_secrets(settings: Validated, findings: Findings) -> None:
    """Warn of certificates and passwords that are not there: a place where settings are only checked need not have them."""
    kafka = settings.section("kafka", KafkaSettings)
    for section in ("tls", "sasl") if kafka is not None else ():
        for key in _SECRETS:
            entry = getattr(getattr(kafka, section), key, None)
            path = _folder(settings.document.file) / str(entry)
            if entry is not None and not path.exists():
                findings.warning(
                    settings.document.mark(("kafka", section, key)), f"kafka.{section}.{key}: no such file here: {os.fspath(path)}"
                )


def named_paths(settings: Validated) -> list[str]:
    """Answer the rules and topologies that a settings file names, the default folders where it names none; none where it is broken."""
    if not isinstance(settings.model, Settings):
        return []
    resolved = _resolved(settings.model, _folder(settings.document.file))
    return [*resolved.rules, *resolved.topology]


def _check_topics(settings: Validated, findings: Findings) -> None:
    """Record every raw topic whose name another raw topic has, or a topic that the service writes."""
    entries = settings.scalar("topics")
    ranks: dict[object, int] = {}
    for rank, entry in enumerate(entries) if isinstance(entries, list) else ():
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        where = settings.document.mark(("topics", rank, "name"))
        if name in OWN_TOPICS:
            findings.error(where, f"topics[{rank}].name: '{name}' is a topic that the service writes; choose another name")
        elif ranks.setdefault(name, rank) != rank:
            findings.error(where, f"topics[{rank}].name: '{name}' is the name of topics[{ranks[name]}] already; a topic stands here once")


def _check_paths(settings: Validated, findings: Findings) -> None:
    folder = _folder(settings.document.file)
    for key in _PATHS:
        entries = settings.scalar(key)
        for rank, entry in enumerate(entries) if isinstance(entries, list) else ():
            if isinstance(entry, str) and entry != STDIN and not os.path.lexists(folder / entry):
                where = settings.document.mark((key, rank))
                findings.error(where, f"{key}[{rank}]: no such file or folder: {os.fspath(folder / entry)}")


def _folder(file: str) -> Path:
    return Path() if file in (STDIN, STDIN_SHOWN) else Path(file).parent


def _resolved(settings: Settings, folder: Path) -> Settings:
    found: dict[str, tuple[str, ...]] = {}
    for key in _PATHS:
        entries = [os.fspath(folder / entry) for entry in getattr(settings, key)]
        is_named = key in settings.model_fields_set
        found[key] = tuple([entry for entry in entries if is_named or Path(entry).exists()])
    return settings.model_copy(update={**found, "kafka": settings.kafka.below(folder)})
