"""Embedding maps as pictures: one SVG each, and a page that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vectorferry.connector._model._records import Modality

Numbers: TypeAlias = npt.NDArray[np.float32]
ColouredBy: TypeAlias = Literal["collection", "asset"]

COLOURS: Final = (
    *("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7"),
    *("#a463f2", "#97bbf5", "#9c6b4e", "#2f8f9d", "#b5651d", "#7a8b00"),
)
REST: Final = "#9aa0a6"
"""Beside the others in the list of names, which would be too long."""

WIDTH: Final = 640
HEIGHT: Final = 480
MARGIN: Final = 12
LINE: Final = 18
LABEL: Final = 60
"""Characters that are shown of a name; of a feature's words, twice as many."""

PAGE: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #202124; background: #fff }}
figure {{ display: inline-block; margin: 0 2rem 2rem 0; vertical-align: top }}
figcaption {{ font-weight: 600 }}
circle:hover {{ stroke: #202124; stroke-width: 2 }}
p {{ max-width: 60em; color: #5f6368 }}
</style></head><body>
<h1>{title}</h1>
<p>{note}</p>
{figures}
</body></html>
"""
NOTE: Final = (
    "Each point is a feature; points that are close together have similar vectors. How far apart groups lie, and where "
    "up is, means nothing. Hover over a point to see what it is."
)


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A dense vector of a feature, and the feature's words, where it has any."""

    collection: str
    asset_id: str
    feature_id: str
    modality: Modality
    vector_name: str
    vector: Numbers
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingMap:
    """Points of one named vector of a modality, and where each is drawn: `places` are two numbers from 0 to 1."""

    modality: Modality
    vector_name: str
    points: Sequence[Point]
    places: Numbers

    def svg(self, coloured_by: ColouredBy = "collection") -> str:
        """A picture, with a colour for each collection or asset."""
        return svg(self, coloured_by)

    def _repr_svg_(self) -> str:
        return svg(self)


def page(title: str, maps: Sequence[EmbeddingMap], coloured_by: ColouredBy = "collection") -> str:
    """A whole HTML document, without scripts, that loads nothing from anywhere."""
    figures = [
        f"<figure><figcaption>{_text(f'{each.vector_name} of {each.modality}: {len(each.points):,} points')}"
        f"</figcaption>{svg(each, coloured_by)}</figure>"
        for each in maps
    ]
    return PAGE.format(title=_text(title), note=NOTE, figures="\n".join(figures))


def svg(drawn: EmbeddingMap, coloured_by: ColouredBy = "collection") -> str:
    """One picture: every point with what it is of, coloured by collection or asset, and what the colours stand for."""
    name_of = _names(coloured_by)
    counts = Counter(map(name_of, drawn.points))
    ranked = [name for name, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    colours = {name: _colour(number) for number, name in enumerate(ranked)}
    shown = [(name, colours[name]) for name in ranked[: len(COLOURS)]]
    if len(ranked) > len(COLOURS):
        shown.append((f"{len(ranked) - len(COLOURS):,} others, each in a colour of its own", REST))
    height = HEIGHT + LINE * len(shown) + MARGIN
    radius = 4 if len(drawn.points) <= 500 else 2.5
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<g fill-opacity="0.75" stroke="#fff" stroke-width="0.5">',
    ]
    for point, (x, y) in zip(drawn.points, drawn.places, strict=True):
        across = MARGIN + float(x) * (WIDTH - 2 * MARGIN)
        down = HEIGHT - MARGIN - float(y) * (HEIGHT - 2 * MARGIN)
        colour = colours[name_of(point)]
        lines.append(
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="{radius}" fill="{colour}">'
            f"<title>{_title(point)}</title></circle>"
        )
    lines.append("</g>")
    for number, (name, colour) in enumerate(shown):
        middle = HEIGHT + LINE * number + LINE // 2
        lines.append(f'<circle cx="{MARGIN + 5}" cy="{middle}" r="5" fill="{colour}"/>')
        lines.append(f'<text x="{MARGIN + 18}" y="{middle + 4}">{_text(_cut(name, LABEL))}</text>')
    return "\n".join([*lines, "</svg>"])


def _colour(number: int) -> str:
    """Ones that are told apart easily first; then hues that are as far from those before as the golden angle keeps
    them."""
    return COLOURS[number] if number < len(COLOURS) else f"hsl({number * 137.508 % 360:.0f} 55% 50%)"


def _names(coloured_by: ColouredBy) -> Callable[[Point], str]:
    if coloured_by == "asset":
        return lambda point: f"{point.collection} / {point.asset_id}"
    return lambda point: point.collection


def _title(point: Point) -> str:
    where = f"{point.collection} / {point.asset_id} / {point.feature_id}"
    return _text("\n".join(filter(None, (where, _cut(point.text, 2 * LABEL)))))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _text(text: str) -> str:
    """Text of a document, whatever it is: no markup, and no character that XML cannot hold."""
    return escape("".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text))
