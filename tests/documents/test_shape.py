"""The invoices that these tests render have the shape that the library computes."""

from typing import Any

import pytest
from sample_invoice import ad_hoc_credit, invoice, prepaid_invoice, reissue, taxed_invoice
from sample_snapshot import NUMBER, snapshot

from billing_lib.workflow.invoice import compute_invoices

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


def keys(part: dict[str, Any]) -> list[str]:
    return sorted(part)
