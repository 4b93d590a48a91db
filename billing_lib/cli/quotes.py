"""``billing quote``: price a scenario without any database."""

from pathlib import Path
from typing import Annotated

import typer

from billing_lib.cli.app import app, say, say_json


@app.command(epilog="Example: billing quote tests/scenarios/splits.yml --check")
def quote(
    scenarios: Annotated[list[Path], typer.Argument(metavar="SCENARIO…", help="YAML files.")],
    check: Annotated[bool, typer.Option(help="Compare with what the file expects.")] = False,
) -> None:
    """Price scenarios and print the result as JSON; with --check compare with 'expect'."""
    from billing_lib.pricing.quote import differences, quote
    from billing_lib.pricing.scenario import Scenario
    from billing_lib.workflow.price_books import read_text

    parsed = [(path, Scenario.parse(read_text(path), str(path))) for path in scenarios]
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
