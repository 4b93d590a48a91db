"""An invoice for programs: UBL 2.1 (ISO/IEC 19845) by the European norm EN 16931-1.

The terms (BT) and groups (BG) below are those of EN 16931-1:2017, clause 6.3; CEN/TS 16931-3-2
binds them to UBL; BR-… are the norm's business rules.

**Claim.** ``CustomizationID`` (BT-24) claims EN 16931 unless a rule cannot be kept; the document is
then plain UBL 2.1. The rules cannot be kept where

- the facility states no ``country``: both addresses need one (BR-09, BR-11). A team counts as in
  its facility's country, since it is billed internally;
- a tax is charged and the facility states no ``tax_id`` (BR-S-02);
- the currency has more than two decimal places, the norm's limit (BR-DEC-…). Amounts stay exact,
  since a rounded one would make another invoice.

**Type** (BT-3) is 380, commercial invoice, whatever the sign. A credit note (381) takes back an
invoice sent earlier; in UBL it is a document of its own, with reversed signs and without
``ProjectReference``. A month with more credits than charges takes nothing back: its invoice has a
negative amount due, which EN 16931 allows (BT-115 is any amount; only a price, BT-146, is never
negative: BR-27).

**Lines** (BG-25), one per charge, or for several charges that the invoice sums; the files with all
of these are supporting documents (BG-24), named with their sha256. Net amount (BT-131) = quantity ×
price ÷ base quantity + charges − allowances = the line's total. If quantity × rate, rounded to the
currency, is the raw total, the price (BT-146) is the rate. Otherwise (a minimum, a fee, a tier, a
price by time, a rounded quantity) the price is the raw total and its base quantity (BT-149) the
quantity: "12.50 for 0.1 hours", which is always exact; the rate then stands among the item's
attributes. A line without a quantity, such as an added line, is one piece at the raw total. A
negative amount has its minus sign at the quantity.

**From raw total to total.** Each rule on a charge and each change by staff is an allowance or a
charge of the line (BG-27, BG-28), including subsidies and waivers; each rule on the invoice is one
of the document (BG-20, BG-21). A difference without a rule has a step of its own.

**Tax.** EN 16931 knows the scheme VAT alone, so any tax stands there under its category (BT-151,
UNCL5305): S with a percentage, Z at 0 per cent, O, outside the scope, without a tax.

Expense codes are the buyer's accounting references (BT-19, BT-133); the project is BT-11.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from billing_lib.documents.text import NOTHING, Invoice, named, printable_invoice, rule_text
from billing_lib.documents.view import blended, item_name, summed

EN16931 = "urn:cen.eu:en16931:2017"
"""BT-24 of an invoice that keeps the norm's rules, without a further profile."""

COMMERCIAL_INVOICE = "380"
"""UNCL1001, the document type (BT-3)."""

PIECE = "C62"
"""UN/ECE Recommendation 20: one piece, without another unit."""

UNIT_CODES = {
    "hour": "HUR",
    "minute": "MIN",
    "second": "SEC",
    "day": "DAY",
    "week": "WEE",
    "month": "MON",
    "year": "ANN",
    "each": PIECE,
    "use": PIECE,
    "mg": "MGM",
    "g": "GRM",
    "kg": "KGM",
    "ml": "MLT",
    "l": "LTR",
    "mb": "4L",
    "gb": "E34",
    "tb": "E35",
    "kwh": "KWH",
}
"""Price books' units, in lower case, to UN/ECE Recommendation 20; others count as pieces."""

_NAMESPACES = {
    "xmlns": "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2",
    "xmlns:cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "xmlns:cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}
_VAT = "VAT"
_PLACES = 2  # decimal places of an amount (EN 16931-1, clause 6.5.2)
_VAT_PREFIXES = {"GR": ("GR", "EL"), "GB": ("GB", "XI")}  # other countries: their own code
_WIDE = Context(prec=60, rounding=ROUND_HALF_UP)  # holds any quantity × rate exactly

Step = tuple[str, Decimal]
"""A reason, and its change of an amount."""


@dataclass(frozen=True)
class _Terms:
    """Properties of an invoice that all its amounts and lines share."""

    currency: str
    category: str
    percent: str | None
    nothing: str

    @classmethod
    def of(cls, invoice: dict[str, Any]) -> "_Terms":
        tax, total = invoice.get("tax"), Decimal(invoice["totals"]["total"])
        percent = tax["percent"] if tax else None
        category = "O" if percent is None else "S" if Decimal(percent) else "Z"
        return cls(invoice["currency"], category, percent, f"{total - total:f}")

    def amount(self, parent: Element, name: str, amount: str | Decimal) -> None:
        text = amount if isinstance(amount, str) else f"{amount:f}"
        _put(parent, name, text, currencyID=self.currency)

    def tax_category(self, parent: Element, name: str, *, reasoned: bool = False) -> None:
        category = _put(parent, name)
        _put(category, "cbc:ID", self.category)
        _say(category, "cbc:Percent", self.percent)  # BR-O-05 to BR-O-07: none outside the scope
        if reasoned and self.percent is None:
            _put(category, "cbc:TaxExemptionReasonCode", "VATEX-EU-O")
            _put(category, "cbc:TaxExemptionReason", "Not subject to VAT")
        _put(_put(category, "cac:TaxScheme"), "cbc:ID", _VAT)


def render_ubl(invoice: Invoice) -> bytes:
    """The invoice as a UBL 2.1 document, UTF-8; amounts are the canonical decimal strings."""
    shown = printable_invoice(invoice)
    terms, facility, tax = _Terms.of(shown), shown["facility"], shown.get("tax")
    root = Element("Invoice", _NAMESPACES)
    if _keeps_the_norm(shown, terms):
        _put(root, "cbc:CustomizationID", EN16931)
    _put(root, "cbc:ID", shown["number"])
    _put(root, "cbc:IssueDate", shown["invoice_date"])
    _put(root, "cbc:InvoiceTypeCode", COMMERCIAL_INVOICE)
    for note in _notes(shown):
        _put(root, "cbc:Note", note)
    _put(root, "cbc:DocumentCurrencyCode", terms.currency)
    codes = shown["summaries"]["by_expense_code"]
    booked = [(code["expense_code"], code["total"]) for code in codes]
    _say(root, "cbc:AccountingCost", _accounting(booked))
    covered = shown["dates_covered"]
    _period(root, covered["from"], covered["to"])
    if shown.get("reference"):  # an ad hoc invoice's order (BT-13)
        _put(_put(root, "cac:OrderReference"), "cbc:ID", _line(shown["reference"]))
    if shown.get("replaces"):  # the preceding invoice (BG-3)
        replaced = _put(_put(root, "cac:BillingReference"), "cac:InvoiceDocumentReference")
        _put(replaced, "cbc:ID", shown["replaces"])
    for part in shown["detail"]:  # supporting documents (BG-24)
        document = _put(root, "cac:AdditionalDocumentReference")
        _put(document, "cbc:ID", part["file"])
        _put(
            document,
            "cbc:DocumentDescription",
            f"All charges, {part['rows']:,} in this file, sha256 {part['sha256']}",
        )
    _put(_put(root, "cac:ProjectReference"), "cbc:ID", _line(shown["project"]["code"]))
    number = (facility.get("tax_id") or "") if tax else ""  # BR-O-02: none outside the scope
    contacts = "; ".join(facility["contacts"].split("\n")) if facility["contacts"] else ""
    for role, party, tax_id, contact in (
        ("Supplier", facility, number, contacts),
        ("Customer", shown["team"], "", ", ".join(shown["team"]["administrators"])),
    ):
        _party(root, role, party, facility.get("country") or "", tax_id, contact)
    # EN 16931-1:2017 demands terms for an amount due (BR-CO-25, no longer in its schematron).
    instructions = facility["instructions"] or "Charged to the expense codes of the lines."
    _put(_put(root, "cac:PaymentTerms"), "cbc:Note", instructions.strip())
    _totals(root, shown, terms)
    for line in shown["lines"] or [_no_charge(shown, terms)]:
        _invoice_line(root, line, terms)
    indent(root, " ")
    written: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return written + b"\n"


def _keeps_the_norm(invoice: dict[str, Any], terms: _Terms) -> bool:
    facility = invoice["facility"]
    fits = len(terms.nothing.partition(".")[2]) <= _PLACES
    return bool(
        fits and facility.get("country") and (terms.percent is None or facility.get("tax_id"))
    )


def _notes(invoice: dict[str, Any]) -> list[str]:
    tax = invoice.get("tax")
    notes = [
        *invoice["notes"],
        invoice.get("description") or "",
        f"Project {named(invoice['project'])}",
        f"Billing run {invoice['run']}",
    ]
    if tax is not None:
        notes.append(f"{tax['name']}, {tax['percent']} %")
    notes += [
        f"Subsidy paid by {paid['by']}: {paid['amount']} {invoice['currency']}"
        for paid in invoice.get("subsidies", [])
    ]
    # "#AAI#…" marks a note's subject (BT-21, UNCL4451: general information). Without it, readers
    # would take "12 " for the subject of the note "tickets #12 #13".
    return [f"#AAI#{note}" if "#" in note else note for note in notes if note.strip()]


def _accounting(booked: Iterable[tuple[str | None, str]]) -> str:
    """The expense code; of several, each with its amount."""
    parts = [(_line(code or "") or NOTHING, amount) for code, amount in booked]
    if len(parts) == 1:
        return parts[0][0]
    return "; ".join(f"{code} {amount}" for code, amount in parts)


def _party(
    root: Element, role: str, party: dict[str, Any], country: str, tax_id: str, contact: str
) -> None:
    element = _put(_put(root, f"cac:Accounting{role}Party"), "cac:Party")
    _put(_put(element, "cac:PartyIdentification"), "cbc:ID", _line(party["code"]))
    if country:
        address = _put(element, "cac:PostalAddress")
        _put(_put(address, "cac:Country"), "cbc:IdentificationCode", country)
    if tax_id:
        # A VAT identifier (BT-31) begins with its country (BR-CO-09); other numbers are BT-32.
        is_vat = bool(country) and tax_id.startswith(_VAT_PREFIXES.get(country, country))
        scheme = _put(element, "cac:PartyTaxScheme")
        _put(scheme, "cbc:CompanyID", _line(tax_id))
        _put(_put(scheme, "cac:TaxScheme"), "cbc:ID", _VAT if is_vat else "TAX")
    name = _line(party["name"] or "") or _line(party["code"])
    _put(_put(element, "cac:PartyLegalEntity"), "cbc:RegistrationName", name)
    if _line(contact):
        _put(_put(element, "cac:Contact"), "cbc:Name", _line(contact))


def _totals(root: Element, invoice: dict[str, Any], terms: _Terms) -> None:
    """Write the document's allowances and charges, tax and totals (BG-20 to BG-23)."""
    totals, tax = invoice["totals"], invoice.get("tax")
    taxed = tax["amount"] if tax else terms.nothing
    before_tax = Decimal(totals["total"]) - Decimal(taxed)
    rules = [(rule_text(step), step["amount"]) for step in invoice.get("adjustments", [])]
    whole = before_tax - Decimal(totals["raw_total"])
    steps = _steps(rules, whole, "Adjustment of the invoice")
    _allowances_and_charges(root, steps, terms, taxed=True)
    total = _put(root, "cac:TaxTotal")
    terms.amount(total, "cbc:TaxAmount", taxed)
    subtotal = _put(total, "cac:TaxSubtotal")
    terms.amount(subtotal, "cbc:TaxableAmount", before_tax)
    terms.amount(subtotal, "cbc:TaxAmount", taxed)
    terms.tax_category(subtotal, "cac:TaxCategory", reasoned=True)
    monetary = _put(root, "cac:LegalMonetaryTotal")
    terms.amount(monetary, "cbc:LineExtensionAmount", totals["raw_total"])
    terms.amount(monetary, "cbc:TaxExclusiveAmount", before_tax)
    terms.amount(monetary, "cbc:TaxInclusiveAmount", totals["total"])
    for name, amounts in (
        ("Allowance", [-amount for _, amount in steps if amount < 0]),
        ("Charge", [amount for _, amount in steps if amount > 0]),
    ):
        if amounts:
            terms.amount(monetary, f"cbc:{name}TotalAmount", sum(amounts, Decimal(0)))
    if invoice.get("prepaid"):  # BT-113
        terms.amount(monetary, "cbc:PrepaidAmount", invoice["prepaid"]["drawn"])
    terms.amount(monetary, "cbc:PayableAmount", totals["due"])


def _steps(rules: Iterable[tuple[str, str]], whole: Decimal, otherwise: str) -> list[Step]:
    """The steps of rules, then the rest of the whole as one step; steps of zero are left out."""
    steps = [(_line(reason), Decimal(amount)) for reason, amount in rules]
    rest = whole - sum((amount for _, amount in steps), Decimal(0))
    return [(reason, amount) for reason, amount in [*steps, (otherwise, rest)] if amount]


def _allowances_and_charges(
    parent: Element, steps: Iterable[Step], terms: _Terms, *, taxed: bool = False
) -> None:
    for reason, amount in steps:
        element = _put(parent, "cac:AllowanceCharge")
        _put(element, "cbc:ChargeIndicator", "true" if amount > 0 else "false")
        _put(element, "cbc:AllowanceChargeReason", reason)
        terms.amount(element, "cbc:Amount", abs(amount))
        if taxed:  # those of a line follow the line's category
            terms.tax_category(element, "cac:TaxCategory")


def _invoice_line(root: Element, line: dict[str, Any], terms: _Terms) -> None:
    quantity, unit, price, base = _priced(line)
    element = _put(root, "cac:InvoiceLine")
    _put(element, "cbc:ID", _line(line["charge"] or str(line["line"])))
    _say(element, "cbc:Note", line.get("note"))
    _put(element, "cbc:InvoicedQuantity", quantity, unitCode=unit)
    terms.amount(element, "cbc:LineExtensionAmount", line["total"])
    shares = [(share["expense_code"], share["amount"]) for share in line["expense_codes"]]
    _say(element, "cbc:AccountingCost", _accounting(shares))
    days = {"start": line["date"], "end": line["last_date"]}
    first, last = (line[end][:10] if line[end] else day for end, day in days.items())
    _period(element, first, last)
    rules = [(rule_text(rule), rule["amount"]) for rule in line.get("rules", [])]
    change = Decimal(line["total"]) - Decimal(line["raw_total"])
    _allowances_and_charges(element, _steps(rules, change, _by_staff(line)), terms)
    _item(element, line, unit, base, terms)
    priced = _put(element, "cac:Price")
    terms.amount(priced, "cbc:PriceAmount", price)
    if base is not None:
        _put(priced, "cbc:BaseQuantity", base, unitCode=unit)


def _priced(line: dict[str, Any]) -> tuple[str, str, str, str | None]:
    """Quantity, unit, price and base quantity that give the raw total exactly."""
    raw_total, price = Decimal(line["raw_total"]), line["price"]
    quantity = abs(Decimal(line["quantity"] or 0))
    unit = UNIT_CODES.get((line["unit"] or "").lower(), PIECE)
    if line["quantity"] is not None and price is not None:
        amount = _WIDE.quantize(
            _WIDE.multiply(Decimal(line["quantity"]), Decimal(price)), raw_total
        )
        if amount == raw_total:
            return line["quantity"], unit, price, None
    sign, price = "-" if raw_total < 0 else "", f"{raw_total.copy_abs():f}"
    if not quantity:
        return f"{sign}1", PIECE, price, None
    return f"{sign}{quantity:f}", unit, price, f"{quantity:f}"


def _by_staff(line: dict[str, Any]) -> str:
    change = "Waived" if line.get("waived") else "Adjusted by staff"
    reasons = [
        step["reason"]
        for step in line["adjustments"]
        if step["field"] in {"amount", "waived"} and step["reason"]
    ]
    return _line(f"{change}: {reasons[-1]}" if reasons else change)


def _item(
    parent: Element, line: dict[str, Any], unit: str, base: str | None, terms: _Terms
) -> None:
    item, element = line["item"] or {}, _put(parent, "cac:Item")
    description = (line["description"] or "").strip()
    name = _line(item.get("name") or item.get("code") or "")
    _say(element, "cbc:Description", description if name else "")
    _put(element, "cbc:Name", name or _line(description) or item_name(line))
    if item:
        _put(_put(element, "cac:SellersItemIdentification"), "cbc:ID", _line(item["code"]))
    terms.tax_category(element, "cac:ClassifiedTaxCategory")
    attributes = {
        "Charges": f"{line['charges']}" if summed(line) else None,
        "User": line["user"],
        "Start": line["start"],
        "End": line["end"],
        "Hours": line["hours"],
        "Units": line["units"] if line["hours"] else None,
        "Unit": line["unit"] if unit == PIECE else None,  # the code alone would lose it
        "Rate": line["price"] if base is not None else None,  # else it is the price
        "Blended rate": line.get("effective_rate") if line.get("steps") and blended(line) else None,
        "Rate group": line["rate_group"],
    }
    for label, value in attributes.items():
        if value and value.strip():
            attribute = _put(element, "cac:AdditionalItemProperty")
            _put(attribute, "cbc:Name", label)
            _put(attribute, "cbc:Value", _line(value))


def _no_charge(invoice: dict[str, Any], terms: _Terms) -> dict[str, Any]:
    """The line that an invoice without charges must have (BR-16)."""
    nothing = dict.fromkeys(("start", "end", "user", "hours", "quantity", "unit", "price", "item"))
    return nothing | {
        "charge": "0",
        "charges": 0,
        "several": [],
        "date": invoice["dates_covered"]["to"],
        "last_date": invoice["dates_covered"]["to"],
        "description": "No charges",
        "raw_total": terms.nothing,
        "total": terms.nothing,
        "expense_codes": [],
        "adjustments": [],
        "rate_group": None,
    }


def _period(parent: Element, first: str, last: str) -> None:
    period = _put(parent, "cac:InvoicePeriod")
    _put(period, "cbc:StartDate", first)
    _put(period, "cbc:EndDate", last)


def _put(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    element = SubElement(parent, name, attributes)
    element.text = text
    return element


def _say(parent: Element, name: str, text: str | None) -> None:
    """Add a child with the text, unless it is blank: UBL has no empty elements."""
    if text and text.strip():
        _put(parent, name, text.strip())


def _line(text: str) -> str:
    """A name or identifier on one line."""
    return " ".join(text.split())
