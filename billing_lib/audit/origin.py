"""Origin: what a record's environment.json says, read back to run it again.

Whoever holds a record can have written anything into it, so each value is checked before it
reaches git, an engine or an installer: a commit is a full hash, a container a digest.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from billing_lib.audit.crate import ENVIRONMENT
from billing_lib.audit.provenance import COMMIT, IMAGE, NO_CONTAINER
from billing_lib.errors import InvalidRecord

_SHA256 = r"^[0-9a-f]{64}$"


class Origin(BaseModel):
    """By which commit, in which environment a record was made."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    commit: Annotated[str, Field(pattern=f"^(?:{COMMIT})$")]
    dirty: bool
    diff_sha256: Annotated[str, Field(pattern=_SHA256)] | None
    container: Annotated[str, Field(pattern=f"^(?:{NO_CONTAINER}|{IMAGE})$")]
    lock_sha256: Annotated[str, Field(pattern=_SHA256)]
    python: Annotated[str, Field(pattern=r"^\w+ \d+\.\d+\.\S+$")]
    packages: dict[str, str]


def read_origin(data: Path) -> Origin:
    """What the environment.json in a record's ``data/`` says.

    Raises
    ------
    InvalidRecord
        It is missing, or does not say what it should.
    """
    path = data / ENVIRONMENT
    try:
        return Origin.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidRecord(
            f"the record does not say where it comes from ({error.strerror})", where=str(path)
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidRecord(
            f"the record does not say where it comes from ({key + ': ' if key else ''}"
            f"{first['msg']})",
            where=str(path),
            remedy="take the record from the archive again",
        ) from None
