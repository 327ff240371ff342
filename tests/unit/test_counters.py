"""Counters and histograms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosey_dbsvc.counters import AGE_BOUNDS, BATCH_BOUNDS, TIME_BOUNDS, Histogram

BOUNDS = (0.1, 1.0, 10.0)


@given(st.lists(st.lists(st.floats(-1, 20) | st.sampled_from(BOUNDS))))
def test_values_counted_together_are_those_counted_one_by_one(batches: list[list[float]]) -> None:
    histogram = Histogram(BOUNDS)
    for batch in batches:
        histogram.observe(*batch)
    values = [value for batch in batches for value in batch]
    below = [sum(value <= bound for value in values) for bound in BOUNDS]
    reached = [sum(histogram.buckets[: index + 1]) for index in range(len(BOUNDS))]
    assert reached == below
    assert sum(histogram.buckets) == len(values)
    assert histogram.sum == pytest.approx(sum(values))


@pytest.mark.parametrize("bounds", [BATCH_BOUNDS, TIME_BOUNDS, AGE_BOUNDS])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))
