"""Templates: how a source's fields become one field of a usage record.

    u{user}              the field user behind a letter             4          → u4
    {account}/{project}  two fields with a slash between            chem, 7    → chem/7
    core-hour            no field: the same for every record                   → core-hour
    {begin}              a field alone keeps its type: a time in Parquet stays a time

The braces hold a field's name and nothing else: no attribute, index, format or conversion.
``{{`` and ``}}`` stand for braces. Where a field is empty, what is made of it is empty, so that
``u{user}`` of nobody is never a project called ``u``.
"""

from dataclasses import dataclass
from string import Formatter
from typing import Self

import polars as pl


@dataclass(frozen=True)
class Template:
    """A parsed template.

    Parameters
    ----------
    text
        As it stands in the price book.
    parts
        ``(literal, field)`` in order; the field is None behind the last literal.
    """

    text: str
    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template.

        Raises
        ------
        ValueError
            Braces that do not match, or more than a name between them.
        """
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"the braces in '{text}' do not match ({error})") from error
        for _, field, form, conversion in pieces:
            if field is not None and (not field.strip() or form or conversion):
                raise ValueError(f"'{text}' must have a field's name alone between braces")
        return cls(text, tuple((literal, field) for literal, field, _, _ in pieces))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields it takes."""
        return tuple(field for _, field in self.parts if field is not None)

    @property
    def alone(self) -> str | None:
        """The field's name, if the template is one field and nothing else."""
        if len(self.parts) == 1 and self.parts[0][0] == "":
            return self.parts[0][1]
        return None

    def of(self, fields: pl.DataFrame) -> pl.Expr:
        """An expression on a source's fields; text, or a lone field's own type."""
        if self.alone is not None:
            return pl.col(self.alone)
        if not self.fields:
            return pl.lit("".join(literal for literal, _ in self.parts), pl.String)
        pieces: list[pl.Expr] = []
        for literal, field in self.parts:
            pieces.append(pl.lit(literal))
            if field is not None:
                pieces.append(as_text(fields, field))
        return pl.concat_str(pieces)

    @property
    def shown(self) -> str:
        """For messages: ``column 'begin'``, or the template itself."""
        return f"column '{self.alone}'" if self.alone is not None else f"'{self.text}'"


def as_text(fields: pl.DataFrame, name: str) -> pl.Expr:
    """A column as text, trimmed, null where empty; whole floats without ``.0``."""
    dtype = fields.schema[name]
    column = pl.col(name)
    if dtype.is_float():
        column = column.cast(pl.String).str.strip_suffix(".0")
    elif isinstance(dtype, pl.Datetime):
        column = column.dt.to_string("iso:strict")
    elif dtype != pl.String:
        column = column.cast(pl.String)
    column = column.str.strip_chars()
    return pl.when(column != "").then(column)
