"""What is measured: the same usage priced by this library and by its peers.

Each task gives a Priced: how many charges and their sum in cents, so that peers whose
arithmetic is the same are held to the same cent.
"""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from billing_lib.pricing.charging import Charges, charge_usage
from billing_lib.pricing.money import WHOLE
from billing_lib.pricing.rating import Catalogue, rate_usage
from common.usage import (
    GROUPS,
    INSTRUMENTS,
    PROJECTS,
    group_of,
    minimum_of,
    price_book,
    price_of,
    sample,
    usage_chunks,
    usage_frame,
)

CHUNK = 250_000
THREADS = 2
_HOUR = 3_600
_PRICE_SCALE = 1_000_000
_PER_CENT = _HOUR * _PRICE_SCALE // 100  # what a second × a millionth of a dollar is of a cent


class NemoPriced(NamedTuple):
    """What NEMO-billing made of a sample, beside this library's charges for it.

    It divides minutes by 60 to 28 digits, then rounds up to the next cent: a session of 37
    minutes may so cost a cent more than 37/60 of the price. Where three divides the minutes the
    division is exact, and the cents must be the same.
    """

    seconds: float
    peak: float
    charges: int
    equal: int
    a_cent_more: int
    even: int
    even_equal: int


class Priced(NamedTuple):
    """Charges and their sum in cents."""

    charges: int
    total: int


def ours(files: list[Path], *, after_hours: bool = False) -> Priced:
    """Charges with all their columns and splits by the public API, chunk after chunk.

    Each thread reads a chunk, prices it and drops it, so that no more are in memory at any time.
    """
    catalogue = Catalogue.of(price_book(after_hours=after_hours))

    def price(chunk: pl.LazyFrame) -> Priced:
        return _price_chunk(catalogue, usage_frame(chunk.collect()))

    with ThreadPoolExecutor(THREADS) as pool:
        priced = list(pool.map(price, usage_chunks(files, CHUNK)))
    return Priced(sum(one.charges for one in priced), sum(one.total for one in priced))


def ours_after_hours(files: list[Path]) -> Priced:
    """The same where every rate has after hours, with two holidays in the month."""
    return ours(files, after_hours=True)


def ours_sample(files: list[Path], records: int, *, instruments_only: bool = False) -> Priced:
    """The first records priced at once, to compare with peers on a sample."""
    catalogue = Catalogue.of(price_book())
    chosen = sample(files, records, instruments_only=instruments_only)
    return _price_chunk(catalogue, usage_frame(chosen))


def by_hand(files: list[Path]) -> Priced:
    """The floor: one polars query that gives every record its rate and its total, no more."""
    elapsed = (pl.col("end") - pl.col("start")).dt.total_seconds()
    raw = (elapsed * pl.col("units") * pl.col("price") + _PER_CENT // 2) // _PER_CENT
    priced = (
        pl.scan_parquet(files)
        .join(_price_list().lazy(), on=["item", "project"])
        .select("record", "rate", total=pl.max_horizontal(raw, "minimum"))
        .collect()
    )
    return Priced(priced.height, priced.get_column("total").sum())


def by_hand_all_columns(files: list[Path]) -> Priced:
    """The same query with what else a charge has: texts, the rate's copy, and its split.

    As one would write it for this month alone: no duplicates, no time zone, no validity, no
    minimum but the rate's, no reasons, and splits of at most three parts; file after file.
    """
    priced = [_by_hand_part(path) for path in files]
    return Priced(sum(one.charges for one in priced), sum(one.total for one in priced))


def duckdb_sql(files: list[Path]) -> Priced:
    """The same as the floor, by DuckDB SQL into a table in memory."""
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    prices = files[0].with_name("price-list.parquet")
    _price_list().write_parquet(prices)
    connection.execute(
        f"""
        CREATE TABLE priced AS
        SELECT record, rate, greatest(
            (date_diff('second', "start", "end") * units * price + {_PER_CENT // 2})
                // {_PER_CENT}, minimum) AS total
        FROM read_parquet($files) JOIN read_parquet($prices) USING (item, project)
        """,
        {"files": [str(path) for path in files], "prices": str(prices)},
    )
    found = connection.execute("SELECT count(*), sum(total)::BIGINT FROM priced").fetchone()
    assert found is not None
    return Priced(*found)


def loop(files: list[Path], records: int, folder: Path) -> Priced:
    """A plain SQLAlchemy program: a look-up, a charge and its splits per record, in SQLite."""
    path = folder / "loop.sqlite3"
    path.unlink(missing_ok=True)
    engine = create_engine(f"sqlite:///{path}")
    _Base.metadata.create_all(engine)
    with Session(engine) as session:
        _store_prices(session)
        total = charges = 0
        for record in sample(files, records).iter_rows(named=True):
            charge = _charged(session, record)
            session.add(charge)
            charges, total = charges + 1, total + charge.total
        session.commit()
    engine.dispose()
    return Priced(charges, total)


def nemo(files: list[Path], records: int, folder: Path, python: Path, times: int) -> NemoPriced:
    """NEMO-billing prices the first sessions on instruments, by its own Python (peers/)."""
    usage = sample(files, records, instruments_only=True)
    groups = {f"p{number:03d}": group_of(number) for number in range(PROJECTS)}
    instruments = range(1, INSTRUMENTS + 1)
    told = {
        "groups": GROUPS,
        "items": [f"scope-{number}" for number in instruments],
        "rates": [
            {
                "item": f"scope-{number}",
                "group": group,
                "price": price_of(number, group),
                "minimum": minimum_of(number, group),
            }
            for number in instruments
            for group in GROUPS
        ],
        "projects": groups,
        "usage": usage.select(
            "item", "project", "user", pl.col("start", "end").dt.to_string("iso:strict")
        ).to_dicts(),
        "first": usage["end"].min(),
        "last": usage["end"].max(),
        "times": times,
    }
    path = folder / "nemo-sample.json"
    path.write_text(json.dumps(told, default=str))
    script = Path(__file__).parent.parent / "peers" / "nemo_rating.py"
    command = [str(python), str(script), str(path), str(folder / "nemo.sqlite3")]
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    theirs = pl.Series([int(Decimal(amount) * 100) for amount in said["amounts"]])
    mine = _charges(Catalogue.of(price_book()), usage_frame(usage)).charges["total"]
    even = (usage["end"] - usage["start"]).dt.total_minutes() % 3 == 0
    return NemoPriced(
        seconds=said["seconds"],
        peak=said["peak"],
        charges=theirs.len(),
        equal=(theirs == mine).sum(),
        a_cent_more=(theirs == mine + 1).sum(),
        even=even.sum(),
        even_equal=((theirs == mine) & even).sum(),
    )


def _charges(catalogue: Catalogue, usage: pl.DataFrame) -> Charges:
    return charge_usage(rate_usage(usage, catalogue).rated, catalogue)


def _price_chunk(catalogue: Catalogue, usage: pl.DataFrame) -> Priced:
    priced = _charges(catalogue, usage)
    total = priced.charges.get_column("total").sum()
    assert priced.splits.get_column("amount").sum() == total
    return Priced(priced.charges.height, total)


def _by_hand_part(path: Path) -> Priced:
    elapsed = (pl.col("end") - pl.col("start")).dt.total_seconds()
    raw = (elapsed * pl.col("units") * pl.col("price") + _PER_CENT // 2) // _PER_CENT
    hours = elapsed.cast(pl.Decimal(38, 6)) / _HOUR
    percents = [pl.col("percent").list.get(place, null_on_oob=True) for place in range(3)]
    exact = [pl.col("total") * percent for percent in percents]
    rests = [part % WHOLE for part in exact]
    left = pl.col("total") - pl.sum_horizontal(part // WHOLE for part in exact)
    parts = []
    for place, rest in enumerate(rests):
        before = [(other >= rest).fill_null(value=False) for other in rests[:place]]
        after = [(other > rest).fill_null(value=False) for other in rests[place + 1 :]]
        parts.append(exact[place] // WHOLE + (pl.sum_horizontal(*before, *after) < left))
    priced = (
        pl.scan_parquet(path)
        .join(_price_list().lazy(), on=["item", "project"])
        .join(_split_list().lazy(), on="project")
        .with_columns(
            total=pl.max_horizontal(raw, "minimum"),
            hours=hours.cast(pl.String),
            quantity=(hours * pl.col("units")).cast(pl.String),
        )
        .with_columns(splits=pl.concat_list(parts).list.drop_nulls())
        .collect()
    )
    total = priced.get_column("total").sum()
    assert priced.select(pl.col("splits").list.sum().sum()).item() == total
    return Priced(priced.height, total)


def _split_list() -> pl.DataFrame:
    accounts = Catalogue.of(price_book()).accounts.sort("project", "position")
    return accounts.group_by("project").agg("expense_code", "percent")


def _price_list() -> pl.DataFrame:
    """Every item and project with its rate, price in millionths and minimum in cents."""
    catalogue = Catalogue.of(price_book())
    groups = catalogue.accounts.select("project", "rate_group").unique()
    return groups.join(catalogue.rates, on="rate_group").select(
        "item",
        "project",
        "rate",
        price=(pl.col("price") * _PRICE_SCALE).cast(pl.Int64),
        minimum=pl.col("minimum").fill_null(0),
    )


class _Base(DeclarativeBase):
    """Tables of the loop: what a first version of such a program looks like."""


class _Rate(_Base):
    __tablename__ = "rate"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str] = mapped_column(index=True)
    rate_group: Mapped[str]
    price: Mapped[str]
    minimum: Mapped[int | None]


class _Project(_Base):
    __tablename__ = "project"
    code: Mapped[str] = mapped_column(primary_key=True)
    rate_group: Mapped[str]
    shares: Mapped[list["_Share"]] = relationship(order_by="_Share.position")


class _Share(_Base):
    __tablename__ = "share"
    project: Mapped[str] = mapped_column(ForeignKey("project.code"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    expense_code: Mapped[str]
    percent: Mapped[int]


class _Charge(_Base):
    __tablename__ = "charge"
    record: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    rate_id: Mapped[int] = mapped_column(ForeignKey("rate.id"))
    quantity: Mapped[str]
    total: Mapped[int]
    splits: Mapped[list["_Split"]] = relationship()


class _Split(_Base):
    __tablename__ = "split"
    record: Mapped[str] = mapped_column(ForeignKey("charge.record"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    expense_code: Mapped[str]
    amount: Mapped[int]


def _store_prices(session: Session) -> None:
    catalogue = Catalogue.of(price_book())
    for rate in catalogue.rates.iter_rows(named=True):
        session.add(
            _Rate(
                item=rate["item"],
                rate_group=rate["rate_group"],
                price=str(rate["price"]),
                minimum=rate["minimum"],
            )
        )
    for (code, group), shares in catalogue.accounts.group_by("project", "rate_group"):
        session.add(_Project(code=code, rate_group=group))
        for share in shares.iter_rows(named=True):
            session.add(
                _Share(
                    project=code,
                    position=share["position"],
                    expense_code=share["expense_code"],
                    percent=share["percent"],
                )
            )
    session.commit()


def _charged(session: Session, record: dict[str, Any]) -> _Charge:
    project = session.get_one(_Project, record["project"])
    wanted = select(_Rate).where(
        _Rate.item == record["item"], _Rate.rate_group == project.rate_group
    )
    with session.no_autoflush:
        rate = session.scalars(wanted).one()
    seconds = int((record["end"] - record["start"]).total_seconds())
    quantity = Decimal(seconds) / _HOUR * record["units"]
    exact = Decimal(seconds) * record["units"] * Decimal(rate.price) * 100 / _HOUR
    total = max(int(exact.quantize(Decimal(1), ROUND_HALF_UP)), rate.minimum or 0)
    splits = [
        _Split(position=share.position, expense_code=share.expense_code, amount=amount)
        for share, amount in zip(
            project.shares, _parts(total, [share.percent for share in project.shares]), strict=True
        )
    ]
    return _Charge(
        record=record["record"],
        project=project.code,
        rate_id=rate.id,
        quantity=f"{quantity:.6f}",
        total=total,
        splits=splits,
    )


def _parts(total: int, percents: list[int]) -> list[int]:
    """The largest remainder method, as in any textbook."""
    parts = [total * percent // WHOLE for percent in percents]
    rests = [total * percent % WHOLE for percent in percents]
    order = sorted(range(len(parts)), key=lambda place: -rests[place])
    for place in order[: total - sum(parts)]:
        parts[place] += 1
    return parts
