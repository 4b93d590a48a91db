"""Signatures: a record's tag manifest signed with an SSH key (ssh-keygen, SSHSIG).

The tag manifest covers every other file, so one signature covers the record. Whoever has the
public key checks it with ``ssh-keygen -Y verify`` and nothing of ours.
"""

import base64
import binascii
import subprocess
from pathlib import Path

from billing_lib.audit.bag import SIGNATURE, TAG_MANIFEST
from billing_lib.errors import InvalidRecord

NAMESPACE = "billing-record"
"""What the signature is for, so that it cannot serve elsewhere."""

_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_END = "-----END SSH SIGNATURE-----"
_WIDTH = 70


def sign(folder: Path, key: Path) -> None:
    """Sign a record's tag manifest.

    Raises
    ------
    InvalidRecord
        There is no ssh-keygen, or the key cannot be used without a person.
    """
    manifest = folder / TAG_MANIFEST
    signed = _keygen("sign", "-q", "-n", NAMESPACE, "-f", str(key), str(manifest))
    if signed.returncode != 0 or not (folder / SIGNATURE).is_file():
        raise InvalidRecord(
            f"the record cannot be signed ({_said(signed)})",
            where=str(key),
            remedy="set BILLING_SIGNING_KEY to a private key without passphrase, or unset it",
        )


def check_signature(folder: Path, allowed_signers: Path | None) -> str | None:
    """What is wrong with a record's signature; None if nothing is.

    Parameters
    ----------
    allowed_signers
        Whose signatures count; None asks only that the signature fits its own key.
    """
    text = (folder / SIGNATURE).read_bytes()
    if _canonical(text) != text:
        return "the signature is not as ssh-keygen writes it"
    manifest = (folder / TAG_MANIFEST).read_bytes()
    signature = ("-n", NAMESPACE, "-s", str(folder / SIGNATURE))
    if allowed_signers is None:
        checked = _keygen("check-novalidate", *signature, stdin=manifest)
        return None if checked.returncode == 0 else "the signature does not fit the tag manifest"
    if not allowed_signers.is_file():
        raise InvalidRecord(
            "there is no such file",
            where=str(allowed_signers),
            remedy="set BILLING_ALLOWED_SIGNERS",
        )
    found = _keygen("find-principals", "-s", str(folder / SIGNATURE), "-f", str(allowed_signers))
    for principal in found.stdout.decode().split():
        words = ("-f", str(allowed_signers), "-I", principal)
        if _keygen("verify", *words, *signature, stdin=manifest).returncode == 0:
            return None
    return "no allowed signer has signed this tag manifest"


def _keygen(what: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", what, *words], input=stdin, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise InvalidRecord(
            "there is no ssh-keygen to sign or check a signature with",
            remedy="install openssh-client",
        ) from None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _canonical(text: bytes) -> bytes | None:
    """The one way ssh-keygen writes this signature; None if it is none."""
    lines = text.decode("ascii", errors="replace").splitlines()
    if len(lines) < 3 or (lines[0], lines[-1]) != (_BEGIN, _END):
        return None
    try:
        blob = base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error:
        return None
    body = base64.b64encode(blob).decode()
    wrapped = [body[at : at + _WIDTH] for at in range(0, len(body), _WIDTH)]
    return ("\n".join([_BEGIN, *wrapped, _END]) + "\n").encode()
