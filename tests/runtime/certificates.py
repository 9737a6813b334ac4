"""Certificates for tests: an authority, a broker and a client, made by openssl and good for a day."""

import subprocess
from pathlib import Path


def make(folder: Path) -> None:
    """Write ca.pem, broker.pem, client.pem (certificates) and their keys (`….key`) into `folder`."""
    _openssl(folder, "req", "-x509", *_key("ca"), "-out", "ca.pem", "-days", "1", "-subj", "/CN=authority")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("broker", "client"):
        _openssl(folder, "req", *_key(name), "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-in", f"{name}.csr", "-out", f"{name}.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        _openssl(folder, "x509", "-req", *signed, "-days", "1", "-extfile", "names")


def broker_settings(folder: Path) -> dict[str, str]:
    """Answer how the broker uses them: it shows its own and wants to see one of the authority's."""
    (folder / "broker.keystore").write_text((folder / "broker.key").read_text() + (folder / "broker.pem").read_text())
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.keystore"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "ssl.client.auth": "required",
    }


def _key(name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)  # noqa: S607 - as the path has it


def lock(folder: Path, name: str) -> None:
    """Put a passphrase on a key."""
    locked = f"{name}.locked"
    _openssl(folder, "ec", "-in", f"{name}.key", "-aes256", "-passout", "pass:any", "-out", locked)
    (folder / locked).replace(folder / f"{name}.key")
