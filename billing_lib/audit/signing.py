"""Signatures by SSH keys (SSHSIG), and time stamps by RFC 3161.

    sign(content, key, "billing-record")           -----BEGIN SSH SIGNATURE-----  …
    check(content, signature, "billing-record", allowed)     signed by office@example.edu with …
    time_stamp(content, "https://tsa.example.edu")  the authority's reply, in DER

Anyone checks a signature by ``ssh-keygen -Y verify`` and a time stamp by ``openssl ts -verify``;
this module calls the same two programs. An Ed25519 signature may be shortened to its 64 bytes, for
a place as narrow as the foot of an e-mail: with the public key, the rest can be told.
"""

import base64
import os
import re
import struct
import subprocess
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from billing_lib.errors import InvalidRecord

RECORDS = "billing-record"
"""The namespace of records' signatures, so that they are not valid for other purposes."""

_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_END = "-----END SSH SIGNATURE-----"
_WIDTH = 70
_ED25519 = "ssh-ed25519"
_SECONDS = 20


@dataclass(frozen=True)
class SignatureCheck:
    """The result of a signature's check: whether it holds, and a sentence."""

    holds: bool
    sentence: str


def sign(content: bytes, key: Path, namespace: str) -> bytes:
    """Sign content with a private SSH key; the armored signature.

    Raises
    ------
    InvalidRecord
        There is no ssh-keygen, or the key is missing, unreadable or needs a passphrase.
    """
    signed = _keygen("sign", "-q", "-n", namespace, "-f", str(key), stdin=content)
    if signed.returncode != 0:
        raise InvalidRecord(
            f"the record cannot be signed ({_last_line(signed)})",
            where=str(key),
            remedy="set BILLING_SIGNING_KEY to a private key without passphrase, or unset it",
        )
    return signed.stdout


def check(
    content: bytes, signature: bytes, namespace: str, allowed_signers: Path | None
) -> SignatureCheck:
    """Check an armored signature of content.

    ``allowed_signers`` is the file of the signers to accept; None accepts any key.
    """
    if canonical(signature) != signature:
        return SignatureCheck(False, "the signature is not as ssh-keygen writes it")
    with tempfile.TemporaryDirectory(prefix="billing-signature-") as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        words = ("-n", namespace, "-s", str(file))
        if allowed_signers is None:
            checked = _keygen("check-novalidate", *words, stdin=content)
            if checked.returncode != 0:
                return SignatureCheck(False, "the signature does not fit")
            return SignatureCheck(True, f"{_who(checked)}; whose it is, is not checked")
        _require(allowed_signers)
        listed = _keygen("find-principals", "-s", str(file), "-f", str(allowed_signers))
        for principal in listed.stdout.decode().splitlines():
            named = ("-f", str(allowed_signers), "-I", principal)
            checked = _keygen("verify", *named, *words, stdin=content)
            if checked.returncode == 0:
                return SignatureCheck(True, _who(checked))
    return SignatureCheck(False, "no allowed signer has signed this")


def check_short(
    content: bytes, signature: str, namespace: str, allowed_signers: Path | None
) -> SignatureCheck | None:
    """Check a signature in base64, whole or shortened.

    None if it cannot be checked: a short one needs the allowed signers.
    """
    blob = _decoded(signature)
    if blob.startswith(b"SSHSIG"):
        return check(content, armored(blob), namespace, allowed_signers)
    if allowed_signers is None:
        return None
    _require(allowed_signers)
    for key in re.findall(rf"{_ED25519}\s+(\S+)", allowed_signers.read_text(encoding="utf-8")):
        whole = _sshsig(_decoded(key), namespace, blob)
        checked = check(content, armored(whole), namespace, allowed_signers)
        if checked.holds:
            return checked
    return SignatureCheck(False, "no allowed signer has signed this")


def shortened(signature: str) -> str:
    """The 64 bytes of an Ed25519 signature in base64; another key's signature as it is."""
    blob = _decoded(signature)
    kind = struct.pack(">I", len(_ED25519)) + _ED25519.encode() + struct.pack(">I", 64)
    return base64.b64encode(blob[-64:]).decode() if blob[:-64].endswith(kind) else signature


def unarmored(signature: bytes) -> str:
    """An armored signature as base64 in one line."""
    return "".join(signature.decode("ascii").splitlines()[1:-1])


def armored(blob: bytes) -> bytes:
    """A signature's bytes as ssh-keygen writes them to a file."""
    body = base64.b64encode(blob).decode()
    wrapped = [body[at : at + _WIDTH] for at in range(0, len(body), _WIDTH)]
    return ("\n".join([_BEGIN, *wrapped, _END]) + "\n").encode()


def canonical(signature: bytes) -> bytes | None:
    """The only form in which ssh-keygen writes this signature; None if it is no signature."""
    lines = signature.decode("ascii", errors="replace").splitlines()
    if len(lines) < 3 or (lines[0], lines[-1]) != (_BEGIN, _END):
        return None
    blob = _decoded("".join(lines[1:-1]))
    return armored(blob) if blob else None


def time_stamp(content: bytes, authority: str) -> bytes:
    """A time stamp of content by an authority (RFC 3161, over HTTP): its reply in DER.

    Raises
    ------
    InvalidRecord
        There is no openssl, or the authority cannot be reached or grants no time stamp.
    """
    with tempfile.TemporaryDirectory(prefix="billing-stamp-") as folder:
        data, query, reply = (Path(folder) / name for name in ("data", "query", "reply"))
        data.write_bytes(content)
        asked = _openssl("-query", "-data", str(data), "-sha256", "-cert", "-out", str(query))
        if asked.returncode != 0:
            raise _unstamped(authority, _last_line(asked))
        request = urllib.request.Request(  # noqa: S310 - the site's own setting
            authority,
            data=query.read_bytes(),
            headers={"Content-Type": "application/timestamp-query"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                reply.write_bytes(answer.read())
        except (OSError, ValueError) as error:
            raise _unstamped(authority, str(error)) from None
        read = _openssl("-reply", "-in", str(reply), "-text")
        if read.returncode != 0 or b"Status: Granted" not in read.stdout:
            raise _unstamped(authority, "its reply is no time stamp")
        return reply.read_bytes()


def check_time_stamp(content: bytes, reply: bytes, authorities: Path) -> SignatureCheck:
    """Check a time stamp of content; ``authorities`` is a PEM file with the roots to trust."""
    _require(authorities)
    with tempfile.TemporaryDirectory(prefix="billing-stamp-") as folder:
        data, file = Path(folder) / "data", Path(folder) / "reply"
        data.write_bytes(content)
        file.write_bytes(reply)
        words = ("-data", str(data), "-in", str(file), "-CAfile", str(authorities))
        if _openssl("-verify", *words).returncode != 0:
            return SignatureCheck(False, "the time stamp does not fit, or is of no known authority")
        text = _openssl("-reply", "-in", str(file), "-text").stdout.decode(errors="replace")
    at = re.search(r"^Time stamp: (.+)$", text, flags=re.MULTILINE)
    return SignatureCheck(True, f"time-stamped {at[1] if at else ''}".strip())


def _unstamped(authority: str, said: str) -> InvalidRecord:
    return InvalidRecord(
        f"there is no time stamp ({said})",
        where=authority,
        remedy="see that the authority can be reached, or unset BILLING_TIME_STAMPS",
    )


def _require(file: Path) -> None:
    if not file.is_file():
        raise InvalidRecord(
            "there is no such file",
            where=str(file),
            remedy="set BILLING_ALLOWED_SIGNERS and BILLING_TIME_STAMP_CA to files, or unset them",
        )


def _sshsig(public: bytes, namespace: str, raw: bytes) -> bytes:
    """A whole Ed25519 signature of its 64 bytes (OpenSSH, PROTOCOL.sshsig)."""
    signature = _string(_ED25519.encode()) + _string(raw)
    parts = (public, namespace.encode(), b"", b"sha512", signature)
    return b"SSHSIG" + struct.pack(">I", 1) + b"".join(_string(part) for part in parts)


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _decoded(text: str) -> bytes:
    """Base64 decoded; empty if it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # not base64 or not ASCII
        return b""


def _who(checked: subprocess.CompletedProcess[bytes]) -> str:
    """``signed by NAME with KEY``, from ssh-keygen's ``Good "…" signature for NAME with KEY``."""
    _, _, who = checked.stdout.decode().strip().partition("signature ")
    return "signed " + (f"by {who.removeprefix('for ')}" if who.startswith("for ") else who)


def _keygen(what: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return _run(["ssh-keygen", "-Y", what, *words], stdin)


def _openssl(*words: str) -> subprocess.CompletedProcess[bytes]:
    return _run(["openssl", "ts", *words])


def _run(words: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if name != "SSH_ASKPASS"}
    try:
        return subprocess.run(
            words,
            env=kept | {"LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"},
            input=stdin,
            capture_output=True,
            check=False,
            start_new_session=True,  # no terminal, so it cannot ask for a passphrase
        )
    except FileNotFoundError:
        package = {"ssh-keygen": "openssh-client"}.get(words[0], words[0])
        raise InvalidRecord(
            f"there is no {words[0]} to sign or check a signature with",
            remedy=f"install {package}",
        ) from None


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
