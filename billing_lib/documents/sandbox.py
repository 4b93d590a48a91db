"""Rendering a facility's templates, which are not trusted: in processes that hold nothing.

    render(read_templates(folder), "letter.html", [{"invoice": {…}, …}], pdf=True)   →  [b"%PDF-…"]

A template is a program that somebody else wrote. It runs in Jinja's sandbox (template_worker.py),
and that in a process without settings, ledger and network, with limits. The same template and
values give the same bytes.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from billing_lib.documents.facility_templates import Templates
from billing_lib.errors import InvalidTemplate

WORKER = Path(__file__).with_name("template_worker.py")
"""What renders, run as a script."""

_AT_ONCE = 8  # documents that one process makes
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "315532800"}  # fonts in PDF bear a date

Step = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Limits:
    """What one document may take.

    Attributes
    ----------
    seconds
        Of the processor.
    length
        In characters, of the text.
    memory
        In bytes, of its process.
    """

    seconds: float = 10
    length: int = 20_000_000
    memory: int = 1 << 30


def render(
    templates: Templates,
    name: str,
    contexts: Sequence[dict[str, Any]],
    *,
    pdf: bool = False,
    limits: Limits | None = None,
    step: Step = lambda done, total, what: None,
) -> list[bytes]:
    """One document for each context, in that order; all or none.

    Parameters
    ----------
    name
        The template's, ``letter.html``.
    contexts
        Values of JSON, by the names that the template has them by.
    pdf
        Make a PDF of each HTML page.

    Raises
    ------
    InvalidTemplate
        It cannot be rendered, takes too long or needs too much; by template and line.
    """
    template = templates.require(name)
    if pdf:
        templates.require_page(name)
    stated = limits or Limits()
    job = {
        "name": template.file,
        "sources": dict(templates.sources),
        "newline": template.newline,
        "pdf": pdf,
        "folder": str(templates.folder),
        "seconds": stated.seconds,
        "bytes": stated.length,
        "memory": stated.memory,
    }
    parts = [contexts[at : at + _AT_ONCE] for at in range(0, len(contexts), _AT_ONCE)]
    made: list[bytes] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(_run, templates, job | {"contexts": part}) for part in parts]
        try:
            for running in jobs:
                made += running.result()
                step(len(made), len(contexts), name)
        finally:
            pool.shutdown(cancel_futures=True)
    return made


def _run(templates: Templates, job: dict[str, Any]) -> list[bytes]:
    where = templates.shown(job["name"])
    done = subprocess.run(  # noqa: S603 - this Python, this program's own file
        [sys.executable, "-I", str(WORKER)],
        input=json.dumps(job).encode(),
        capture_output=True,
        env=_ENVIRONMENT,
        check=False,
    )
    if done.returncode < 0:
        raise InvalidTemplate("it takes longer, or needs more memory, than it may", where=where)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    said = json.loads(done.stdout)
    found = said.get("problem")
    if found is None:
        return [base64.b64decode(result) for result in said["results"]]
    place = templates.shown(found["template"])
    raise InvalidTemplate(
        found["what"], where=place if found["line"] is None else f"{place}, line {found['line']}"
    )
