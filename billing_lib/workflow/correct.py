"""Corrections: usage that a later file states otherwise, or that is taken back.

    a.csv, row 2   e6  33 slides   41.25        loaded and rated
    b.csv, row 2   e6  44 slides   55.00        loaded later: version 2, at the rate of then

The file loaded last counts. A record that was never charged is replaced; of a PENDING charge the
usage is replaced and the charge is priced again, at the rate that it keeps and with all that staff
changed. If the kept rate is of another item, group or day than the corrected usage, the charge
takes today's, and says so; without one, or if the correction cannot be read, the charge goes and
the record is in the unbilled report. A record that is billed, or on an invoice that is being
approved, stays as it is and is named: its invoice is reissued or credited.

Every version that counted is kept (ledger/usage.py), each with the event that ended it:

    event 30  load     a.csv  after {"new":2,"records":2,"sha256":"4f…"}
    event 31  load     b.csv  after {"corrected":1,…}
    event 32  correct  e6     before {"quantity":"33","total":"41.25",…}  after {"quantity":"44",…}
    event 33  unload   b.csv  group 3f9c1a2b4d5e: e6 is as a.csv has it, for 41.25
    event 34  undo     3f9c1a2b4d5e: as b.csv has it again

Taking back a file takes back the records that stand as it states them: the version before comes
back, of a file that is not taken back itself, or the record is gone until a file states it again.
"""

import json
import uuid
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, UnreadableFile, count_of
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, usage
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading
from billing_lib.ledger.states import ACTIVE
from billing_lib.ledger.usage import RECORD
from billing_lib.pricing.clock import local_date
from billing_lib.pricing.fields import DECIMAL, USAGE, canonical_json
from billing_lib.pricing.money import minor_places, money_text_column, plain_text_column
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rates import Rate
from billing_lib.pricing.rating import Catalogue, Rating, rate_usage, rates_frame
from billing_lib.sources import file_hash
from billing_lib.workflow.adhoc import attach_waiting, known_references
from billing_lib.workflow.adjust import coupled_charges, lock_coupled, require_reason
from billing_lib.workflow.permissions import REVIEWER, VIEWER, changing, require
from billing_lib.workflow.price import (
    changeable_charges,
    changes_in_force,
    differing,
    gather,
    moved_by_staff,
    replace_charges,
)
from billing_lib.workflow.runs import calculate, follow_changes

COMPARED = [name for name in USAGE.names() if name not in (*RECORD, "file", "row", "detail")]
"""The columns in which a record loaded again is the same, or a correction."""

NEW, SAME, CORRECTED, REFUSED, TAKEN_BACK = "new", "same", "corrected", "refused", "taken back"

OUTCOMES = pl.Schema(
    {
        "outcome": pl.String(),  # new (with a defect), corrected, refused or taken back
        "reason": pl.String(),  # the defect of a new record; the changes of a corrected one
        "record": pl.String(),
        "occurrence": USAGE["occurrence"],
        "file": pl.String(),  # the place that states it; of one taken back, that stated it
        "row": pl.Int64(),
        "before": pl.Int64(),  # the charge's total, minor units; null without a charge
        "after": pl.Int64(),
        "note": pl.String(),  # a sentence: another rate, no rate, or where it is billed
    }
)
"""The records that loading or taking back a file does not simply add."""

_EFFECT = pl.Schema({"charge": pl.String(), "after": pl.Int64(), "note": pl.String()})
_THIS = 0
"""In ``withdrawn``: the event that the replacement is recorded with."""


@dataclass(frozen=True)
class Replacement:
    """Records that are to be replaced or taken back, before anything is written.

    Attributes
    ----------
    standing
        The records that may be replaced, as they stand (schema STANDING of ledger/usage.py).
    now
        The same records as they are to be; ``withdrawn`` is set for those taken back.
    charges
        Their PENDING charges (schema KEPT).
    refused
        The records that stay (schema OUTCOMES), since they are billed or being approved.
    shifted
        The number of such records whose own cost is the same, and only the costs before theirs in
        the file are not: nobody has to do anything about them.
    """

    standing: pl.DataFrame
    now: pl.DataFrame
    charges: pl.DataFrame
    refused: pl.DataFrame
    shifted: int = 0

    @classmethod
    def of(
        cls, connection: Connection, book: PriceBook, standing: pl.DataFrame, now: pl.DataFrame
    ) -> "Replacement":
        """Divide records into those that may be replaced and those that are billed."""
        facility = book.facility.code
        now = now.select(name for name in usage.STANDING if name != "version")
        if standing.height == 0:
            nothing = ledger_charges.read_charges(connection, facility, codes=[])
            return cls(standing, now, nothing, OUTCOMES.to_frame())
        records = standing["record"].unique()
        lock_coupled(connection, book, records)
        charges = ledger_charges.read_of_usage(connection, facility, records)
        charges = charges.join(standing, on=RECORD, how="semi")
        billed = charges.join(changeable_charges(charges), on="charge", how="anti")
        both = standing.join(now, on=RECORD, suffix="_now").join(billed, on=RECORD, how="semi")
        changed = both.filter(~_is_shifted())
        return cls(
            standing.join(billed, on=RECORD, how="anti"),
            now.join(billed, on=RECORD, how="anti"),
            charges.join(billed, on=RECORD, how="anti"),
            _refused(connection, facility, changed, billed),
            both.height - changed.height,
        )

    @property
    def outcome(self) -> pl.DataFrame:
        """The key and ``outcome`` of each record that may be replaced."""
        was = self.standing.select(*RECORD, was="withdrawn")
        return self.now.join(was, on=RECORD).select(
            *RECORD,
            outcome=pl.when(pl.col("withdrawn").is_not_null())
            .then(pl.lit(TAKEN_BACK))
            .when(pl.col("was").is_not_null())
            .then(pl.lit(NEW))
            .otherwise(pl.lit(CORRECTED)),
        )

    def count(self, outcome: str) -> int:
        """The number of records with an outcome."""
        return self.outcome.filter(outcome=outcome).height

    def carry_out(
        self,
        connection: Connection,
        book: PriceBook,
        event: int,
        told: tuple[str, ...] = (CORRECTED,),
    ) -> pl.DataFrame:
        """Replace the records and price their charges again; the result has the schema OUTCOMES.

        Parameters
        ----------
        event
            The number of the event that the records are replaced with.
        told
            The outcomes that are events of their own, if the record has a charge.
        """
        if self.standing.height == 0:
            return self.refused
        facility, places = book.facility.code, minor_places(book.facility.currency)
        by = pl.when(pl.col("withdrawn") == _THIS).then(event).otherwise("withdrawn")
        now = self.now.with_columns(withdrawn=by)
        usage.replace_usage(connection, facility, self.standing, now, event)
        standing = now.filter(pl.col("withdrawn").is_null())
        uncharged = standing.join(self.charges, on=RECORD, how="anti")
        report_undated(connection, book, uncharged)
        effect = _regenerate(connection, book, self.charges, self.standing, standing)
        both = (
            self.standing.join(now, on=RECORD, suffix="_now")
            .join(self.outcome, on=RECORD)
            .join(
                self.charges.select(*RECORD, "charge", "team", before="total"),
                on=RECORD,
                how="left",
            )
            .join(effect, on="charge", how="left")
            .sort("file_now", "row_now", *RECORD)
        )
        charged = both.filter(pl.col("charge").is_not_null() & pl.col("outcome").is_in(told))
        events.record_events(connection, facility, _corrections(charged, places))
        done = both.with_columns(
            reason=pl.when(pl.col("outcome") != TAKEN_BACK).then(_changes_in_words()),
            file="file_now",
            row="row_now",
        )
        return pl.concat([done.select(OUTCOMES.names()), self.refused])


def report_undated(connection: Connection, book: PriceBook, records: pl.DataFrame) -> int:
    """Add the records without any readable time to the unbilled report; their number.

    ``records`` has the schema USAGE_WITH_PERIOD of ledger/usage.py. No month rates these records.
    """
    undated = records.filter(pl.col("period").is_null())
    if undated.height:
        left_out = rate_usage(undated.select(USAGE.names()), Catalogue.of(book)).unbilled
        unplaced = left_out.with_columns(period=pl.lit(None, pl.String))
        usage.insert_unbilled(connection, book.facility.code, unplaced)
    return undated.height


def changed_columns(suffix: str) -> pl.Expr:
    """Whether a record differs from the same one with this suffix."""
    return pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"{name}{suffix}")) for name in COMPARED
    )


_LAST_PLACE = Decimal(1).scaleb(-DECIMAL.scale)


def _is_shifted() -> pl.Expr:
    """Whether a record and the same one now differ only in the costs before it in its file.

    Its quantity is the difference of two rounded sums (sources/records.py), so the last place of
    that may differ too.
    """
    same = [~_differs(name) for name in COMPARED if name not in ("costs_before", "quantity", "raw")]
    moved = (pl.col("quantity_now") - pl.col("quantity")).abs() <= pl.lit(_LAST_PLACE)
    alike = pl.all_horizontal(*same, moved, pl.col("withdrawn_now").is_null())
    return (pl.col("costs_before").is_not_null() & alike).fill_null(value=False)


def _refused(
    connection: Connection, facility: str, both: pl.DataFrame, billed: pl.DataFrame
) -> pl.DataFrame:
    """Name the records that stay (schema OUTCOMES); ``billed`` are their charges that are fixed."""
    if both.height == 0:
        return OUTCOMES.to_frame()
    invoices = ledger_invoices.read_invoices(
        connection, facility, codes=billed["invoice"].drop_nulls().unique()
    ).select("number", invoice="code", invoice_state="state")
    counts = pl.col("invoice_state").is_in(ACTIVE)
    where = (
        billed.join(invoices, on="invoice", how="left")
        .sort(counts, "charge", descending=[True, False])
        .unique(RECORD, keep="first", maintain_order=True)
        .select(
            *RECORD,
            before="total",
            note=pl.when(pl.col("number").is_not_null())
            .then(pl.format("billed as {}: reissue or credit that invoice", "number"))
            .when(pl.col("invoice_state") == "APPROVING")
            .then(pl.format("on {}, which is being approved: reject it first", "invoice"))
            .otherwise(
                pl.format(
                    "on {}, which is {}", "invoice", pl.col("invoice_state").fill_null("gone")
                )
            ),
        )
    )
    named = both.join(where, on=RECORD).with_columns(
        outcome=pl.lit(REFUSED),
        reason=pl.when(pl.col("withdrawn_now").is_null()).then(_changes_in_words()),
        file="file_now",
        row="row_now",
        after="before",
    )
    return named.select(OUTCOMES.names()).sort("file", "row", *RECORD)


def _shown(name: str) -> pl.Expr:
    """A column of the usage frame as text, for events and sentences."""
    column, dtype = pl.col(name), USAGE[name.removesuffix("_now")]
    if isinstance(dtype, pl.Datetime):
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")
    if isinstance(dtype, pl.Decimal):
        return plain_text_column(column)
    return column.cast(pl.String)


def _differs(name: str) -> pl.Expr:
    return pl.col(name).ne_missing(pl.col(f"{name}_now"))


def _changes_in_words() -> pl.Expr:
    """``quantity 33 → 44``, of a record beside the same one as it is now."""
    parts = [
        pl.when(_differs(name)).then(
            pl.format(
                f"{name} {{}} → {{}}",
                _shown(name).fill_null("none"),
                _shown(f"{name}_now").fill_null("none"),
            )
        )
        for name in COMPARED
        if name != "raw"
    ]
    words = pl.concat_str(parts, separator=", ", ignore_nulls=True)
    return pl.when(words != "").then(words)


def _corrections(charged: pl.DataFrame, places: int) -> list[dict[str, str | None]]:
    """The events of replaced records with a charge: changed columns, total, file and row."""

    def as_json(suffix: str, total: str) -> pl.Expr:
        shown = {name: _shown(f"{name}{suffix}") for name in sorted(COMPARED)}
        pieces: list[pl.Expr] = [
            pl.when(_differs(name)).then(_as_pair(name, text)) for name, text in shown.items()
        ]
        always = {
            "file": pl.col(f"file{suffix}"),
            "row": pl.col(f"row{suffix}").cast(pl.String),
            "total": money_text_column(pl.col(total), places),
        }
        pieces += [_as_pair(name, text) for name, text in always.items()]
        return pl.format("{{{}}}", pl.concat_str(pieces, separator=",", ignore_nulls=True))

    told = charged.select(
        pl.lit("correct").alias("kind"),
        pl.col("charge").alias("subject"),
        "team",
        pl.lit(None, pl.String).alias("group_id"),
        pl.col("note").fill_null("").alias("reason"),
        as_json("", "before").alias("before"),
        as_json("_now", "after").alias("after"),
    )
    return told.to_dicts()


def _as_pair(name: str, text: pl.Expr) -> pl.Expr:
    """``"name":"text"`` of JSON."""
    pair = pl.struct(text.alias(name)).struct.json_encode()
    return pair.str.strip_prefix("{").str.strip_suffix("}")


def _regenerate(
    connection: Connection,
    book: PriceBook,
    charges: pl.DataFrame,
    was: pl.DataFrame,
    now: pl.DataFrame,
) -> pl.DataFrame:
    """Price PENDING charges of replaced records again, and delete those that cannot be billed.

    ``was`` and ``now`` are the records before and after, ``now`` without those taken back. The
    result has the schema _EFFECT; ``after`` is null for a charge that is gone.
    """
    if charges.height == 0:
        return _EFFECT.to_frame()
    facility = book.facility.code
    moved = moved_by_staff(changes_in_force(connection, facility, charges["charge"])[0])
    corrected = (
        now.join(charges.select(*RECORD, "charge"), on=RECORD)
        .join(moved, on="charge", how="left")
        .with_columns(project=pl.coalesce("moved", "project"))
    )
    catalogue = Catalogue.of(book)
    rating = rate_usage(
        corrected.select(*USAGE.names(), "charge"),
        catalogue,
        references=known_references(connection, facility),
    )
    rated = _at_kept_rates(connection, book, charges, corrected, rating)
    ledger_charges.keep_rates(
        connection,
        facility,
        catalogue.rates.join(rated, on="rate", how="semi").select("rate", "body").rows(),
    )
    lost = charges.join(rated, on="charge", how="anti")
    ledger_charges.delete_charges(connection, facility, lost["charge"])
    left_out = rating.unbilled.join(lost, on=RECORD, how="semi").join(
        now.select(*RECORD, "period"), on=RECORD
    )
    usage.insert_unbilled(connection, facility, left_out)
    standing = charges.join(rated, on="charge", how="semi")
    again = _placed(standing, rated, was, now)
    ledger_charges.place_charges(connection, facility, again)
    coupled = coupled_charges(connection, book, pl.concat([charges, again]))
    projects = [project.code for project in book.projects]
    coupled = coupled.filter(pl.col("project").is_in(projects))
    wanted = pl.concat([again, coupled])
    effect = again.select("charge", after="total")
    if wanted.height:
        priced = gather(connection, book, wanted).price()
        other = differing(connection, facility, pl.concat([standing, coupled]), priced)
        codes = pl.concat([other, again["charge"]]).unique()
        replace_charges(connection, facility, priced, codes)
        effect = priced.charges.select("charge", after="total").join(again, on="charge", how="semi")
    follow_changes(connection, book, pl.concat([charges, coupled]))
    calculate(connection, book, attach_waiting(connection, facility))
    notes = rated.select("charge", "note").drop_nulls()
    reasons = lost.join(left_out, on=RECORD).select(
        "charge", note=pl.format("not billed any more, {}", "reason")
    )
    notes = pl.concat([notes, reasons])
    return (
        charges.select("charge")
        .join(effect, on="charge", how="left")
        .join(notes, on="charge", how="left")
    )


_RATED = ("project", "team", "rate_group", "unit", "rate", "date")


def _at_kept_rates(
    connection: Connection,
    book: PriceBook,
    charges: pl.DataFrame,
    corrected: pl.DataFrame,
    today: Rating,
) -> pl.DataFrame:
    """The charges that can be billed, each with its kept rate if that fits, else with today's.

    ``today`` is the corrected usage with today's rates. The result has ``charge``, the columns
    _RATED and ``note``, a sentence on each charge that takes another rate than it had.
    """
    facility, places = book.facility.code, minor_places(book.facility.currency)
    bodies = ledger_charges.read_rates(connection, facility, charges["rate"].drop_nulls().unique())
    kept = rates_frame([Rate.model_validate_json(body) for body in bodies["body"]], places)
    fits = (
        (pl.col("item") == pl.col("item_kept"))
        & pl.col("day").is_between("valid_from", "valid_to")
        & (pl.col("same") | (pl.col("rate_group") == pl.col("group_kept")).fill_null(value=False))
    )
    day = pl.coalesce(local_date(pl.col("start"), book.facility.timezone), "date")
    was = charges.select("charge", *(pl.col(name).alias(f"{name}_was") for name in _RATED[:-1]))
    found = (
        corrected.select("charge", *RECORD, "item", day=day, stated="project")
        .join(today.rated.select("charge", *_RATED), on="charge", how="left")
        .join(today.unbilled.select(*RECORD, "reason"), on=RECORD, how="left")
        .join(was, on="charge")
        .join(
            kept.select(
                "valid_from",
                "valid_to",
                rate_was="rate",
                item_kept="item",
                group_kept="rate_group",
                price_kept="price",
            ),
            on="rate_was",
            how="left",
        )
        .with_columns(project=pl.coalesce("project", "stated"))
        .with_columns(same=pl.col("project") == pl.col("project_was"))
        .with_columns(fits=fits.fill_null(value=False))
    )
    own = pl.col("fits") & pl.col("same")
    # Today's price book may lack the item or the rate that the charge was made by.
    lacking = pl.col("reason").is_in(["no_rate", "unknown_item"])
    projects = [project.code for project in book.projects]
    bill = pl.col("reason").is_null() | (own & lacking & pl.col("project").is_in(projects))
    return found.filter(bill).select(
        "charge",
        "project",
        *(pl.when(own).then(f"{name}_was").otherwise(name).alias(name) for name in _RATED[1:4]),
        rate=pl.when("fits").then("rate_was").otherwise("rate"),
        date="day",
        note=pl.when(~pl.col("fits") & (pl.col("rate") != pl.col("rate_was"))).then(
            pl.lit("takes today's rate, since its own is of another item, group or time")
        ),
    )


def _placed(
    standing: pl.DataFrame, rated: pl.DataFrame, was: pl.DataFrame, now: pl.DataFrame
) -> pl.DataFrame:
    """The charges (schema KEPT) as their corrected usage has them, before they are priced again.

    A charge whose month or reference is corrected goes there; with another project too it leaves
    its draft.
    """

    def corrected(name: str) -> pl.Expr:
        differs = pl.col(f"{name}_now").ne_missing(pl.col(f"{name}_was"))
        return pl.when(differs).then(f"{name}_now").otherwise(name)

    columns = ("period", "reference")
    stated = now.select(
        *RECORD, *("item", "user"), *(pl.col(name).alias(f"{name}_now") for name in columns)
    ).join(was.select(*RECORD, *(pl.col(name).alias(f"{name}_was") for name in columns)), on=RECORD)
    framed = (
        standing.drop("item", "user", *_RATED[1:])
        .rename({"project": "project_was"})
        .join(rated, on="charge")
        .join(stated, on=RECORD)
        .with_columns(**{f"{name}_new": corrected(name) for name in columns})
    )
    stays = (
        pl.col("period_new").eq_missing(pl.col("period"))
        & pl.col("reference_new").eq_missing(pl.col("reference"))
        & (pl.col("project") == pl.col("project_was"))
    )
    return framed.with_columns(
        invoice=pl.when(stays).then("invoice"),
        **{name: pl.col(f"{name}_new") for name in columns},
    ).select(standing.columns)


@dataclass(frozen=True)
class TakenBack:
    """The result of taking back a file, or of undoing that.

    Attributes
    ----------
    group
        The name by which it is undone; '' if nothing was taken back.
    outcomes
        The records that were taken back, replaced by another version, or that stay as they are
        billed (schema OUTCOMES).
    sentence
        The result in words.
    """

    file: str
    group: str
    outcomes: pl.DataFrame
    sentence: str


def unload(
    engine: Engine, book: PriceBook, file: str, reason: str = "", *, preview: bool = False
) -> TakenBack:
    """Take back the records that stand as a loaded file states them, unless they are billed.

    Parameters
    ----------
    file
        A loaded file's path, its name (then the one loaded last counts), or the beginning of its
        sha256.
    preview
        Whether the ledger stays as it is.

    Raises
    ------
    UnreadableFile
        No such file was loaded.
    """
    facility = book.facility.code
    with changing(engine, book, REVIEWER, preview=preview) as connection:
        loads = _Loads.read(connection, facility)
        sha256, name = loads.find(file, facility)
        standing = pl.concat(
            [
                usage.read_standing(connection, facility, files={sha256}),
                usage.read_standing(connection, facility, withdrawn_by=loads.events_of(sha256)),
            ]
        )
        now = _before(connection, facility, standing, loads.taken_back | {sha256})
        standing = standing.join(now, on=RECORD, how="semi")
        replacement = Replacement.of(connection, book, standing, now)
        gone, back = (replacement.count(outcome) for outcome in (TAKEN_BACK, CORRECTED))
        back += replacement.count(NEW)
        kept = replacement.refused.height
        if gone + back == 0:
            why = f": {kept:,} are billed or being approved" if kept else ""
            return TakenBack(
                name, "", replacement.refused, f"{name}: it has no record to take back{why}"
            )
        group = uuid.uuid4().hex[:12]
        event = events.record_event(
            connection,
            facility,
            kind="unload",
            subject=name,
            reason=reason.strip(),
            after=canonical_json(
                {"sha256": sha256, "taken_back": gone, "restored": back, "kept": kept}
            ),
            group=group,
        )
        outcomes = replacement.carry_out(connection, book, event)
    sentence = f"{name}: {count_of(gone, 'record')} taken back"
    sentence += f", {back:,} as they were before it" if back else ""
    sentence += f", {kept:,} stay since they are billed or being approved" if kept else ""
    later = loads.later_with_known(sha256)
    if gone and later:
        sentence += f"; load {', '.join(later)} again if some of these stand there too"
    return TakenBack(name, group, outcomes, sentence)


LOADED = pl.Schema(
    {"file": pl.String(), "kind": pl.String(), "records": pl.Int64(), "by": pl.String()}
    | {"at": pl.String(), "state": pl.String(), "sha256": pl.String(), "group": pl.String()}
)
"""A loaded file; ``state`` is loaded or taken back, ``group`` names the taking back."""


def list_loaded(engine: Engine, book: PriceBook) -> pl.DataFrame:
    """The files loaded into a facility (schema LOADED), the one loaded last first."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        files = usage.read_files(connection, facility)
        loads = _Loads.read(connection, facility)
    groups = pl.DataFrame(
        list(loads.groups.items()), {"sha256": pl.String(), "group": pl.String()}, orient="row"
    )
    gone = pl.col("sha256").is_in(list(loads.taken_back))
    return (
        files.join(groups, on="sha256", how="left", maintain_order="left")
        .with_columns(
            file="name",
            by="login",
            at=pl.col("loaded_at").dt.to_string("%Y-%m-%d %H:%M"),
            state=pl.when(gone).then(pl.lit(TAKEN_BACK)).otherwise(pl.lit("loaded")),
            group=pl.when(gone).then(pl.col("group")).fill_null(""),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in LOADED.items())
    )


def is_unload(engine: Engine, book: PriceBook, group: str) -> bool:
    """Whether a group is a file taken back, and not changes to charges."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        return events.read_events(connection, facility, kinds=["unload"], groups=[group]).height > 0


def undo_unload(
    engine: Engine, book: PriceBook, group: str, reason: str, *, preview: bool = False
) -> TakenBack:
    """Undo the taking back of a file, except for records that were loaded anew since.

    Raises
    ------
    InvalidAdjustment
        There is no reason, or no such group, or it is undone already.
    """
    facility = book.facility.code
    if not preview:
        require_reason(reason)
    with changing(engine, book, REVIEWER, preview=preview) as connection:
        made = events.read_events(connection, facility, kinds=["unload"], groups=[group])
        undone = events.read_events(connection, facility, kinds=["undo"], subjects=[group])
        if made.height == 0 or undone.height:
            raise InvalidAdjustment(
                f"there is no taking back '{group}' to undo",
                remedy=f"the events of {facility} list them",
            )
        name, taken_back = str(made["subject"][0]), int(made["sequence"][0])
        ended = usage.read_versions(connection, facility, event=taken_back)
        standing = usage.read_standing(connection, facility, ended["record"].unique())
        untouched = standing.join(
            ended.with_columns(pl.col("version") + 1), on=[*RECORD, "version"], how="semi"
        )
        now = ended.join(untouched, on=RECORD, how="semi")
        replacement = Replacement.of(connection, book, untouched, now)
        event = events.record_event(
            connection, facility, kind="undo", subject=group, reason=reason.strip()
        )
        outcomes = replacement.carry_out(connection, book, event)
    sentence = f"{name}: {count_of(replacement.standing.height, 'record')} as it states them again"
    newer = ended.height - untouched.height
    sentence += f", {newer:,} were loaded anew since and stay" if newer else ""
    kept = replacement.refused.height
    sentence += f", {kept:,} stay since they are billed or being approved" if kept else ""
    back = replacement.now.join(replacement.outcome.filter(outcome=NEW), on=RECORD, how="semi")
    months = back["period"].drop_nulls().unique().sort()
    sentence += f"; rating {', '.join(months)} charges them" if months.len() else ""
    return TakenBack(name, "", outcomes, sentence)


def _before(
    connection: Connection, facility: str, standing: pl.DataFrame, without: set[str]
) -> pl.DataFrame:
    """The records as they are without some files (by hash): as the version before has them, or
    taken back."""
    versions = usage.read_versions(connection, facility, standing["record"].unique())
    earlier = versions.filter(
        pl.col("withdrawn").is_null() & ~pl.col("file_sha256").is_in(list(without))
    ).unique(RECORD, keep="last", maintain_order=True)
    back = earlier.join(standing, on=RECORD, how="semi").select(standing.columns)
    gone = standing.join(back, on=RECORD, how="anti").filter(pl.col("withdrawn").is_null())
    return pl.concat([back, taken_back(gone)])


def taken_back(standing: pl.DataFrame) -> pl.DataFrame:
    """Records as they are to be when a replacement takes them back."""
    return standing.with_columns(period=pl.lit(None, pl.String), withdrawn=pl.lit(_THIS, pl.Int64))


@dataclass(frozen=True)
class _Loads:
    """The files loaded into a facility.

    Attributes
    ----------
    loads
        ``sequence``, hash, name and number of records known already, of each loading in order.
    taken_back
        The hashes of the files that are taken back and were not loaded again.
    groups
        By hash the group of the last taking back of a file.
    """

    loads: list[tuple[int, str, str, int]]
    taken_back: set[str]
    groups: dict[str, str]

    @classmethod
    def read(cls, connection: Connection, facility: str) -> "_Loads":
        told = events.read_events(connection, facility, kinds=["load", "unload", "undo"])
        loads: list[tuple[int, str, str, int]] = []
        gone: set[str] = set()
        groups: dict[str, str] = {}
        for event in told.iter_rows(named=True):
            if event["kind"] == "undo":
                gone.discard(groups.get(event["subject"], ""))
                continue
            after = json.loads(event["after"])
            sha256 = after["sha256"]
            if event["kind"] == "unload":
                gone.add(sha256)
                groups[event["group_id"]] = sha256
            else:
                gone.discard(sha256)
                loads.append((event["sequence"], sha256, event["subject"], after.get("same", 0)))
        return cls(loads, gone, {sha256: group for group, sha256 in groups.items()})

    def find(self, file: str, facility: str) -> tuple[str, str]:
        """The hash and name of a loaded file; the last one of a name that is not taken back."""
        path = Path(file)
        exact = file_hash(path) if path.is_file() else None
        every = [(sha256, name) for _, sha256, name, _ in reversed(self.loads)]
        of_hash = [(sha256, name) for sha256, name in every if sha256 == exact]
        of_name = [(sha256, name) for sha256, name in every if name == path.name]
        begins = [each for each in every if len(file) >= _HASH and each[0].startswith(file)]
        found = of_hash or of_name or begins
        if not found:
            raise UnreadableFile(
                f"no file '{path.name}' was loaded into {facility}",
                remedy=f"the events of {facility} list the files",
            )
        return next((each for each in found if each[0] not in self.taken_back), found[0])

    def events_of(self, sha256: str) -> list[int]:
        """The numbers of the events that loaded a file."""
        return [sequence for sequence, loaded, _, _ in self.loads if loaded == sha256]

    def later_with_known(self, sha256: str) -> list[str]:
        """The files loaded later of which some records were known already."""
        last = max(self.events_of(sha256))
        later = [
            name
            for sequence, loaded, name, same in self.loads
            if sequence > last and same and loaded not in {*self.taken_back, sha256}
        ]
        return list(dict.fromkeys(later))


_HASH = 8
"""So many digits of a sha256 name a file."""
