"""The gateway's own CA and server certificate, made by openssl(1): ECDSA P-256, names and addresses as SANs.

Key and certificate lie in one file each, so that no crash leaves a pair that does not fit together.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CA_DAYS, SERVER_DAYS = 3650, 397
RENEW = 30 * 86_400
"""Seconds before its end at which the server certificate is made anew."""
_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
_CONFIGURATION = """\
[req]
distinguished_name = subject
prompt = no
[subject]
CN = {common_name}
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


class CertificateError(Exception):
    """openssl failed, or a name cannot be put into a certificate."""


@dataclass(frozen=True)
class Pair:
    """server: key, certificate and CA in one file (mode 0600). ca: what clients must trust."""

    server: Path
    ca: Path


def ensure(folder: Path, names: Iterable[str]) -> Pair:
    """The certificate in this folder, made (anew) if it is missing, ends soon, or lacks a name.

    The CA is made once and kept: clients that trust it go on. Raises CertificateError, OSError.
    """
    wanted = frozenset(map(alternative_name, names))
    authority, public, server = folder / "ca-key.pem", folder / "ca.pem", folder / "server.pem"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as scratch:
        work = Path(scratch)
        if not authority.exists():
            _make_ca(work, authority)
        if not public.exists() or not _signed_by(server, public):
            install(_openssl("x509", "-in", str(authority)), work / "ca", public)
            server.unlink(missing_ok=True)
        if not _serves(server, wanted):
            _make_server(work, authority, server, sorted(wanted))
    return Pair(server, public)


def alternative_name(name: str) -> str:
    """DNS:host or IP:address, in one spelling. Raises CertificateError for anything else."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        if not _NAME.fullmatch(name) or len(name) > 253:
            raise CertificateError(f"{name!r} is neither a host name nor an address") from None
        return f"DNS:{name.lower()}"


def _make_ca(work: Path, authority: Path) -> None:
    key = _new_key()
    common_name = f"Skep CA {secrets.token_hex(4)}"
    (work / "key").write_bytes(key)
    configuration = _configure(work, common_name, ["DNS:localhost"])
    certificate = _openssl(
        "req", "-x509", "-new", "-sha256", "-days", str(CA_DAYS), "-key", str(work / "key"), "-config", configuration,
        "-extensions", "ca", "-set_serial", _serial(),
    )  # fmt: skip
    install(key + certificate, work / "authority", authority, 0o600)


def _make_server(work: Path, authority: Path, server: Path, names: list[str]) -> None:
    key = _new_key()
    (work / "key").write_bytes(key)
    configuration = _configure(work, "skep-gateway", names)
    request = _openssl("req", "-new", "-sha256", "-key", str(work / "key"), "-config", configuration)
    certificate = _openssl(
        "x509", "-req", "-sha256", "-days", str(SERVER_DAYS), "-CA", str(authority), "-CAkey", str(authority),
        "-set_serial", _serial(), "-extfile", configuration, "-extensions", "server", stdin=request,
    )  # fmt: skip
    install(key + certificate + _openssl("x509", "-in", str(authority)), work / "server", server, 0o600)


def _serves(server: Path, wanted: frozenset[str]) -> bool:
    """Whether the certificate is there, holds for a while, and has all wanted names."""
    if not server.exists():
        return False
    text = _openssl("x509", "-in", str(server), "-noout", "-ext", "subjectAltName").decode()
    found = {
        alternative_name(entry.strip().removeprefix("DNS:").removeprefix("IP Address:"))
        for line in text.splitlines()[1:]
        for entry in line.split(",")
    }
    return wanted <= found and _holds("x509", "-in", str(server), "-noout", "-checkend", str(RENEW))


def _signed_by(server: Path, public: Path) -> bool:
    return not server.exists() or _holds("verify", "-CAfile", str(public), str(server))


def _new_key() -> bytes:
    return _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def _configure(work: Path, common_name: str, names: list[str]) -> str:
    path = work / "openssl.cnf"
    path.write_text(_CONFIGURATION.format(common_name=common_name, names=", ".join(names)))
    return str(path)


def _serial() -> str:
    return f"0x{secrets.randbits(126) | 1 << 126:x}"


def install(data: bytes, temporary: Path, target: Path, mode: int = 0o644) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        os.fsync(descriptor)
    temporary.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # clients are about to trust it
    finally:
        os.close(folder)


def _holds(*arguments: str) -> bool:
    return _run(arguments, b"").returncode == 0


def _openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    done = _run(arguments, stdin)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise CertificateError(f"openssl {arguments[0]}: {reason[0] if reason else 'failed'}")
    return done.stdout


def _run(arguments: Iterable[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "OPENSSL_CONF": os.devnull, "LC_ALL": "C"}
    argv = ["openssl", *arguments]
    try:
        return subprocess.run(argv, input=stdin, capture_output=True, env=environment, timeout=60, check=False)
    except FileNotFoundError:
        raise CertificateError("openssl is not installed; install it, or give --certificate and --key") from None
