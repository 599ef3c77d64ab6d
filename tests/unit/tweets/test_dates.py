"""Dates as files write them: each form is read, a column at a time, and what is no date is named."""

from datetime import UTC, datetime

import pytest

from pipeline.tweets.dates import timestamps

WHEN = datetime(2016, 5, 3, 20, 15, 31, tzinfo=UTC)
MINUTE, DAY = WHEN.replace(second=0), WHEN.replace(hour=0, minute=0, second=0)
FORMS = {
    "Tue May 03 20:15:31 +0000 2016": WHEN,
    "Tue May 03 22:15:31 +0200 2016": WHEN,
    "2016-05-03T20:15:31.000Z": WHEN,
    "2016-05-03T20:15:31Z": WHEN,
    "2016-05-03 20:15:31": WHEN,
    "2016-05-03 20:15:31.123456": WHEN,
    "2016-05-03 22:15:31+02:00": WHEN,
    "2016-05-03 20:15:31 +0000": WHEN,
    "2016-05-03 20:15:31 UTC": WHEN,
    "2016-05-03 20:15": MINUTE,
    "2016-05-03": DAY,
    "2016/05/03 20:15:31": WHEN,
    "1462306531": WHEN,
    "1462306531000": WHEN,
    "1462306531.7": WHEN,
    "5/3/2016 20:15": MINUTE,
    "05/03/2016 08:15 PM": MINUTE,
    "5/3/2016": DAY,
    "5/3/16 20:15": MINUTE,
    "03.05.2016 20:15": MINUTE,
    "8:15 PM - 3 May 2016": MINUTE,
    "8:15 PM · May 3, 2016": MINUTE,
    "May 3, 2016": DAY,
    "Tue, 03 May 2016 20:15:31 +0000": WHEN,
    "Tue, 03 May 2016 20:15:31 GMT": WHEN,
    "Tue May 03 13:15:31 PDT 2016": WHEN,
    "2016-05-03 21:15:31 W. Europe Standard Time": WHEN,
    "2016-05-03 22:15:31 W. Europe Daylight Time": WHEN,
    "May 3, 2016 · 8:15 PM UTC": MINUTE,
    "Tue, May 3, 2016": DAY,
    "5/3/2016, 8:15:31 PM": WHEN,
    "5/3/2016, 8:15:31\u202fPM": WHEN,
    "Tue May 03 2016 22:15:31 GMT+0200 (Central European Summer Time)": WHEN,
    "3 May 2016 20:15": MINUTE,
    "20160503": DAY,
    "20160503201531": WHEN,
    "42493": DAY,  # as Excel counts days
    "42493.84410879": WHEN,
}

NONE = ["yesterday", "2016-13-45", "Tue Foo 03 20:15:31 +0000 2016", "Tue May 33 20:15:31 +0000 2016", "9" * 30, "-5"]
NONE += ["1850-01-01", "2200-01-01", "inf", "Infinity", "5", "2016", "May 2016", "10:30", "yes", "12345678"]


@pytest.mark.parametrize("text", FORMS)
def test_each_form_is_read_alone_in_a_column_and_beside_others(text):
    assert timestamps([text])[0].to_pylist() == [FORMS[text]]
    assert timestamps([text] * 3 + [None, "", "nan"])[0].to_pylist() == [FORMS[text]] * 3 + [None] * 3
    column, bad = timestamps([text, "Tue May 03 20:15:31 +0000 2016", "never"])
    assert column.to_pylist() == [FORMS[text], WHEN, None]
    assert bad == [2]


def test_a_day_above_12_decides_the_order_of_day_and_month_for_the_column():
    assert timestamps(["13/05/2016", "03/05/2016"])[0].to_pylist() == [DAY.replace(day=13), DAY]


def test_numbers_and_dates_of_their_own_type_are_read():
    assert timestamps([1462306531, 1462306531000, 1462306531.5, WHEN, WHEN.replace(tzinfo=None)]) == (
        timestamps(["1462306531"] * 5)[0],
        [],
    )


@pytest.mark.parametrize("value", [*NONE, -1, 1e300, float("inf"), float("nan"), True, {"a": 1}, ["2016"]])
def test_an_invalid_date_is_reported_and_the_others_are_read(value):
    column, bad = timestamps([value, "2016-05-03", None])
    assert (column.to_pylist(), bad) == ([None, DAY, None], [0])
    assert timestamps([value])[1] == [0]


@pytest.mark.parametrize("value", ["2016-05-03T20:15:31Z", {"$numberLong": "1462306531000"}, 1462306531000])
def test_dates_as_mongodb_exports_them_are_read(value):
    assert timestamps([{"$date": value}])[0].to_pylist() == [WHEN]


def test_a_column_without_dates_is_empty():
    assert timestamps([None, None])[0].null_count == 2
    assert timestamps(["", " "])[1] == []
