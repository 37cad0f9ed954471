"""A text becomes a value of its column's type unchanged, or is bad."""

from __future__ import annotations

import datetime
import decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.formats import casts

_DAYS = st.dates(datetime.date(1, 1, 1))
_INTEGER_BITS = {"TINYINT": 7, "SMALLINT": 15, "INTEGER": 31, "BIGINT": 63, "HUGEINT": 127}
_SESSION = duckdb.connect(":memory:")
_SESSION.execute("SET TimeZone = 'UTC'")


def read(text: str, kind: str) -> str | None:
    """Return how a value prints in DuckDB, None where its text is bad."""
    value = casts.cast("t", kind)
    bad = casts.is_bad("t", "v", kind) or "false"
    ((printed, is_bad),) = _SESSION.execute(
        f"SELECT v::VARCHAR, {bad} FROM (SELECT t, {value} AS v FROM (SELECT ?::VARCHAR AS t))",
        [text],
    ).fetchall()
    return None if is_bad else str(printed)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("BIGINT", "12.5"),
        ("BIGINT", "1e2"),
        ("BIGINT", "1e-2"),
        ("bigint", "12.5"),
        ("int8", "12.5"),
        ("BIGINT", "0x1F"),
        ("BIGINT", "1_000"),
        ("BIGINT", "9223372036854775808"),
        ("BIGINT", ""),
        ("UBIGINT", "-1"),
        ("HUGEINT", "1.5"),
        ("BIGNUM", "12.5"),
        ("DECIMAL(5,2)", "1.555"),
        ("decimal(5, 2)", "1.555"),
        ("NUMERIC(5)", "1.5"),
        ("DECIMAL", "1.5555"),
        ("DECIMAL(5,2)", "1e-3"),
        ("DECIMAL(5,2)", "123456"),
        ("DOUBLE", "1e400"),
        ("DOUBLE", "-1e400"),
        ("double precision", "1e400"),
        ("FLOAT", "1e39"),
        ("DATE", "2013-01-01 23:00:00"),
        ("DATE", "2013-02-30"),
        ("TIME", "10:00:00.1234567"),
        ("TIME", "10:00:00+02"),
        ("TIME", "2013-01-01 10:00:00"),
        ("TIMESTAMP", "2013-01-01 10:00:00.1234567"),
        ("TIMESTAMP", "2013-01-01 10:00:00+02"),
        ("TIMESTAMP", "2013-01-01 10:00:00-0500"),
        ("TIMESTAMP", "2013-01-01 10:00:00 America/New_York"),
        ("DATETIME", "2013-01-01 10:00:00+02"),
        ("TIMESTAMP_S", "2013-01-01 10:00:00.5"),
        ("TIMESTAMP_MS", "2013-01-01 10:00:00.1234"),
        ("TIMESTAMP_NS", "2013-01-01 10:00:00.1234567891"),
        ("TIMESTAMPTZ", "2013-01-01 10:00:00.1234567+00"),
        ("INTERVAL", "10:00:00.1234567"),
        ("BOOLEAN", " true"),
        ("BOOLEAN", "2"),
        ("ENUM('a', 'b')", "A"),
        ("UUID", "no uuid"),
    ],
)
def test_a_text_that_a_cast_would_change_or_cannot_read_is_bad(kind: str, text: str) -> None:
    assert read(text, kind) is None


@pytest.mark.parametrize(
    ("kind", "text", "printed"),
    [
        ("BIGINT", " 12 ", "12"),
        ("BIGINT", "+12", "12"),
        ("BIGINT", "-007", "-7"),
        ("DECIMAL(5,2)", " 1.5000 ", "1.50"),
        ("DECIMAL(5,2)", "-.5", "-0.50"),
        ("DOUBLE", "inf", "inf"),
        ("DOUBLE", "-Infinity", "-inf"),
        ("DOUBLE", "NaN", "nan"),
        ("DOUBLE", "1e-400", "0.0"),
        ("FLOAT", "16777217", "16777216.0"),
        ("DATE", "2013-1-1", "2013-01-01"),
        ("TIME", "1:02", "01:02:00"),
        ("TIME", "10:00:00.123456000", "10:00:00.123456"),
        ("TIMESTAMP", "2013-01-01", "2013-01-01 00:00:00"),
        ("TIMESTAMP", "2013-01-01T10:00:00Z", "2013-01-01 10:00:00"),
        ("TIMESTAMPTZ", "2013-01-01 10:00:00+02", "2013-01-01 08:00:00+00"),
        ("TIMESTAMPTZ", "2013-01-01 10:00:00", "2013-01-01 10:00:00+00"),
        ("TIMESTAMP_NS", "2013-01-01 10:00:00.123456789", "2013-01-01 10:00:00.123456789"),
        ("BOOLEAN", "T", "true"),
        ("BOOLEAN", "0", "false"),
        ("ENUM('a', 'b')", "a", "a"),
        ("VARCHAR", " x ", " x "),
        ("char(2)", "longer", "longer"),
    ],
)
def test_a_text_of_its_type_keeps_its_value(kind: str, text: str, printed: str) -> None:
    assert read(text, kind) == printed


@given(st.sampled_from(sorted(_INTEGER_BITS)), st.data())
@settings(deadline=None)
def test_every_integer_in_range_round_trips(kind: str, data: st.DataObject) -> None:
    limit = 2 ** _INTEGER_BITS[kind]
    number = data.draw(st.integers(-limit, limit - 1))
    assert read(str(number), kind) == str(number)
    beyond = data.draw(st.one_of(st.integers(limit), st.integers(max_value=-limit - 1)))
    assert read(str(beyond), kind) is None


@given(st.decimals(-999, 999, places=4))
@settings(deadline=None)
def test_a_decimal_round_trips_or_is_bad(number: decimal.Decimal) -> None:
    hundredths = number.quantize(decimal.Decimal("0.01"), decimal.ROUND_DOWN)
    expected = str(hundredths) if hundredths == number else None
    assert read(f"{number:f}", "DECIMAL(5,2)") in (expected, expected and expected.lstrip("-"))


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_every_double_round_trips(number: float) -> None:
    assert float(read(repr(number), "DOUBLE") or "") == number


@given(_DAYS)
@settings(deadline=None)
def test_every_date_round_trips(day: datetime.date) -> None:
    assert read(day.isoformat(), "DATE") == day.isoformat()


@given(st.datetimes(datetime.datetime(1, 1, 1)))  # noqa: DTZ001
def test_every_timestamp_round_trips_and_an_offset_is_bad(moment: datetime.datetime) -> None:
    text = moment.isoformat(" ")
    printed = read(text, "TIMESTAMP")
    assert printed is not None
    assert datetime.datetime.fromisoformat(printed) == moment
    assert read(f"{text}+02:00", "TIMESTAMP") is None
    assert read(f"{text}-03", "TIMESTAMP") is None


@given(st.text(st.sampled_from("0123456789+-. :eEZTx_"), max_size=24))
@settings(deadline=None)
def test_any_text_at_all_is_an_exact_integer_or_bad(text: str) -> None:
    printed = read(text, "BIGINT")
    if printed is not None:
        assert int(printed) == int(text)


@pytest.mark.parametrize("kind", ["INTEGER[]", "STRUCT(x INT)", "MAP(VARCHAR, INT)", "VARIANT"])
def test_a_csv_column_cannot_be_nested(kind: str) -> None:
    assert casts.is_type(kind)
    assert not casts.can_be_read(kind)


@pytest.mark.parametrize("kind", ["no type", "INT, b INT", "INT) FROM x --", ""])
def test_what_is_no_type_is_told(kind: str) -> None:
    assert not casts.is_type(kind)
