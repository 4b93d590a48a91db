"""Several months as one price book, so that they are priced in one go.

Each month keeps what it has to itself: its codes get its place in front, and a rule that aims at
everything aims at all of that month. So what comes out must be the months' own results side by
side, and a month that changes what another one comes to is found as well.

    together([first, second])             items 0.scope, 1.scope, ...
    side_by_side([bill(first), ...])      {"charges": {"0.u1": ..., "1.u1": ...}, ...}

Currency, time zone and month belong to a whole price book: the months share them.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import given, seed

from .made_up import Frame, drawn, frames_of, months, one_of

MOST = 10
"""Months in one price book, on average."""

Lines = dict[str, str]
"""The added lines of a month, line-1 and so on, and what they are called among all."""


def check_months(number: int, count: int, check: Callable[[list[dict]], None]) -> None:
    """Check so many months, drawn at random by the number, many at a time.

    Where it fails, hypothesis finds the month that fails by itself, and shrinks it.
    """
    frames = frames_of(Random(number), max(1, count // MOST))
    alike: dict[Frame, list[dict]] = {frame: [] for frame in frames}

    @seed(number)
    @drawn(count)
    @given(months(one_of(*frames)))
    def each(month: dict) -> None:
        if failed:
            check([month])
        else:
            alike[Frame.of(month)].append(month)

    failed: list[AssertionError] = []
    each()
    try:
        for batch in filter(None, alike.values()):
            check(batch)
    except AssertionError as failure:
        failed.append(failure)
        each()
        raise


def together(months: list[dict]) -> dict:
    """The months' content as one."""
    lines = _lines([len(_added(month)) for month in months])
    parts = [_own(month, f"{at}.", lines[at]) for at, month in enumerate(months)]
    content = {"facility": months[0]["facility"], "period": months[0]["period"]}
    for section in parts[0]:
        content[section] = [entry for part in parts for entry in part[section]]
    return content | {
        "carried": {
            f"{at}.{rule}": {f"{at}.{key}": amount for key, amount in keys.items()}
            for at, month in enumerate(months)
            for rule, keys in month["carried"].items()
        }
    }


def side_by_side(results: list[dict]) -> dict:
    """What the months come to, as the one content's result."""
    added = [sum(code.startswith("line-") for code in it["charges"]) for it in results]
    found: dict[str, dict] = {section: {} for section in results[0]}
    for at, (result, lines) in enumerate(zip(results, _lines(added), strict=True)):
        for section, entries in result.items():
            found[section] |= {lines.get(code, f"{at}.{code}"): it for code, it in entries.items()}
    return found


def _added(month: dict) -> list[dict]:
    return [entry for entry in month["adjustments"] if "add_line" in entry]


def _lines(counts: list[int]) -> list[Lines]:
    return [
        {f"line-{nth}": f"line-{sum(counts[:at]) + nth}" for nth in range(1, count + 1)}
        for at, count in enumerate(counts)
    ]


def _own(month: dict, mark: str, lines: Lines) -> dict[str, list[dict]]:
    """A month's lists with the mark before each code."""

    def marked(entry: dict, *keys: str) -> dict:
        return entry | {key: _marked(entry[key], mark) for key in keys if key in entry}

    every = mark + "all"
    return {
        "resources": [marked(it, "code") for it in month["resources"]],
        "items": [marked(it, "code", "resource") for it in month["items"]],
        "rates": [marked(it, "item") for it in month["rates"]],
        "project_types": [marked(it, "code") for it in month["project_types"]],
        "teams": [
            marked(it, "code") | {"tags": [every, *_marked(it.get("tags", []), mark)]}
            for it in month["teams"]
        ],
        "projects": [marked(it, "code", "team", "type", "tags") for it in month["projects"]],
        "rules": [
            ({} if {"items", "projects"} & set(it) else {"tags": [every]})
            | marked(it, "name", "tags", "items", "projects")
            for it in month["rules"]
        ],
        "usage": [marked(it, "id", "item", "project", "user") for it in month["usage"]],
        "adjustments": [
            it | {"add_line": marked(it["add_line"], "project")}
            if "add_line" in it
            else it | {"charge": lines.get(it["charge"], mark + it["charge"])}
            for it in month["adjustments"]
        ],
    }


def _marked(value: Any, mark: str) -> Any:
    return [mark + it for it in value] if isinstance(value, list) else mark + value
