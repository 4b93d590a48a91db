"""The invoices that these tests render have the shape that the library computes and publishes."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from sample_invoice import (
    ad_hoc_credit,
    invoice,
    lettered,
    prepaid_invoice,
    reissue,
    stated,
    taxed_invoice,
)
from sample_snapshot import NUMBER, snapshot

from billing_lib.workflow.invoice import SCHEMA, compute_invoices, misfit

SAMPLES = {
    "plain": invoice(),
    "taxed": taxed_invoice(),
    "prepaid": prepaid_invoice(),
    "reissue": reissue(),
    "ad hoc": ad_hoc_credit(),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_has_the_keys_of_a_computed_invoice(name: str) -> None:
    computed, sample = compute_invoices(snapshot()).invoices[NUMBER], SAMPLES[name]
    assert keys(sample) == keys(computed)
    for part in ("dates_covered", "facility", "project", "team", "summaries", "totals"):
        assert keys(sample[part]) == keys(computed[part]), part
    for line in sample["lines"]:
        assert keys(line) == keys(computed["lines"][0])
    for summary, rows in sample["summaries"].items():
        for row in rows:
            assert keys(row) == keys(computed["summaries"][summary][0]), summary


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_fits_the_published_schema(name: str) -> None:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    for sample in (SAMPLES[name], lettered(stated(SAMPLES[name]))):
        Draft202012Validator(schema).validate(sample)
        assert misfit(sample) is None


def test_every_field_of_the_schema_is_described() -> None:
    def told(part: dict[str, Any]) -> None:
        for name, field in part.get("properties", {}).items():
            assert "description" in field or name in ("period", "total"), name
            assert not field.get("properties") or field["additionalProperties"] is False, name
            told(field)
            told(field.get("items", {}))

    told(json.loads(SCHEMA.read_text()))


def test_a_misfit_is_told_in_a_sentence() -> None:
    sample = invoice()
    sample["lines"][1]["rate"] = "1.25"
    assert misfit(sample) == (
        "it does not fit invoice.schema.json: lines[1] must not contain {'rate'} properties"
    )
    assert misfit(invoice(tax="6 %")) == (
        "it does not fit invoice.schema.json: tax must be object or null"
    )
    read = "and this version reads billing-invoice/3 and billing-invoice/2 only"
    assert misfit(invoice(format="billing-invoice/1")) == f"its format is billing-invoice/1, {read}"
    assert misfit([]) == f"its format is not stated, {read}"


def keys(part: dict[str, Any]) -> list[str]:
    return sorted(part)
