"""A small facility in the scenario format, each section to be replaced by a test's own.

scenario(rates='[{item: slide, group: internal, price: "0.10"}]',
         usage='[{id: u1, item: slide, project: p, date: 2020-04-06, quantity: "3"}]')
"""

from billing_lib.pricing.scenario import Result, Scenario, quote

SECTIONS = {
    "facility": "{code: RC, name: Computing, currency: USD, timezone: America/New_York}",
    "period": "2020-04",
    "items": "[{code: scope, name: Microscope, unit: hour}, "
    "{code: slide, name: Slide, unit: each}]",
    "rates": '[{item: scope, group: internal, price: "40.00"}, '
    '{item: slide, group: internal, price: "1.25"}]',
    "project_types": "[{code: faculty, rate_group: internal}]",
    "teams": "[{code: smith, name: Smith Lab}]",
    "projects": "[{code: p, team: smith, type: faculty, split: "
    '[{expense_code: A, percent: "60"}, {expense_code: B, percent: "40"}]}]',
}
SLIDES = '[{id: u1, item: slide, project: p, date: 2020-04-06, quantity: "12"}]'
"""Twelve slides at 1.25: 15.00, of which A pays 9.00 and B 6.00."""

WHO = 'by: carol, at: "2020-05-01T09:00:00-04:00", reason: agreed'


def text(**sections: str) -> str:
    """The YAML: one section a line, in the order of SECTIONS, then what was added.

    A section that is a block (starts with a line break) takes as many lines as it has.
    """
    return "".join(f"{key}: {value}\n" for key, value in (SECTIONS | sections).items() if value)


def scenario(**sections: str) -> Scenario:
    """The scenario, read."""
    return Scenario.parse(text(**sections), "april.yml")


def quoted(**sections: str) -> Result:
    """The scenario, priced."""
    return quote(scenario(**sections))
