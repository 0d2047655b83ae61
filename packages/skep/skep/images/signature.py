"""Signatures of manifests, made and checked by ssh-keygen(1): everybody has the tool and, often, the key.

The namespace ``skep-image`` is part of what is signed, so a signature made for git or mail never passes here.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

NAMESPACE = "skep-image"
LARGEST_SIGNATURE = 64 << 10
_ARMOUR = b"-----BEGIN SSH SIGNATURE-----"
_MOST_PRINCIPALS = 16


class SignatureError(Exception):
    """Signing failed, or a signature is not one of an allowed signer. The text says why."""


def sign(data: bytes, key: Path) -> bytes:
    """The signature of these bytes by a private key (or by ssh-agent, when `key` is a public key).

    ssh-keygen asks on the terminal for a passphrase where there is one. Raises SignatureError.
    """
    if not key.is_file():
        raise SignatureError(f"{key}: there is no such key; make one with: ssh-keygen -t ed25519 -f {key}")
    result = _run(["-Y", "sign", "-n", NAMESPACE, "-f", str(key)], data, 300)
    if result.returncode != 0 or not result.stdout.startswith(_ARMOUR):
        raise SignatureError(f"ssh-keygen could not sign with {key}: {_reason(result)}")
    return result.stdout


def verify(data: bytes, signature: bytes, allowed_signers: Path) -> str:
    """The principal that signed these bytes: a line of the allowed-signers file names the key and permits it.

    Every principal of that file may sign every image: the file is kept for images alone. The line's namespaces=,
    valid-after= and valid-before= are honoured. Raises SignatureError.
    """
    if len(signature) > LARGEST_SIGNATURE or not signature.startswith(_ARMOUR):
        raise SignatureError("the signature is not one of ssh-keygen -Y sign")
    if not allowed_signers.is_file():
        raise SignatureError(
            f"{allowed_signers}: there is no such file; write one line for each signer: "
            f'NAME namespaces="{NAMESPACE}" ssh-ed25519 AAAA...'
        )
    with tempfile.TemporaryDirectory(prefix="skep-signature-") as folder:
        path = os.path.join(folder, "manifest.sig")
        Path(path).write_bytes(signature)
        reason = ""
        for principal in _principals(path, allowed_signers):
            arguments = ["-Y", "verify", "-n", NAMESPACE, "-f", str(allowed_signers), "-I", principal, "-s", path]
            result = _run(arguments, data, 60)
            if result.returncode == 0:
                return principal
            reason = _reason(result)
    raise SignatureError(f"the signature does not match what was signed, or its key may not sign images: {reason}")


def _principals(path: str, allowed_signers: Path) -> list[str]:
    """Who the signing key belongs to. ssh-keygen looks at the key alone here; `verify` looks at the bytes."""
    result = _run(["-Y", "find-principals", "-s", path, "-f", str(allowed_signers)], b"", 60)
    text = result.stdout.decode("utf-8", "replace").replace(",", "\n")
    found = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("!", "-"))]
    if result.returncode != 0 or not found:
        raise SignatureError(f"the signing key is not in {allowed_signers} ({_reason(result)})")
    return found[:_MOST_PRINCIPALS]


def _run(arguments: list[str], data: bytes, seconds: int) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["ssh-keygen", *arguments],  # noqa: S607 - the administrator's PATH, as for every client tool
            input=data,
            capture_output=True,
            timeout=seconds,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        raise SignatureError("ssh-keygen is not installed; install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise SignatureError(f"ssh-keygen did not end within {seconds} seconds") from None


def _reason(result: subprocess.CompletedProcess[bytes]) -> str:
    lines = (result.stderr or result.stdout).decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else f"ssh-keygen ended with {result.returncode}"
