"""Signatures: a record's tag manifest signed with an SSH key (ssh-keygen, SSHSIG).

The tag manifest covers every other file, so one signature covers the record. Whoever has the
public key checks it with ``ssh-keygen -Y verify`` and nothing of ours.

    signed by office@example.edu with ED25519 key SHA256:3kQ…
"""

import base64
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from billing_lib.audit.bag import SIGNATURE, TAG_MANIFEST
from billing_lib.errors import InvalidRecord
from billing_lib.settings import settings

NAMESPACE = "billing-record"
"""What the signature is for, so that it cannot serve elsewhere."""

_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_END = "-----END SSH SIGNATURE-----"
_WIDTH = 70


@dataclass(frozen=True)
class SignatureCheck:
    """Whether a signature holds, and a sentence on it."""

    holds: bool
    sentence: str


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


def signature_sentence(record: Path) -> str:
    """Who signed a record, for people: ``signed by …``, ``not signed``, or what is wrong."""
    manifest = record / TAG_MANIFEST
    if not (record / SIGNATURE).is_file() or not manifest.is_file():
        return "not signed"
    return check_signature(record, manifest.read_bytes(), settings().allowed_signers).sentence


def check_signature(record: Path, manifest: bytes, allowed_signers: Path | None) -> SignatureCheck:
    """Check a record's signature.

    Parameters
    ----------
    manifest
        The tag manifest that it should be of.
    allowed_signers
        Whose signatures count; None asks only that the signature fits its own key.

    Raises
    ------
    InvalidRecord
        There is no ssh-keygen, or no such file of allowed signers.
    """
    text = (record / SIGNATURE).read_bytes()
    if _canonical(text) != text:
        return SignatureCheck(False, "the signature is not as ssh-keygen writes it")
    signature = ("-n", NAMESPACE, "-s", str(record / SIGNATURE))
    if allowed_signers is None:
        checked = _keygen("check-novalidate", *signature, stdin=manifest)
        if checked.returncode != 0:
            return SignatureCheck(False, "the signature does not fit the tag manifest")
        return SignatureCheck(True, f"{_who(checked)}; whose it is, is not checked")
    if not allowed_signers.is_file():
        raise InvalidRecord(
            "there is no such file",
            where=str(allowed_signers),
            remedy="set BILLING_ALLOWED_SIGNERS to a file of allowed signers, or unset it",
        )
    found = _keygen("find-principals", "-s", str(record / SIGNATURE), "-f", str(allowed_signers))
    for principal in found.stdout.decode().splitlines():
        words = ("-f", str(allowed_signers), "-I", principal)
        checked = _keygen("verify", *words, *signature, stdin=manifest)
        if checked.returncode == 0:
            return SignatureCheck(True, _who(checked))
    return SignatureCheck(False, "no allowed signer has signed this tag manifest")


def _who(checked: subprocess.CompletedProcess[bytes]) -> str:
    """``Good "billing-record" signature for NAME with KEY``, said of a record."""
    _, _, who = checked.stdout.decode().strip().partition("signature ")
    return "signed " + (f"by {who.removeprefix('for ')}" if who.startswith("for ") else who)


def _keygen(what: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if name != "SSH_ASKPASS"}
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", what, *words],
            env=kept | {"LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"},
            input=stdin,
            capture_output=True,
            check=False,
            start_new_session=True,  # away from the terminal, where it would ask for a passphrase
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
    except ValueError:  # not base64, or not even ASCII
        return None
    body = base64.b64encode(blob).decode()
    wrapped = [body[at : at + _WIDTH] for at in range(0, len(body), _WIDTH)]
    return ("\n".join([_BEGIN, *wrapped, _END]) + "\n").encode()
