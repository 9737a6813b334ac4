"""Identity: which labels make two events the same alert, and the fingerprint made of them."""

from typing import Final

import xxhash

from correlator.model.rule import Identity

_PAIR: Final = "\x00"
_NEXT: Final = "\x00\x01"
_PAIRED: Final = _PAIR.join


def identity_labels(labels: dict[str, str], identity: Identity) -> dict[str, str]:
    """Answer the labels that make the alert's identity; `alertname` always does."""
    if identity.only:
        return {name: text for name, text in labels.items() if name in identity.only or name == "alertname"}
    if identity.ignore:
        return {name: text for name, text in labels.items() if name not in identity.ignore or name == "alertname"}
    return labels


def fingerprint_of(labels: dict[str, str], identity: Identity) -> bytes:
    """Hash the identity labels with XXH3 (128 bits); the order in which labels were written does not matter.

    NUL cannot occur in a label (intake refuses it) and separates names from values, so no two label sets read alike.
    """
    text = _NEXT.join(map(_PAIRED, sorted(identity_labels(labels, identity).items()))) + _NEXT
    return xxhash.xxh3_128_digest(text.encode("utf-8"))
