"""Maps of what is stored: the same each time, harmless whatever features are called, whole files or none."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from tests.connector.worlds import asset, feature, settings_for
from vectorferry import ConfigurationError, Modality, StopError, embedding_maps
from vectorferry.connector._engine._points import project
from vectorferry.connector._reports._map import page
from vectorferry.connector.plugin import Asset
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync

HOSTILE = '</title><script>alert(1)</script>" onload="alert(2)\x00\x1b[31m'


def clouds(count: int, groups: int = 3) -> list[Asset]:
    """Assets of one feature each, in groups that are far apart."""
    random = np.random.default_rng(3)
    middles = random.normal(size=(groups, 32)) * 10
    made = []
    for number in range(count):
        vector = (middles[number % groups] + random.normal(size=32)).astype(np.float32)
        text = HOSTILE if number == 0 else f"group {number % groups}"
        made.append(asset(f"a{number:03}", features=[feature(f"f{number:03}", text=text, vectors={"m": vector})]))
    return made


async def stored(count: int = 90) -> tuple[MemorySource, MemoryDestination]:
    source, store = MemorySource({"ads": clouds(count), "films": clouds(12)}), MemoryDestination()
    assert (await sync(source, [store], name="m")).exit_code == 0
    return source, store


async def test_what_is_alike_is_drawn_together_and_the_same_each_time() -> None:
    source, store = await stored()
    (drawn,) = embedding_maps(settings_for(source, store))
    assert (drawn.modality, drawn.vector_name, len(drawn.points)) == (Modality.VIDEO, "m", 102)
    group = np.array([int(point.feature_id[1:]) % 3 for point in drawn.points])
    middles = np.array([drawn.places[group == each].mean(axis=0) for each in range(3)])
    nearest = np.argmin(np.linalg.norm(drawn.places[:, None] - middles, axis=2), axis=1)
    assert (nearest == group).mean() > 0.95
    (again,) = embedding_maps(settings_for(source, store))
    assert again.svg() == drawn.svg()
    assert again.svg("asset") != drawn.svg()


async def test_a_sample_is_of_both_collections_and_no_larger_than_asked_for() -> None:
    source, store = await stored()
    (drawn,) = embedding_maps(settings_for(source, store), sample=40)
    assert len(drawn.points) == 40
    assert {point.collection for point in drawn.points} == {"ads", "films"}
    (films,) = embedding_maps(settings_for(source, store), collections=["films"])
    assert len(films.points) == 12
    with pytest.raises(ConfigurationError, match="holds nothing of it"):
        embedding_maps(settings_for(source, store), collections=["nowhere"])
    with pytest.raises(StopError, match="no dense vector is stored"):
        embedding_maps(settings_for(source, store), vector_names=["other"])


@pytest.mark.long
async def test_whatever_features_are_called_a_page_is_text_and_loads_nothing() -> None:
    source, store = await stored()
    html = page(f"Map of {HOSTILE}", embedding_maps(settings_for(source, store)))
    assert "<script" not in html
    assert "alert(1)" in html  # as text
    assert "\x00" not in html
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    (drawn,) = embedding_maps(settings_for(source, store))
    root = ElementTree.fromstring(drawn.svg())
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {
        "svg",
        "rect",
        "g",
        "circle",
        "title",
        "text",
    }


@pytest.mark.parametrize("vectors", [np.ones((1, 4)), np.zeros((30, 3)), np.eye(5), np.ones((30, 1))])
def test_few_or_equal_vectors_have_places_too(vectors: np.ndarray) -> None:
    places = project(vectors.astype(np.float32))
    assert places.shape == (len(vectors), 2)
    assert np.isfinite(places).all()
