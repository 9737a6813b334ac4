"""Identity: which labels make two events the same alert, and the fingerprint made of them."""

from typing import Final

import xxhash

from correlator.model.rule import Identity

_PAIR: Final = "\x00"
_NEXT: Final = "\x01"


def identity_labels(labels: dict[str, str], identity: Identity) -> dict[str, str]:
    """Answer the labels that make the alert's identity, sorted by name; `alertname` always does."""
    names = sorted(labels)
    if identity.only:
        return {name: labels[name] for name in names if name in identity.only or name == "alertname"}
    return {name: labels[name] for name in names if name not in identity.ignore}


def fingerprint_of(labels: dict[str, str], identity: Identity) -> bytes:
    """Hash the identity labels with XXH3 (128 bits); the order in which labels were written does not matter.

    NUL cannot occur in a label (intake refuses it) and separates names from values, so no two label sets read alike.
    """
    made_of = identity_labels(labels, identity)
    text = "".join([f"{name}{_PAIR}{value}{_PAIR}{_NEXT}" for name, value in made_of.items()])
    return xxhash.xxh3_128_digest(text.encode("utf-8"))
