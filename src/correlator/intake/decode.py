"""Bytes to JSON values, defensively: any bytes give either a value or a `Refusal`, never another exception.

In: the bytes of one record. Out: plain Python values, or why not. Remembers nothing.
"""

import re
from typing import Any, Final

import msgspec

from correlator.model.event import Refusal, Rejection

MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
"""A record larger than this is refused; Kafka's own default limit is a quarter of it."""
MAX_DEPTH: Final = 64
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SHOWN: Final = 80
_AT_BYTE: Final = re.compile(r" \(byte (\d+)\)")


def decode_record(body: bytes) -> Any | Refusal:  # noqa: ANN401 - any JSON value
    """Read one JSON document; refusals say where in the record the fault lies."""
    fault = _fault_of_bytes(body)
    if fault is not None:
        return fault
    try:
        document = msgspec.json.decode(body)
    except RecursionError:
        return Refusal(Rejection.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels")
    except msgspec.DecodeError as error:
        reason = Rejection.NUMBER_OUT_OF_RANGE if "out of range" in str(error) else Rejection.UNPARSABLE
        return Refusal(reason, _explained(str(error), body))
    return _fault_of_values(document) or document


def _fault_of_bytes(body: bytes) -> Refusal | None:
    if len(body) > MAX_RECORD_BYTES:
        return Refusal(Rejection.TOO_LARGE, f"{len(body)} bytes; the limit is {MAX_RECORD_BYTES}")
    if not body.strip():
        return Refusal(Rejection.EMPTY, "the message is empty")
    if body.startswith(_BYTE_ORDER_MARK):
        return Refusal(Rejection.UNPARSABLE, "starts with a byte order mark, which JSON forbids")
    if b"\0" in body:
        return Refusal(Rejection.NUL, f"a NUL byte at {_spot(body, body.index(0))}")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return Refusal(Rejection.INVALID_UTF8, f"{_spot(body, error.start)} is not UTF-8")
    return None


def _fault_of_values(document: Any) -> Refusal | None:  # noqa: ANN401 - any JSON value
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return None
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif (fault := _fault_of_scalar(value)) is not None:
                return fault
        level = below
    return Refusal(Rejection.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels")


def _fault_of_scalar(value: object) -> Refusal | None:
    if isinstance(value, str) and "\0" in value:
        return Refusal(Rejection.NUL, "a text contains NUL (\\u0000)")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return Refusal(Rejection.NUMBER_OUT_OF_RANGE, f"{str(value)[:_SHOWN]} is beyond 64 bits")
    return None


def column_of(body: bytes, byte: int) -> int:
    """Answer the column of a byte in its line, from 1, in characters."""
    return len(body[body.rfind(b"\n", 0, byte) + 1 : byte].decode(errors="replace")) + 1


def _spot(body: bytes, byte: int) -> str:
    """Name a byte, of an indented document by its line and column."""
    if b"\n" not in body.rstrip():
        return f"byte {byte}"
    line = body.count(b"\n", 0, byte) + 1
    return f"line {line}, column {column_of(body, byte)}"


def _explained(error: str, body: bytes) -> str:
    """Say where a syntax error lies, and show the beginning of its line."""
    found = _AT_BYTE.search(error)
    byte = min(int(found[1]), len(body)) if found is not None else len(body.rstrip())
    line = body[body.rfind(b"\n", 0, byte) + 1 :].partition(b"\n")[0]
    is_indented = b"\n" in body.rstrip()
    if is_indented:
        error = f"{_AT_BYTE.sub('', error)} ({_spot(body, byte)})"
    return f"{error}: {_shown(line if is_indented else body)}"


def _shown(body: bytes) -> str:
    text = body[:_SHOWN].decode(errors="replace")
    return text + ("…" if len(body) > _SHOWN else "")
