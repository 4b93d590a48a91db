"""From a snapshot to invoices: the one computation that issues.

    snapshot ─▶ charges ─▶ invoices ─▶ invoices/RC-1994-00001.json

``compute_invoices`` is a pure function of a snapshot. It returns each invoice as the canonical
result, a plain structure of texts, counts and lists. A line lists its steps of pricing:

    {"step": "after hours", "quantity": "2", "price": "25", "amount": "50.00"}

A line is one charge or sums several (pricing/aggregation.py); the charges of such an invoice are
files beside it, which it names by their sha256 (workflow/detail.py).

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

import orjson
import polars as pl

from billing_lib.pricing.adjusting import notes_of, waived_charges
from billing_lib.pricing.aggregation import Lines, number_lines, sum_lines
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.charging import SUBSIDY, Charges
from billing_lib.pricing.explain import STEPS, price_steps
from billing_lib.pricing.invoicing import Invoices
from billing_lib.pricing.money import PERCENT_PLACES, money_text, plain_text
from billing_lib.pricing.rating import Catalogue
from billing_lib.pricing.split import apportion
from billing_lib.workflow.detail import COLUMNS as DETAIL
from billing_lib.workflow.detail import Keep, detail_files, detail_texts, dropped, stated
from billing_lib.workflow.snapshot import (
    AD_HOC,
    FACILITY_TEXTS,
    Snapshot,
    charge_months,
    histories,
    sum_invoices,
)

Invoice = dict[str, Any]

INVOICE_FORMAT = "billing-invoice/3"
"""Name and version of the canonical result's shape."""

EARLIER_FORMAT = "billing-invoice/2"
"""The format before lines could sum charges; its invoices are read as if each line summed one."""

FIRST_FORMAT = "billing-invoice/1"
"""The format before there was a schema; its records verify and reproduce, and nothing reads it."""

SCHEMA = Path(__file__).with_name("invoice.schema.json")
"""The JSON Schema of that shape."""

_SUMMED = ("line", "charges", "last_date", "several")
"""The keys of a line that EARLIER_FORMAT lacks; the invoice lacks ``detail``."""

_CANONICAL = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


def invoice_json(invoice: Mapping[str, Any]) -> str:
    """Write an invoice as its canonical text, one that was read in the format it was issued in."""
    if invoice.get("format") == EARLIER_FORMAT:
        lines = [
            {key: value for key, value in line.items() if key not in _SUMMED}
            for line in invoice["lines"]
        ]
        invoice = {key: invoice[key] for key in invoice if key != "detail"} | {"lines": lines}
    return orjson.dumps(invoice, option=_CANONICAL).decode()


def fingerprint(invoice: Mapping[str, Any]) -> str:
    """Compute the sha256 of the canonical text in UTF-8, as hexadecimal digits."""
    return hashlib.sha256(invoice_json(invoice).encode()).hexdigest()


def read_invoice(text: str) -> Invoice:
    """Read an invoice from its canonical text, in the present shape."""
    invoice: Invoice = orjson.loads(text)
    if invoice["format"] == EARLIER_FORMAT:
        invoice["detail"] = []
        for number, line in enumerate(invoice["lines"], 1):
            line |= {"line": number, "charges": 1, "last_date": line["date"], "several": []}
    return invoice


def write_invoices(invoices: Mapping[str, Invoice], folder: Path) -> None:
    """Write each invoice into a folder as ``<number>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, invoice in invoices.items():
        (folder / f"{number}.json").write_text(invoice_json(invoice), encoding="utf-8")


def misfit(invoice: object) -> str | None:
    """How a canonical result differs from its schema, in a sentence; None where it fits."""
    stated = invoice.get("format") if isinstance(invoice, dict) else None
    if stated not in (INVOICE_FORMAT, EARLIER_FORMAT):
        return (
            f"its format is {stated or 'not stated'}, and this version reads {INVOICE_FORMAT} and "
            f"{EARLIER_FORMAT} only"
        )
    import fastjsonschema

    try:
        _validate(stated)(invoice)
    except fastjsonschema.JsonSchemaValueException as error:
        return f"it does not fit {SCHEMA.name}: {error.message.replace('data.', '', 1)}"
    return None


@cache
def _validate(of_format: str) -> Callable[[object], object]:
    import fastjsonschema

    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    if of_format == EARLIER_FORMAT:
        schema["properties"]["format"]["const"] = of_format
        line = schema["properties"]["lines"]["items"]
        for part, keys in ((schema, ("detail",)), (line, _SUMMED)):
            part["required"] = [key for key in part["required"] if key not in keys]
            for key in keys:
                del part["properties"][key]
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


def compute_invoices(snapshot: Snapshot, keep: Keep | None = dropped) -> Computation:
    """Compute the charges and invoices of a snapshot.

    ``keep`` takes the files of the invoices' details (workflow/detail.py). With None there are
    none, and the invoices name none, as for drafts.
    """
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
    lines, details = _lines(priced, snapshot, catalogue, keep)
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
            details.get(row["invoice"], []),
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
    detail: list[dict[str, Any]],
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
        "detail": detail,
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


_CHARGES_AT_ONCE = 200_000
"""About so many charges are text at a time; an invoice is never divided."""

_Parts = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
"""Splits, rules' lines and steps of pricing."""


def _lines(
    priced: Charges, snapshot: Snapshot, catalogue: Catalogue, keep: Keep | None
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[dict[str, Any]]]]:
    """The lines of each invoice, and the files of its detail, if its lines sum several charges."""
    charges, steps = _in_order(priced, snapshot), _steps(snapshot, catalogue)
    counted = charges.group_by("invoice", maintain_order=True).agg(pl.len().alias("charges"))
    counted = counted.with_columns(part=(pl.col("charges").cum_sum() - 1) // _CHARGES_AT_ONCE)
    lines: dict[str, list[dict[str, Any]]] = {}
    details: dict[str, list[dict[str, Any]]] = {}
    for _, part in counted.group_by("part", maintain_order=True):
        some = charges.join(part, on="invoice", how="semi", maintain_order="left")
        here = some.select("charge")
        parts = (
            priced.splits.join(here, on="charge", how="semi", maintain_order="left"),
            priced.rule_lines.rename({"subject": "charge"}).join(
                here, on="charge", how="semi", maintain_order="left"
            ),
            steps.join(here, on="charge", how="semi", maintain_order="left"),
        )
        numbered = number_lines(some, parts[0])
        summed = sum_lines(numbered, *parts)
        lines |= _line_texts(summed, snapshot, catalogue)
        if keep is not None:
            several = summed.lines.filter(pl.col("charges") > 1).select("invoice").unique()
            detailed = numbered.join(several, on="invoice", how="semi", maintain_order="left")
            details |= _details(detailed, parts, snapshot, catalogue, keep)
    return lines, details


def _in_order(priced: Charges, snapshot: Snapshot) -> pl.DataFrame:
    """The charges by invoice, date, start and code, with ``late``, ``alone`` and the invoice's
    ``number``, ``by`` and ``above``."""
    of_month = pl.col("date").dt.to_string("%Y-%m")
    touched = pl.concat([snapshot.adjustments["charge"], snapshot.lines["charge"]]).unique()
    # An ad hoc invoice bills what it bills, whenever that was.
    is_late = (of_month < snapshot.text["period"]) & (pl.col("of") != AD_HOC)
    invoices = snapshot.invoices.select(
        "invoice", "number", of="kind", by="lines_by", above="lines_above"
    )
    return (
        priced.charges.join(invoices, on="invoice", how="left")
        .with_columns(pl.col("description").fill_null(""), late=pl.when(is_late).then(of_month))
        .with_columns(
            alone=pl.col("late").is_not_null() | pl.col("charge").is_in(touched.implode())
        )
        .sort("invoice", "date", "start", "charge", nulls_last=True)
    )


def _steps(snapshot: Snapshot, catalogue: Catalogue) -> pl.DataFrame:
    """The steps of pricing (schema STEPS); each month is priced by itself, as in snapshot.py."""
    usage = snapshot.usage
    months = (usage.filter(pl.col("period") == it) for it in usage["period"].unique().sort())
    parts = [price_steps(month, catalogue, snapshot.adjustments) for month in months]
    return pl.concat([STEPS.to_frame(), *parts])


def _by_staff(snapshot: Snapshot) -> pl.DataFrame:
    """The work of staff: ``charge``, ``adjustments``, ``added``, ``note``, ``waived``."""
    change = pl.struct("field", "before", pl.col("value").alias("after"), "by", "at", "reason")
    adjustments = (
        snapshot.adjustments.sort("order")
        .group_by("charge", maintain_order=True)
        .agg(change.alias("adjustments"))
    )
    added = snapshot.lines.select("charge", added=pl.struct("by", "at", "reason"))
    return (
        adjustments.join(added, on="charge", how="full", coalesce=True)
        .join(notes_of(snapshot.adjustments), on="charge", how="left")
        .with_columns(waived=pl.col("charge").is_in(waived_charges(snapshot.adjustments).implode()))
    )


def _with_parts(
    frame: pl.DataFrame, keys: list[str], parts: _Parts, snapshot: Snapshot, places: int
) -> pl.DataFrame:
    """Add the lists ``expense_codes``, ``rules`` and ``steps``, the work of staff, and the item's
    name; the order stays."""
    listed = frame.with_row_index("place")
    for part, name, fields in zip(
        parts,
        ("expense_codes", "rules", "steps"),
        (
            ("expense_code", "percent", "amount"),
            ("rule", "kind", "amount"),
            ("step", "quantity", "price", "amount"),
        ),
        strict=True,
    ):
        texts = as_text(part, places).group_by(keys, maintain_order=True)
        listed = listed.join(texts.agg(pl.struct(*fields).alias(name)), on=keys, how="left")
    return (
        listed.join(snapshot.items.select("item", "item_name"), on="item", how="left")
        .join(_by_staff(snapshot), on="charge", how="left")
        .with_columns(
            pl.col("expense_codes", "rules", "steps", "adjustments").fill_null([]),
            pl.col("waived").fill_null(value=False),
            charge=pl.format("{}/{}", pl.lit(snapshot.text["facility"]), "charge"),
        )
        .sort("place")
        .drop("place")
    )


def _line_texts(
    summed: Lines, snapshot: Snapshot, catalogue: Catalogue
) -> dict[str, list[dict[str, Any]]]:
    texts = as_text(summed.lines, catalogue.places, catalogue.timezone)
    parts = (summed.splits, summed.rules, summed.steps)
    frame = _with_parts(texts, ["invoice", "line"], parts, snapshot, catalogue.places)
    item = pl.struct(code="item", name="item_name")
    line = pl.struct(
        *("line", "charge", "charges", "kind"),
        pl.when(pl.col("item").is_not_null()).then(item).alias("item"),
        *("unit", "date", "last_date", "start", "end", "description", "user", "several"),
        *("hours", "units", "quantity", "price", "effective_rate", "rate_group", "steps"),
        *("raw_total", "adjustment", "total", "expense_codes", "adjustments", "rules", "added"),
        *("waived", "late", "note"),
        pl.when(pl.col("file").is_not_null()).then(pl.struct("file", "row")).alias("source"),
    )
    grouped = frame.group_by("invoice", maintain_order=True).agg(line.alias("lines"))
    return dict(grouped.iter_rows())


def _details(
    charges: pl.DataFrame, parts: _Parts, snapshot: Snapshot, catalogue: Catalogue, keep: Keep
) -> dict[str, list[dict[str, Any]]]:
    """Keep the detail of these charges' invoices; the files to name, by invoice."""
    if charges.height == 0:
        return {}
    timed = pl.col("start").is_not_null()
    known = charges.with_columns(
        pl.when(timed).then(name).alias(name) for name in ("hours", "units")
    )
    typed = _with_parts(known, ["charge"], parts, snapshot, catalogue.places)
    texts = detail_texts(as_text(typed, catalogue.places, catalogue.timezone))
    details, first = {}, 0
    counted = typed.group_by("invoice", "number", maintain_order=True).agg(pl.len())
    for invoice, number, rows in counted.iter_rows():
        own = typed.slice(first, rows).select(DETAIL)
        files = detail_files(number, texts.slice(first, rows), own, catalogue.places)
        details[invoice] = stated(files, keep)
        first += rows
    return details


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
