"""What writing costs, as far as it can be known here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from vectorferry.connector.plugin import Delivery, Visibility
from vectorferry.destinations.pinecone._writer import WriteUsage, write_units


@pytest.mark.parametrize(
    ("records", "dimension", "metadata", "units"),
    [(1, 768, 100, 5), (2, 768, 100, 7), (10, 1024, 15_000, 191), (100, 768, 500, 358), (1_000, 1536, 1_000, 7_144)],
)
def test_the_examples_that_pinecone_documents_give_or_take_rounding(
    records: int, dimension: int, metadata: int, units: int
) -> None:
    assert write_units(records * (4 * dimension + metadata)) == units


@pytest.mark.parametrize(("size", "units"), [(0, 5), (5_000, 5), (5_001, 6)])
def test_a_unit_for_each_started_kilobyte_and_five_at_least(size: int, units: int) -> None:
    assert write_units(size) == units


def test_counts_from_many_threads_add_up() -> None:
    usage = WriteUsage()

    def send(number: int) -> None:
        usage.sent(10, again=number % 10 == 0)
        usage.accepted(1_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(500)))
    place = Visibility("index/books", 7)
    assert usage.delivery([place]) == Delivery(500, 50, 5_000, 2_500, [place])
