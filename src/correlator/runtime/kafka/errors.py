"""What aiokafka raises, by what comes next."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka import errors

from correlator.runtime.ports import Fenced, PortError, Refused, Transient

_FENCED: Final = (errors.ProducerFenced, errors.InvalidProducerEpoch)
_UNREACHABLE: Final = (errors.KafkaConnectionError, errors.NodeNotReadyError, errors.StaleMetadata)
_CLOSED: Final = "unable to perform operation on"
_REFUSED_ADVICE: Final[dict[type[Exception], str]] = {
    errors.TopicAuthorizationFailedError: "allow this user to read, write, describe and create the topics of the prefix",
    errors.GroupAuthorizationFailedError: "allow this user to read the groups of the prefix",
    errors.TransactionalIdAuthorizationFailed: "allow this user to write and describe the transactional ids of the prefix",
    errors.ClusterAuthorizationFailedError: "allow this user to create topics, or create them beforehand",
    errors.SaslAuthenticationFailed: "check `kafka.sasl`: the broker does not accept this name and password",
    errors.UnsupportedSaslMechanismError: "choose another `kafka.sasl.mechanism`",
    errors.MessageSizeTooLargeError: "raise the topic's max.message.bytes",
    errors.RecordListTooLargeError: "raise the topic's max.message.bytes",
    errors.InvalidTimestampError: "set the topic's message.timestamp.type to CreateTime and raise its message.timestamp.*.max.ms",
    errors.InvalidReplicationFactorError: "set `kafka.replication` to at most the number of brokers",
    errors.PolicyViolationError: "create the topics beforehand, as the broker's policy wants them",
    errors.InvalidTransactionTimeout: "raise the broker's transaction.max.timeout.ms",
    errors.IncompatibleBrokerVersion: "this broker is too old or too new",
    errors.InvalidTopicError: "choose another name or prefix",
}


def port_error(error: Exception, doing: str) -> PortError:
    """Answer the port's error for one of aiokafka's; `doing` begins the message."""
    if isinstance(error, _FENCED):
        return Fenced(f"{doing}: a newer writer has taken over")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused(f"{doing}: {error.verify_message}: check `kafka.tls.ca` and that the broker's certificate names its address")
    for kind, advice in _REFUSED_ADVICE.items():
        if isinstance(error, kind):
            return Refused(f"{doing}: {_text(error)}: {advice}")
    return Transient(f"{doing}: {_text(error)}")


def _text(error: Exception) -> str:
    if isinstance(error, TimeoutError | asyncio.TimeoutError | errors.KafkaTimeoutError):
        return "no answer in time"
    if isinstance(error, _UNREACHABLE):
        return "no broker answers"
    name, text = type(error).__name__, str(error)
    return text if name in text else f"{name} {text}".strip()


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn what aiokafka raises inside into the port's errors; bugs (asserts, wrong states) pass through."""
    try:
        yield
    except PortError:
        raise
    except (errors.KafkaError, TimeoutError, OSError) as error:
        raise port_error(error, doing) from error
    except RuntimeError as error:
        raise port_error(lost_connection(error), doing) from error


def lost_connection(error: RuntimeError) -> OSError:
    """Answer what uvloop means where a connection closed while we wrote: it says so as a RuntimeError. Any other is a bug, and raised."""
    if not str(error).startswith(_CLOSED):
        raise error
    return ConnectionResetError(str(error))
