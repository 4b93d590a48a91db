"""From a snapshot to invoices: the one computation that issues.

    snapshot ─▶ charges ─▶ invoices ─▶ invoices/RC-1994-00001.json

``compute_invoices`` is a pure function of a snapshot. It returns each invoice as the canonical
result, a plain structure of texts, counts and lists. A line lists its steps of pricing:

    {"step": "after hours", "quantity": "2", "rate": "25", "amount": "50.00"}

Invoices draw from a project's prepaid funds in the order of their numbers, as far as the funds
go; the expense codes pay the rest in proportion. The canonical text has sorted keys, two spaces,
decimal strings and a line feed at the end; invoice.schema.json (JSON Schema 2020-12) describes it.
Its sha256 is the fingerprint that the ledger, the manifest and the documents state;
``sha256sum RC-1994-00001.json`` prints the same.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import orjson
import polars as pl

from billing_lib.pricing.adjusting import notes_of, waived_charges
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.charging import SUBSIDY, Charges
from billing_lib.pricing.explain import STEPS, price_steps
from billing_lib.pricing.invoicing import Invoices
from billing_lib.pricing.money import PERCENT_PLACES, money_text, plain_text
from billing_lib.pricing.split import apportion
from billing_lib.workflow.snapshot import (
    AD_HOC,
    FACILITY_TEXTS,
    Snapshot,
    charge_months,
    histories,
    sum_invoices,
)


def line_steps(snapshot: Snapshot, places: int) -> pl.DataFrame:
    """The steps of pricing: ``charge`` and ``steps``, a list of structs of texts.

    Each month is priced by itself, as in workflow/snapshot.py.
    """
    usage, catalogue = snapshot.usage, snapshot.catalogue()
    months = (usage.filter(pl.col("period") == it) for it in usage["period"].unique().sort())
    parts = [price_steps(month, catalogue, snapshot.adjustments) for month in months]
    steps = as_text(pl.concat([STEPS.to_frame(), *parts]), places)
    step = pl.struct("step", "quantity", "price", "amount")
    return steps.group_by("charge", maintain_order=True).agg(step.alias("steps"))


Invoice = dict[str, Any]

INVOICE_FORMAT = "billing-invoice/2"
"""Name and version of the canonical result's shape."""

SCHEMA = Path(__file__).with_name("invoice.schema.json")
"""The JSON Schema of that shape."""


_CANONICAL = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


def invoice_json(invoice: Mapping[str, Any]) -> str:
    """Write an invoice as its canonical text."""
    return orjson.dumps(invoice, option=_CANONICAL).decode()


def fingerprint(invoice: Mapping[str, Any]) -> str:
    """Compute the sha256 of the canonical text in UTF-8, as hexadecimal digits."""
    return hashlib.sha256(invoice_json(invoice).encode()).hexdigest()


def read_invoice(text: str) -> Invoice:
    """Read an invoice from its canonical text."""
    invoice: Invoice = json.loads(text)
    return invoice


def write_invoices(invoices: Mapping[str, Invoice], folder: Path) -> None:
    """Write each invoice into a folder as ``<number>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, invoice in invoices.items():
        (folder / f"{number}.json").write_text(invoice_json(invoice), encoding="utf-8")


def misfit(invoice: object) -> str | None:
    """How a canonical result differs from its schema, in a sentence; None where it fits."""
    stated = invoice.get("format") if isinstance(invoice, dict) else None
    if stated != INVOICE_FORMAT:
        return (
            f"its format is {stated or 'not stated'}, and this version reads {INVOICE_FORMAT} only"
        )
    try:
        _validate()(invoice)
    except fastjsonschema.JsonSchemaValueException as error:
        return f"it does not fit {SCHEMA.name}: {error.message.replace('data.', '', 1)}"
    return None


@cache
def _validate() -> Callable[[object], object]:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validate: Callable[[object], object] = fastjsonschema.compile(schema)
    return validate


@dataclass(frozen=True)
class Computation:
    """The result of computing a snapshot.

    Attributes
    ----------
    priced
        Charges, each with its ``invoice``, and splits.
    totals
        One row per invoice: ``number``, ``invoice``, ``kind``, ``project``, ``team``, counts and
        totals (minor units); ``drawn`` from prepaid funds, null if the project has none.
    by_expense_code
        The shares to pay: ``number``, ``invoice``, ``expense_code``, ``amount``.
    rule_lines
        The adjustments by rules at invoice scope (schema RULE_LINES), by invoice.
    invoices
        The canonical results, by number.
    """

    priced: Charges
    totals: pl.DataFrame
    by_expense_code: pl.DataFrame
    rule_lines: pl.DataFrame
    invoices: dict[str, Invoice]


def compute_invoices(snapshot: Snapshot) -> Computation:
    """Compute the charges and invoices of a snapshot."""
    catalogue = snapshot.catalogue()
    charged = charge_months(
        snapshot.usage, catalogue, snapshot.rules, snapshot.adjustments, snapshot.lines
    )
    priced = replace(charged, charges=charged.charges.join(snapshot.assignment, on="charge"))
    summed = sum_invoices(
        priced, catalogue, snapshot.year_to_date, snapshot.assignment, snapshot.invoices
    )
    totals = _drawn(summed.invoices.join(snapshot.invoices, on=["invoice", "project"]))
    codes = (
        pay_rest(summed.by_expense_code, totals)
        .join(totals.select("invoice", "number"), on="invoice")
        .sort("number", "expense_code")
    )
    summed = replace(summed, by_expense_code=codes)
    lines = _lines(priced, snapshot, catalogue.places, catalogue.timezone)
    summaries = _summaries(priced, summed, snapshot, catalogue.places)
    apart = _apart(priced, summed, catalogue.places)
    notes = dict(snapshot.notes.select("project", "note").iter_rows())
    history = histories(snapshot.history, totals, snapshot.text["period"], catalogue.places)
    facility = _facility(snapshot)
    accounts = {
        row["project"]: row for row in snapshot.accounts.unique("project").iter_rows(named=True)
    }
    invoices = {
        row["number"]: _invoice(
            row,
            accounts[row["project"]],
            snapshot.text,
            facility,
            catalogue.places,
            lines.get(row["invoice"], []),
            {name: parts.get(row["invoice"], []) for name, parts in summaries.items()},
            {name: parts.get(row["invoice"], []) for name, parts in apart.items()}
            | {"history": history[row["project"]]},
            [notes[row["project"]]] if row["project"] in notes and row["kind"] != AD_HOC else [],
        )
        for row in totals.iter_rows(named=True)
    }
    return Computation(priced, totals, codes, summed.rule_lines, invoices)


def _invoice(
    totals: dict[str, Any],
    account: dict[str, Any],
    text: dict[str, str],
    facility: dict[str, Any],
    places: int,
    lines: list[dict[str, Any]],
    summaries: dict[str, list[dict[str, Any]]],
    apart: dict[str, list[dict[str, Any]]],
    notes: list[str],
) -> Invoice:
    money = ("charges_raw_total", "charges_adjustment", "raw_total", "adjustment", "total")
    return {
        "format": INVOICE_FORMAT,
        "number": totals["number"],
        "kind": totals["kind"],
        "reference": totals["reference"],
        "description": totals["description"],
        "replaces": totals["replaces"],
        "run": text["run"],
        "invoice_date": text["invoice_date"],
        "period": text["period"],
        "dates_covered": {
            "from": totals["covers_from"].isoformat(),
            "to": totals["covers_to"].isoformat(),
        },
        "currency": text["currency"],
        "facility": facility,
        "project": {
            "code": account["project"],
            "name": account["project_name"],
            "type": account["project_type"],
            "rate_group": account["rate_group"],
        },
        "team": {
            "code": account["team"],
            "name": account["team_name"],
            "administrators": account["administrators"],
        },
        "notes": notes,
        "lines": lines,
        "summaries": summaries,
        **apart,
        "tax": _tax(totals, account, places),
        "prepaid": _prepaid(totals, places),
        "totals": {"charges": totals["charges"]}
        | {name: money_text(totals[name], places) for name in money}
        | {"due": money_text(totals["total"] - (totals["drawn"] or 0), places)},
    }


def _facility(snapshot: Snapshot) -> dict[str, Any]:
    text, logo = snapshot.text, snapshot.logo
    stated: dict[str, Any] = {key: text.get(key) for key in FACILITY_TEXTS}
    if logo is not None:
        # The snapshot keeps the picture in a file beside its frames.
        stated["logo"] = {"file": logo.file, "sha256": logo.sha256}
    return {
        "code": text["facility"],
        "name": text["facility_name"],
        "timezone": text["timezone"],
        "instructions": text["instructions"],
        "contacts": text["contacts"],
        **{key: value for key, value in stated.items() if value},  # stated ones only
    }


def _drawn(totals: pl.DataFrame) -> pl.DataFrame:
    """Compute the draw of each invoice from its project's prepaid funds, in order of number."""
    owed = pl.col("total").clip(lower_bound=0)
    before = (owed.cum_sum() - owed).over("project")
    left = (pl.col("prepaid") - before).clip(lower_bound=0)
    return (
        totals.sort("number")
        .with_columns(drawn=pl.min_horizontal(owed, left))
        .with_columns(
            drawn=pl.when(pl.col("prepaid").is_not_null()).then("drawn"),
            left=pl.when(pl.col("prepaid").is_not_null()).then(left - pl.col("drawn")),
        )
    )


def pay_rest(codes: pl.DataFrame, totals: pl.DataFrame) -> pl.DataFrame:
    """Take the drawn amount off the expense codes' shares in proportion."""
    drawing = totals.filter(pl.col("drawn") > 0).select("invoice", "drawn")
    shares = (
        codes.join(drawing, on="invoice")
        .sort("invoice", "expense_code")
        .with_columns(
            weight=pl.col("amount").clip(lower_bound=0),
            place=pl.int_range(pl.len()).over("invoice"),
        )
    )
    taken = apportion(shares, "invoice", "drawn", "weight", "place")
    paying = shares.select(*codes.columns).with_columns(amount=pl.col("amount") - taken)
    return pl.concat([codes.join(drawing, on="invoice", how="anti"), paying])


def _prepaid(totals: dict[str, Any], places: int) -> dict[str, str] | None:
    if not totals["drawn"]:
        return None
    return {
        "drawn": money_text(totals["drawn"], places),
        "left": money_text(totals["left"], places),
    }


def _tax(totals: dict[str, Any], account: dict[str, Any], places: int) -> dict[str, str] | None:
    if totals["tax"] is None:
        return None
    percent = Decimal(account["tax_percent"]).scaleb(-PERCENT_PLACES)
    return {
        "name": account["tax_name"],
        "percent": plain_text(percent),
        "amount": money_text(totals["tax"], places),
    }


def _apart(
    priced: Charges, summed: Invoices, places: int
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The adjustments by invoice rules, and the subsidies by their payer, per invoice."""
    adjustments = as_text(summed.rule_lines, places).select(
        invoice="subject", part=pl.struct("rule", "kind", "on", "amount")
    )
    subsidies = (
        priced.rule_lines.filter(pl.col("kind") == SUBSIDY)
        .join(priced.charges.select("invoice", subject="charge"), on="subject")
        .group_by("invoice", "rule")
        .agg(-pl.col("amount").sum())
        .sort("invoice", "rule")
        .pipe(as_text, places)
        .select("invoice", part=pl.struct("amount", by="rule"))
    )
    parts = {"adjustments": adjustments, "subsidies": subsidies}
    return {
        name: dict(frame.group_by("invoice", maintain_order=True).agg("part").iter_rows())
        for name, frame in parts.items()
    }


def _lines(
    priced: Charges, snapshot: Snapshot, places: int, timezone: str
) -> dict[str, list[dict[str, Any]]]:
    facility = snapshot.text["facility"]
    splits = (
        as_text(priced.splits, places)
        .group_by("charge", maintain_order=True)
        .agg(pl.struct("expense_code", "percent", "amount").alias("expense_codes"))
    )
    adjustments = (
        snapshot.adjustments.sort("order")
        .group_by("charge", maintain_order=True)
        .agg(
            pl.struct(
                "field", "before", pl.col("value").alias("after"), "by", "at", "reason"
            ).alias("adjustments")
        )
    )
    rules = (
        as_text(priced.rule_lines, places)
        .group_by(pl.col("subject").alias("charge"), maintain_order=True)
        .agg(pl.struct("rule", "kind", "amount").alias("rules"))
    )
    notes = notes_of(snapshot.adjustments)
    waived = pl.col("charge").is_in(waived_charges(snapshot.adjustments).implode())
    added = snapshot.lines.select("charge", added=pl.struct("by", "at", "reason"))
    items = snapshot.items.select("item", "item_name")
    month = snapshot.text["period"]
    of_month = pl.col("date").dt.to_string("%Y-%m")
    invoiced = priced.charges.join(
        snapshot.invoices.select("invoice", of="kind"), on="invoice", how="left"
    ).with_columns(
        # An ad hoc invoice bills what it bills, whenever that was.
        late=pl.when((of_month < month) & (pl.col("of") != AD_HOC)).then(of_month)
    )
    in_order = invoiced.sort("invoice", "date", "start", "charge", nulls_last=True)
    frame = (
        as_text(in_order.with_row_index("place"), places, timezone)
        .join(splits, on="charge", how="left")
        .join(adjustments, on="charge", how="left")
        .join(rules, on="charge", how="left")
        .join(added, on="charge", how="left")
        .join(line_steps(snapshot, places), on="charge", how="left")
        .join(notes, on="charge", how="left")
        .with_columns(waived=waived)
        .join(items, on="item", how="left")
        .sort("place")
    )
    timed = pl.col("start").is_not_null()
    line = pl.struct(
        pl.format("{}/{}", pl.lit(facility), "charge").alias("charge"),
        "kind",
        pl.when(pl.col("item").is_not_null())
        .then(pl.struct(code="item", name="item_name"))
        .alias("item"),
        "unit",
        "date",
        "start",
        "end",
        pl.col("description").fill_null(""),
        "user",
        pl.when(timed).then(pl.col("hours")).alias("hours"),
        pl.when(timed).then(pl.col("units")).alias("units"),
        "quantity",
        "price",
        "effective_rate",
        "rate_group",
        pl.col("steps").fill_null([]),
        "raw_total",
        "adjustment",
        "total",
        "expense_codes",
        pl.col("adjustments").fill_null([]),
        pl.col("rules").fill_null([]),
        "added",
        "waived",
        "late",
        "note",
        pl.when(pl.col("file").is_not_null()).then(pl.struct("file", "row")).alias("source"),
    )
    grouped = frame.group_by("invoice", maintain_order=True).agg(line.alias("lines"))
    return dict(grouped.iter_rows())


def _summaries(
    priced: Charges, summed: Invoices, snapshot: Snapshot, places: int
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    charges = priced.charges.join(snapshot.items.select("item", "item_name"), on="item", how="left")
    by_user = (
        charges.group_by("invoice", "user")
        .agg(pl.len().alias("charges"), pl.col("hours", "total").sum())
        .sort("invoice", "user", nulls_last=True)
        .pipe(as_text, places)
        .select("invoice", part=pl.struct("user", "charges", "hours", "total"))
    )
    by_item = (
        charges.group_by("invoice", "item", "item_name", "unit")
        .agg(pl.len().alias("charges"), pl.col("quantity", "total").sum())
        .sort("invoice", "item", nulls_last=True)
        .pipe(as_text, places)
        .select(
            "invoice",
            part=pl.struct(
                "item",
                "unit",
                "charges",
                name="item_name",
                quantity=pl.when(pl.col("item").is_not_null()).then("quantity"),
                total="total",
            ),
        )
    )
    by_code = as_text(summed.by_expense_code.rename({"amount": "total"}), places).select(
        "invoice", part=pl.struct("expense_code", "total")
    )
    parts = {"by_user": by_user, "by_item": by_item, "by_expense_code": by_code}
    return {
        name: dict(frame.group_by("invoice", maintain_order=True).agg("part").iter_rows())
        for name, frame in parts.items()
    }
