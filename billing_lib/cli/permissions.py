"""Commands about permissions: ``grant``, ``revoke``, ``permissions``, ``events``."""

from typing import Annotated

import typer

from billing_lib.cli.app import AsJson, FacilityCode, app, ledger, price_book, say, say_frame

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
Reason = Annotated[str, typer.Option(help="Why; kept with the event.")]


@app.command(epilog="Example: billing grant RC ann administrator")
def grant(
    facility: FacilityCode, login: Login, role: Role, team: Team = None, reason: Reason = ""
) -> None:
    """Give a login a role in a facility. Until it has an administrator everybody may do all."""
    from billing_lib.workflow.granting import grant as given

    say(given(ledger(), price_book(facility), login, role, team, reason))


@app.command(epilog="Example: billing revoke RC li lab_administrator --team bio")
def revoke(
    facility: FacilityCode, login: Login, role: Role, team: Team = None, reason: Reason = ""
) -> None:
    """Take a role from a login; the last administrator stays."""
    from billing_lib.workflow.granting import revoke as taken

    say(taken(ledger(), price_book(facility), login, role, team, reason))


@app.command(epilog="Example: billing permissions RC")
def permissions(
    facility: Annotated[
        str | None, typer.Argument(metavar="[FACILITY]", help="The facility's code.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List who has which role, and what each may do."""
    from billing_lib.workflow.granting import has_administrator, list_permissions

    if facility is not None:
        price_book(facility)
    engine = ledger()
    listed = list_permissions(engine, facility)
    say_frame(listed, title="Permissions", as_json=as_json)
    if facility is not None and not as_json and not has_administrator(engine, facility):
        say(
            f"{facility} has no administrator yet: everybody may do everything; "
            f"billing grant {facility} LOGIN administrator makes one"
        )


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
    """List who did what, when and why, and say whether the chain is whole; 1 if it is not."""
    from billing_lib.workflow.trail import read_trail

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
            f"{facility}: the chain of {trail.length:,} events is whole, its last hash {trail.last}"
        )
    raise typer.Exit(1 if trail.breaks else 0)
