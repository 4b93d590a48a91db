"""Commands about the office.

the site       ``init``, ``lab``, ``portal``, ``demo``
usage          ``load``, ``unload``, ``unbilled``, ``quote``
permissions    ``grant``, ``revoke``, ``permissions``, ``people``, ``events``
texts          ``text``, ``texts``
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from billing_lib.cli.app import (
    AsJson,
    FacilityCode,
    PeriodText,
    Preview,
    Reason,
    app,
    ledger,
    price_book,
    progress,
    say,
    say_frame,
    say_json,
)
from billing_lib.errors import InvalidAdjustment, UnreadableFile, count_of

if TYPE_CHECKING:
    import polars as pl

    from billing_lib.pricing.pricebook import PriceBook
    from billing_lib.workflow.correct import TakenBack


@app.command(epilog="Example: billing init core-facility")
def init(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]", help="The folder to make a site; without it the site that is here."
        ),
    ] = None,
) -> None:
    """Make a site and set up its ledger; doing it again changes nothing."""
    from billing_lib.ledger.database import initialise, open_ledger
    from billing_lib.settings import SITE_FILE, anywhere
    from billing_lib.workflow.site import KEY, KEY_ADVICE, NO_KEY, make_site

    here = anywhere() if folder is None else None
    if here is None or not (here.site or here.places_given):
        folder = folder or Path()
        if not (folder / SITE_FILE).exists():
            made = make_site(folder)
            say(f"{folder.absolute()}: a site, with {', '.join(made)} and runs/")
            say(KEY_ADVICE if KEY in made else NO_KEY)
        here = anywhere(folder)
    engine = open_ledger(here.database)
    shown = engine.url.render_as_string(hide_password=True)
    say(f"{shown}: set up" if initialise(engine) else f"{shown}: set up before, nothing changed")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: billing lab --no-browser",
)
def lab(context: typer.Context) -> None:
    """Open the office in JupyterLab, on the overview; further options go to JupyterLab."""
    import os
    import sys

    from billing_lib.settings import require_extra, settings
    from billing_lib.workflow.notebooks import JUPYTER, lab_environment, open_home

    office = settings().office.absolute()
    require_extra("lab", "billing lab")
    # Started by JupyterHub, JupyterLab takes its address and its login from there.
    hub = "JUPYTERHUB_SERVICE_URL" in os.environ
    words = [
        *(["jupyterlab.labhubapp"] if hub else ["jupyter", "lab"]),
        f"--notebook-dir={office}",
        f"--{'ServerApp' if hub else 'LabApp'}.default_url=/doc/tree/{open_home(office)}",
        f"--LabApp.workspaces_dir={office / '.workspaces'}",
        f"--LabApp.extra_labextensions_path={JUPYTER / 'labextensions'}",
        "--ServerApp.jpserver_extensions=billing_lib.panels.server=True",
        *context.args,
    ]
    os.execve(  # noqa: S606 - the words are the user's own
        sys.executable,
        [sys.executable, "-m", *words],
        {**os.environ, **lab_environment()},
    )


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: billing portal --port 8866",
)
def portal(context: typer.Context) -> None:
    """Serve listings, invoices and statements read-only by Voilà; further options go to Voilà."""
    from billing_lib.portal.pages import serve

    serve(context.args)


@app.command(epilog="Example: billing demo")
def demo() -> None:
    """Bill a month of real usage: load, rate, adjust, issue, verify, reproduce."""
    from billing_lib.cli.demonstration import demonstrate

    demonstrate()


@app.command(epilog="Example: billing load RC data/NASA-iPSC-1993-3.1-cln.swf.gz")
def load(
    facility: FacilityCode,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Usage files; - is standard input.")
    ],
    kind: Annotated[
        str | None, typer.Option(help="Their kind, or a mapping of the price book.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The file name under which standard input is loaded.")
    ] = None,
    preview: Preview = False,
    as_json: AsJson = False,
) -> None:
    """Load usage files: CSV, Excel, Parquet, JSON, Slurm sacct, SWF. Twice changes nothing.

    A record that stands otherwise in a later file is corrected, and its pending charge with it.
    """
    from billing_lib.settings import settings
    from billing_lib.workflow.load import load_files

    book = price_book(facility)
    with TemporaryDirectory() as folder:
        paths = [_typed_in(Path(folder), name) if file == Path("-") else file for file in files]
        with progress("load") as step:
            loaded = load_files(
                ledger(), book, paths, step, kind, preview=preview, keep=settings().usage_files
            )
    if as_json:
        counts = (
            *("file", "records", "new", "known", "corrected", "refused", "taken_back"),
            *("defects", "undated", "notices"),
        )
        say_json(
            [
                {count: getattr(file, count) for count in counts}
                | {"rows": _as_texts(file.outcomes, book).to_dicts()}
                for file in loaded
            ]
        )
        return
    for file in loaded:
        say(file.sentence)
        _say_outcomes(file.outcomes, book)
    if preview:
        say(f"{facility}: nothing was loaded, this is a preview")


@app.command(epilog="Example: billing unload RC usage.csv --reason 'the wrong month' --preview")
def unload(
    facility: FacilityCode,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A loaded file: its path, name or the first digits of its sha256."
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why; kept with the event.")] = "",
    preview: Preview = False,
    as_json: AsJson = False,
) -> None:
    """Take back the records of a file that are not billed; 'undo' brings them again."""
    from billing_lib.workflow.correct import unload as take_back

    book = price_book(facility)
    done = take_back(ledger(), book, file, reason, preview=preview)
    say_taken_back(done, book, preview=preview, as_json=as_json)


def say_taken_back(done: "TakenBack", book: "PriceBook", *, preview: bool, as_json: bool) -> None:
    """Print the result of taking back a file, or of undoing that."""
    if as_json:
        rows = _as_texts(done.outcomes, book).to_dicts()
        say_json({"file": done.file, "group": "" if preview else done.group, "rows": rows})
        return
    say(done.sentence)
    _say_outcomes(done.outcomes, book)
    code = book.facility.code
    if preview:
        say(f"{code}: nothing was changed, this is a preview")
    elif done.group:
        say(f"take it back with billing undo {code} {done.group}")


OUTCOMES_SHOWN = 20
"""So many rows are listed; --json lists them all."""


def _as_texts(outcomes: "pl.DataFrame", book: "PriceBook") -> "pl.DataFrame":
    import polars as pl

    from billing_lib.pricing.money import minor_places, money_text_column

    places = minor_places(book.facility.currency)
    return outcomes.with_columns(
        money_text_column(pl.col(name), places) for name in ("before", "after")
    )


def _say_outcomes(outcomes: "pl.DataFrame", book: "PriceBook") -> None:
    """Print a sentence on each of the first rows, those that stay as they are billed first."""
    import polars as pl

    first = outcomes.sort(pl.col("outcome") != "refused", maintain_order=True).head(OUTCOMES_SHOWN)
    for row in _as_texts(first, book).iter_rows(named=True):
        sentence = f"{row['file']}, row {row['row']}: {row['record']} {row['outcome']}"
        sentence += f", {row['reason']}" if row["reason"] else ""
        if row["outcome"] == "new":
            say(sentence)
            continue
        if row["before"] is not None:
            charge = f"{book.facility.code}/{row['record']}"
            after = row["after"] or "none"
            same = f"{charge} stays {after}" if row["before"] == after else ""
            sentence += "; " + (same or f"{charge} {row['before']} → {after}")
        say(sentence + (f", {row['note']}" if row["note"] else ""))
    if outcomes.height > first.height:
        say(f"and {outcomes.height - first.height:,} more; --json lists them all")


def _typed_in(folder: Path, name: str | None) -> Path:
    """Standard input as a file of this name."""
    if name is None or Path(name).name != name:
        raise UnreadableFile(
            "standard input needs a file name, by which its records are known",
            where="-",
            remedy="give one without a folder, such as --name usage.csv",
        )
    path = folder / name
    from billing_lib.sources.files import read_within_limit

    path.write_bytes(read_within_limit(sys.stdin.buffer, name))
    return path


@app.command(epilog="Example: billing unbilled RC 1993-10")
def unbilled(
    facility: FacilityCode,
    period: PeriodText,
    summary: Annotated[bool, typer.Option(help="Count by reason instead of listing.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the unbilled usage of a period, each record with its reason."""
    from billing_lib.pricing.clock import Period
    from billing_lib.workflow.rate import read_unbilled, unbilled_by_reason

    price_book(facility)
    month = str(Period.parse(period))
    read = unbilled_by_reason if summary else read_unbilled
    say_frame(
        read(ledger(), facility, month),
        title=f"Unbilled {facility} {month}",
        as_json=as_json,
        spared=("period", "occurrence", "raw", "start", "end", "date", "file", "item", "user"),
    )


@app.command(epilog="Example: billing quote tests/scenarios/splits.yml --check")
def quote(
    scenarios: Annotated[list[Path], typer.Argument(metavar="SCENARIO…", help="YAML files.")],
    check: Annotated[bool, typer.Option(help="Compare with what the file expects.")] = False,
) -> None:
    """Price scenarios and print the results as JSON; with --check compare them with 'expect'."""
    from billing_lib.pricing.scenario import differences, quote
    from billing_lib.workflow.load import read_scenario

    parsed = [(path, read_scenario(path)) for path in scenarios]
    results = [(path, scenario, quote(scenario)) for path, scenario in parsed]
    if not check:
        for _, _, result in results:
            say_json(result)
        return
    different = 0
    for path, scenario, result in results:
        found = differences(result, scenario.expect.model_dump())
        different += bool(found)
        for difference in found:
            say(f"{path}: {difference}")
        if not found:
            say(f"{path}: as expected")
    raise typer.Exit(1 if different else 0)


Login = Annotated[
    str,
    typer.Argument(
        metavar="LOGIN",
        help="As the ledger records it: of PostgreSQL, or of the operating system with SQLite.",
    ),
]
Role = Annotated[
    str,
    typer.Argument(
        metavar="ROLE",
        help="viewer, reviewer, issuer, administrator, auditor or lab_administrator.",
    ),
]
Team = Annotated[str | None, typer.Option(help="Of a lab administrator: the lab.")]


@app.command(epilog="Example: billing grant RC ann administrator")
def grant(
    facility: FacilityCode, login: Login, role: Role, team: Team = None, reason: Reason = ""
) -> None:
    """Give a login a role in a facility; its maker is its first administrator."""
    from billing_lib.workflow.permissions import grant as given

    say(given(ledger(), price_book(facility), login, role, team, reason))


@app.command(epilog="Example: billing revoke RC li lab_administrator --team bio")
def revoke(
    facility: FacilityCode, login: Login, role: Role, team: Team = None, reason: Reason = ""
) -> None:
    """Take a role from a login; a facility keeps its last administrator."""
    from billing_lib.workflow.permissions import revoke as taken

    say(taken(ledger(), price_book(facility), login, role, team, reason))


people = typer.Typer(
    help="Say which logins of a PostgreSQL server may use its ledgers.",
    no_args_is_help=True,
    epilog="Example: billing people add ann",
)
app.add_typer(people, name="people")


@people.command("add", epilog="Example: billing people add ann; billing people add li --kind lab")
def people_add(
    login: Login,
    kind: Annotated[str, typer.Option(help="staff; reader (viewer, auditor); lab.")] = "staff",
) -> None:
    """Let a login use the ledgers of the server; it is made if the server does not know it."""
    from billing_lib.workflow.permissions import let_in

    say(let_in(ledger(), login, kind))


@people.command("remove", epilog="Example: billing people remove ann")
def people_remove(login: Login) -> None:
    """Keep a login from the ledgers of the server; the login itself stays."""
    from billing_lib.workflow.permissions import keep_out

    say(keep_out(ledger(), login))


@people.command("list", epilog="Example: billing people list")
def people_list(as_json: AsJson = False) -> None:
    """List the logins that may use the ledgers of the server."""
    from billing_lib.workflow.permissions import list_people

    say_frame(list_people(ledger()), title="People", as_json=as_json)


@app.command(epilog="Example: billing permissions RC")
def permissions(
    facility: Annotated[
        str | None, typer.Argument(metavar="[FACILITY]", help="The facility's code.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the roles of each login and the actions that they allow."""
    from billing_lib.workflow.permissions import list_permissions

    if facility is not None:
        price_book(facility)
    listed = list_permissions(ledger(), facility)
    say_frame(listed, title="Permissions", as_json=as_json)


@app.command(epilog="Example: billing events RC --subject 57 --kind adjust")
def events(
    facility: FacilityCode,
    subject: Annotated[
        list[str] | None, typer.Option(help="Only of this charge, invoice, run or login.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only of this kind, such as adjust or issue.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List events with login, time and reason, and check their chain; status 1 if it is broken."""
    from billing_lib.workflow.permissions import read_trail

    trail = read_trail(ledger(), facility, subject or None, kind or None)
    say_frame(
        trail.events if as_json else trail.events.drop("hash"),
        title=f"Events {facility}",
        as_json=as_json,
        spared=("group", "team", "before"),
    )
    for sentence in trail.breaks:
        typer.echo(sentence, err=as_json)
    if not trail.breaks and not as_json:
        say(
            f"{facility}: the chain of {count_of(trail.length, 'event')} is whole, its "
            f"last hash {trail.last}"
        )
    raise typer.Exit(1 if trail.breaks else 0)


TextName = Annotated[str, typer.Argument(metavar="NAME", help="instructions or contacts.")]


@app.command(epilog="Example: billing text RC instructions --set 'Please check within 30 days.'")
def text(
    facility: FacilityCode,
    name: TextName,
    words: Annotated[str | None, typer.Option("--set", help="The new text.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with the new text.")] = None,
    reason: Reason = "",
) -> None:
    """Write a new version of a text; issued invoices keep their version."""
    from billing_lib.sources.files import read_text
    from billing_lib.workflow.notes import write_text

    if (words is None) == (file is None):
        raise InvalidAdjustment("say the new text", remedy="add --set TEXT or --file FILE")
    if file is not None:
        words = read_text(file)
    say(write_text(ledger(), price_book(facility), name, str(words), reason))


@app.command(epilog="Example: billing texts RC instructions")
def texts(facility: FacilityCode, name: TextName, as_json: AsJson = False) -> None:
    """List the versions of a text; the last one is in use."""
    from billing_lib.workflow.notes import text_versions

    say_frame(
        text_versions(ledger(), price_book(facility), name),
        title=f"{facility}: {name}",
        as_json=as_json,
        spared=("reason", "at"),
    )
