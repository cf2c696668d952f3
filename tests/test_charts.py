"""Charts: whole numbers, nothing that costs something is invisible, the dearest have a colour."""

from datetime import date

from modelbridge.dashboard import charts
from modelbridge.money import NANOS

WEEK = charts.days(date(2026, 11, 23), date(2026, 11, 29))


def test_a_bar_is_as_high_as_what_it_stands_for() -> None:
    chart = charts.stacked({("2026-11-23", "a"): 2 * NANOS, ("2026-11-23", "b"): NANOS}, WEEK)
    assert chart.top_nanos == 5 * NANOS
    low, high = chart.bars[0].segments
    assert (low.series.label, low.height) == ("a", charts.HEIGHT * 2 // 5)
    assert (high.series.label, high.height) == ("b", charts.HEIGHT // 5)
    assert high.y + high.height == low.y
    assert low.y + low.height == charts.HEIGHT
    assert chart.total_nanos == 3 * NANOS
    assert [bar.total_nanos for bar in chart.bars[1:]] == [0] * 6


def test_what_costs_a_hair_is_seen_beside_what_costs_a_fortune() -> None:
    chart = charts.stacked({("2026-11-23", "a"): 1, ("2026-11-24", "b"): 900 * NANOS}, WEEK)
    assert chart.bars[0].segments[0].height == 1


def test_the_dearest_have_a_colour_of_their_own_and_the_rest_share_one() -> None:
    amounts = {("2026-11-23", f"model {number}"): number * NANOS for number in range(1, 11)}
    chart = charts.stacked(amounts, WEEK)
    labels = [series.label for series in chart.series]
    assert labels == [f"model {n}" for n in (10, 9, 8, 7, 6, 5)] + [charts.OTHERS]
    assert chart.series[-1].total_nanos == (4 + 3 + 2 + 1) * NANOS
    assert sum(series.total_nanos for series in chart.series) == chart.total_nanos


def test_seven_need_no_others() -> None:
    amounts = {("2026-11-23", f"model {number}"): NANOS for number in range(7)}
    assert charts.OTHERS not in [series.label for series in charts.stacked(amounts, WEEK).series]


def test_nothing_spent_is_an_empty_chart() -> None:
    chart = charts.stacked({}, WEEK)
    assert chart.series == ()
    assert chart.top_nanos == NANOS


def test_days_add_up_to_months_where_days_would_be_too_many() -> None:
    over = charts.buckets(date(2025, 12, 15), date(2026, 11, 23))
    assert [bucket.key for bucket in over][:2] == ["2025-12", "2026-01"]
    chart = charts.stacked({("2026-11-01", "a"): 1, ("2026-11-23", "a"): 2}, over)
    assert chart.bars[-1].total_nanos == 3
    assert charts.buckets(date(2026, 11, 1), date(2026, 11, 30))[0].key == "2026-11-01"


def test_the_axis_names_its_first_middle_and_last_day() -> None:
    chart = charts.stacked({}, WEEK)
    assert [bar.label for bar in chart.ticks] == ["23 Nov", "26 Nov", "29 Nov"]
    one_day = charts.stacked({}, WEEK[:1])
    assert [bar.label for bar in one_day.ticks] == ["23 Nov"]
