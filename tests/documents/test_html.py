"""The HTML page says what the canonical invoice says, and runs nothing that a text holds."""

from typing import Any

from sample_invoice import (
    ad_hoc_credit,
    added_line,
    draft,
    hourly,
    invoice,
    long_invoice,
    prepaid_invoice,
    reissue,
    taxed_invoice,
)

from billing_lib.documents import render_html
from billing_lib.documents.view import charges_table, summaries


def test_the_page_shows_the_way_to_the_total_before_any_table_of_charges(read_html) -> None:
    page = read_html(render_html(invoice()))
    # 84.0625 h × 128 × 0.125 = 1345.00; + 12.50 − 1275.00 = 82.50; − 1.25 = 81.25; − 5.00
    assert page.tables[0] == [
        ["Charges before adjustments", "USD 82.50"],
        ["Adjustments to charges", "USD −1.25"],
        ["3 charges after adjustments", "USD 81.25"],
        ["Adjustments to the invoice", "USD −5.00"],
        ["Total", "USD 76.25"],
    ]


def test_every_charge_is_a_row_with_its_codes_hours_rate_and_amounts(read_html) -> None:
    charges = read_html(render_html(invoice())).tables[4]
    assert charges[0][:5] == ["Charge", "Date", "Item and description", "User", "Expense code"]
    assert charges[1] == [
        "RC/57",
        "1993-10-01 07:06\nto 09:36",
        "Core hour\n84.0625 hours × 128",
        "u4",
        "370-1: 60 %, 807.00\n370-2: 40 %, 538.00",
        "84.0625",
        "10,760.0000",
        "unit-hour",
        "0.125",
        "1,345.00",
        "0.00",
        "1,345.00",
    ]
    assert charges[2][-3:] == ["12.50", "−1.25", "11.25"]
    assert charges[3][-3:] == ["−1,275.00", "0.00", "−1,275.00"]
    assert charges[4] == ["Total", *[""] * 8, "82.50", "−1.25", "81.25"]


def test_summaries_by_expense_code_item_and_user_end_in_their_sums(read_html) -> None:
    by_code, by_item, by_user = read_html(render_html(invoice())).tables[1:4]
    assert by_code[1:] == [["370-1", "−461.75"], ["370-2", "538.00"], ["Total", "76.25"]]
    assert by_item[1] == ["Core hour", "10,760.0000", "unit-hour", "1,345.00"]
    assert by_item[-1] == ["Total", "", "", "81.25"]
    assert by_user[1:] == [
        ["u4", "1", "84.0625", "1,345.00"],
        ["bob", "1", "–", "11.25"],
        ["No user", "1", "–", "−1,275.00"],
        ["Total", "3", "84.0625", "81.25"],
    ]


def test_an_adjustment_is_shown_with_who_when_why_before_and_after(read_html) -> None:
    trail = read_html(render_html(invoice())).tables[5]
    by_carol = ["carol", "1993-11-01 09:00:00 −08:00", "two broke"]
    by_dave = ["dave", "1993-11-02 10:00:00 −08:00", "belongs to the first grant"]
    assert trail[1] == ["RC/58", "1993-10-07", "quantity", "12", "10", *by_carol]
    split = ["370-1 60 %, 370-2 40 %", "370-1 100 %"]
    assert trail[2] == ["RC/58", "1993-10-07", "split", *split, *by_dave]


def test_a_line_that_staff_added_is_among_the_adjustments(read_html) -> None:
    trail = read_html(render_html(invoice())).tables[5]
    added = ["added line", "–", "−1,275.00", "carol", "1993-11-03 11:30:00 −08:00", "outage"]
    assert trail[3] == ["RC/59", "1993-10-31", *added]


def test_number_dates_bill_to_notes_instructions_and_contacts_are_on_the_page(read_html) -> None:
    text = "".join(read_html(render_html(invoice())).text)
    for said in (
        "Invoice RC-1993-00001",
        "8 November 1993",
        "1 October 1993 – 31 October 1993",
        "RC-1993-10-1",
        "Research Computing",
        "Aerodynamics (aero)",
        "Flow solver (u4)",
        "admin@example.edu\nsecond.admin@example.edu",
        "name its code within 30 days.",
        "billing@example.edu",
        "The machine was down on 12 October; a credit is included.",
    ):
        assert said in text


def test_markup_in_a_text_is_read_and_never_run(read_html) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    hostile = invoice([hourly(description=attack, user=attack)], notes=[attack])
    hostile["facility"]["name"] = hostile["project"]["name"] = attack
    page = read_html(render_html(hostile))
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert "".join(page.text).count(attack) >= 5


def test_the_page_needs_no_other_file(read_html) -> None:
    rendered = render_html(invoice())
    assert read_html(rendered).addresses == []
    assert "url(" not in rendered
    assert "@import" not in rendered


def test_texts_that_could_reorder_or_hide_an_amount_lose_that_power() -> None:
    rendered = render_html(invoice(notes=["pay \u202e00.1\u202c now\x00\u200b"]))
    assert "pay 00.1 now\ufffd" in rendered


def test_an_invoice_of_2000_charges_shows_each_once(read_html) -> None:
    charges = read_html(render_html(long_invoice(2000))).tables[-1]
    assert [row[0] for row in charges[1:-1]] == [f"RC/{n}" for n in range(1, 2001)]


def test_an_invoice_without_charges_says_so(read_html) -> None:
    page = read_html(render_html(invoice([])))
    assert "This invoice has no charges." in "".join(page.text)
    assert page.tables[0][-1] == ["Total (credit)", "USD −5.00"]
    assert len(page.tables) == 1


def test_a_credit_alone_is_a_negative_total(read_html) -> None:
    page = read_html(render_html(invoice([added_line(amount="-1234567.89")], adjustment="0.00")))
    assert page.tables[0][-1] == ["Total (credit)", "USD −1,234,567.89"]


def test_keys_of_later_versions_do_no_harm() -> None:
    later = invoice()
    plain = render_html(later)
    later["shown_from_version_2"] = {"x": [1]}
    later["lines"][0]["colour"] = "blue"
    # What is checked by the fingerprint is another file, and else the page is the same.
    shown, same = (page.partition('class="check"')[0] for page in (plain, render_html(later)))
    assert shown == same


def test_each_rule_the_tax_and_what_others_pay_stand_on_the_way_to_the_total(read_html) -> None:
    page = read_html(render_html(taxed_invoice()))
    assert page.tables[0] == [
        ["Charges before adjustments", "USD 1,345.00"],
        ["Adjustments to charges", "USD −40.00"],
        ["1 charge after adjustments", "USD 1,305.00"],
        ["cap p1 (cap on core-hour)", "USD −45.00"],
        ["Before tax", "USD 1,260.00"],
        ["Sales tax, 6.25 %", "USD 78.75"],  # 6.25 % of 1260.00
        ["Total", "USD 1,338.75"],
    ]
    assert [["City fund", "100.00"], ["Total", "100.00"]] in [table[1:] for table in page.tables]
    (line,) = page.tables[-1][1:-1]
    assert "blended rate" not in line[2]  # all of it was billed at one rate
    assert "pilot price (scale): −40.00" in line[2]


def test_prepaid_funds_stand_between_the_total_and_what_is_left_to_pay(read_html) -> None:
    rendered = render_html(prepaid_invoice())
    page = read_html(rendered)
    assert page.tables[0][-4:] == [
        ["Total", "USD 76.25"],  # 40.00 + 11.25 + 30.00 − 5.00
        ["Drawn from prepaid funds", "USD −50.00"],
        ["Left to pay", "USD 26.25"],
        ["Prepaid balance after this invoice", "USD 0.00"],
    ]
    assert page.tables[1][1:] == [["370-1", "20.74"], ["370-2", "5.51"], ["Left to pay", "26.25"]]
    assert "payments from prepaid funds are taken off each in proportion." in rendered
    assert "prepaid" not in render_html(invoice())


def test_a_reissue_says_in_its_heading_what_it_replaces_and_marks_late_charges(read_html) -> None:
    page = read_html(render_html(reissue()))
    text = " ".join(" ".join(page.text).split())
    heading = "Reissued invoice Invoice RC-1993-00007 Replaces invoice RC-1993-00001 With the jobs"
    assert heading in text
    assert "Replaces" not in "".join(read_html(render_html(invoice())).text)
    late, waived = (row[2] for row in page.tables[-2][1:-1])
    assert late.splitlines() == ["Core hour", "2.5 hours × 128", "late, of 1993-09"]
    assert "waived, see Adjustments\nnode 7" in waived


def test_an_ad_hoc_invoice_shows_its_reference_its_dates_and_that_it_is_a_credit(read_html) -> None:
    page = read_html(render_html(ad_hoc_credit()))
    text = " ".join(" ".join(page.text).split())
    again = read_html(render_html(ad_hoc_credit() | {"replaces": "RC-1993-00003"}))
    assert "Reissued ad hoc invoice" in "".join(again.text)
    assert "Ad hoc invoice Invoice RC-1993-00008 Settled by telephone Bill to" in text
    assert "Kind Ad hoc Reference PO 4711 Dates covered 31 October 1993 Billing run" in text
    assert page.tables[0][-1] == ["Total (credit)", "USD −1,275.00"]
    assert page.tables[1][1:] == [["370-1", "−1,275.00"], ["Total", "−1,275.00"]]


def test_a_draft_says_so_before_all_else_and_has_neither_number_nor_date(read_html) -> None:
    rendered = render_html(draft())
    page = read_html(rendered)
    text = " ".join(" ".join(page.text).split())
    warning = "DRAFT: not issued, without a number; all on it may still change."
    assert f"}} {warning} Research Computing" in text  # after the style, before the letterhead
    assert "Draft: Invoice Draft RC-1993-10-1/u4 Bill to" in text
    assert "Draft RC-1993-10-1/u4 Invoice date not issued yet" in text
    assert "None" not in text
    assert '<body class="draft">' in rendered  # the style puts the word across every page
    assert page.tables == read_html(render_html(invoice())).tables
    assert "draft" not in render_html(invoice()).partition("</style>")[2].lower()


def test_a_line_shows_start_and_end_and_how_its_amount_came_about() -> None:
    def part(step: str, quantity: str | None, price: str | None, amount: str) -> dict[str, Any]:
        return {"step": step, "quantity": quantity, "price": price, "amount": amount}

    def cells(**changed: Any) -> list[str]:
        return list(charges_table(invoice([hourly(**changed)])).rows[0])

    evening = {
        "start": "2020-04-06T16:00:00-04:00",
        "end": "2020-04-06T20:00:00-04:00",
        "hours": "4",
        "units": "1",
        "quantity": "4",
        "price": "40",
        "effective_rate": "28.750000",
        "raw_total": "115.00",
        "total": "115.00",
    }
    by_day = part("business hours", "1", "40", "40.00")
    by_night = part("after hours", "3", "25", "75.00")
    row = cells(**evening, steps=[by_day, by_night])
    assert row[1] == "2020-04-06 16:00\nto 20:00"
    assert row[2].splitlines() == [
        "Core hour",
        "1 h × 40.00 (business hours) + 3 h × 25.00 (after hours)",
        "blended rate 28.750000",
    ]
    assert row[6:10] == ["4", "hour", "40.00\n25.00", "115.00"]
    # one rate alone: nothing is blended
    row = cells(**evening, steps=[part("after hours", "4", "25", "100.00")])
    assert row[2].splitlines()[1:] == ["4 h × 25.00 (after hours)"]
    assert row[8] == "25.00"
    row = cells(
        **evening | {"end": "2020-04-07T01:00:00-04:00"},
        steps=[
            part("quantity × rate", "4", "0.125", "0.50"),
            part("up to the minimum", None, None, "4.50"),
            part("service fee", None, None, "2.00"),
        ],
    )
    assert row[1] == "2020-04-06 16:00\nto 2020-04-07 01:00"
    assert row[2].splitlines()[1:] == [
        "4 h × 0.125 + 4.50 (up to the minimum) + 2.00 (service fee)"
    ]
    tiers = [part("up to 10", "10", "2", "20.00"), part("above 10", "2", "1.5", "3.00")]
    row = cells(unit="each", units="1", start=None, end=None, steps=tiers)
    assert row[2].splitlines()[1:] == ["10 each × 2.00 (up to 10) + 2 each × 1.50 (above 10)"]
    assert row[1] == "1993-10-01"


def test_hours_and_unit_hours_are_told_apart() -> None:
    sample = invoice()
    by_item = next(table for table in summaries(sample) if table.title == "By item")
    assert by_item.rows[0][:3] == ["Core hour", "10,760.0000", "unit-hour"]  # 84.0625 × 128
    assert by_item.remark.endswith("A unit-hour is an hour of one unit, such as a core-hour.")
    assert charges_table(sample).rows[0][6:9] == ["10,760.0000", "unit-hour", "0.125"]
