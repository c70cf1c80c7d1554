"""The page's pictures: Vega-Lite specifications, rendered to SVG when the page is written.

So the page needs no script and no network. Each picture is rendered twice, for a wide window and
for a phone. Colours are CSS variables of the page (`page.css`), which knows the reader's theme.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import vl_convert

VEGA_LITE = "6.1"
WIDE, NARROW = 620, 300  # pixels of the plot itself, without axes and labels
HEIGHT = 320
ROLES = CHOSEN, REFERENCE, OTHER = "ships", "reference", "other"
PART_COLOURS = {
    "word_embeddings": "var(--c1)",
    "other_embeddings": "var(--c2)",
    "encoder": "var(--c3)",
    "head": "var(--c4)",
}
POINT, LETTER, LINE = 11, 6.6, 14  # pixels: of a point, a letter of a name, and its height
MOST_SAMPLES = 400  # of one variant; more only makes the page larger
Spec = dict[str, Any]
CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--line)",
        "domainColor": "var(--muted)",
        "tickColor": "var(--muted)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 200,
        "labelOverlap": True,
        "tickCount": 6,
    },
    # Readers' fonts are wider than the one that measured here.
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "labelFontSize": 12,
        "columnPadding": 34,
    },
    "padding": {"left": 30, "right": 30, "top": 5, "bottom": 5},
    "text": {"color": "var(--ink)", "fontSize": 12},
}


class Picture(NamedTuple):
    """What it shows in a sentence, for who cannot see it; SVG at both widths."""

    says: str
    wide: str
    narrow: str


def picture(says: str, spec: Callable[[int], Spec]) -> Picture:
    """Args:
    says: read aloud in the picture's place.
    spec: of a width in pixels.
    """
    return Picture(says, *(rendered(spec(width), says) for width in (WIDE, NARROW)))


def rendered(spec: Spec, says: str) -> str:
    svg: str = vl_convert.vegalite_to_svg(json.dumps({**spec, "config": CONFIG}), VEGA_LITE)
    # One picture, one sentence: not every tick and label read aloud.
    return svg.replace("<svg ", f'<svg role="img" aria-label="{attribute(says)}" ', 1)


def attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


class Plane(NamedTuple):
    """A plot's extent: what its axes show, and in pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float
    height: float

    def pixels(self, x: float, y: float) -> tuple[float, float]:
        """From the lower left corner."""
        return (
            (x - self.x[0]) / (self.x[1] - self.x[0]) * self.width,
            (y - self.y[0]) / (self.y[1] - self.y[0]) * self.height,
        )

    def values(self, right: float, up: float) -> tuple[float, float]:
        return (
            self.x[0] + right / self.width * (self.x[1] - self.x[0]),
            self.y[0] + up / self.height * (self.y[1] - self.y[0]),
        )


def names_beside(points: pd.DataFrame, plane: Plane) -> pd.DataFrame:
    """Where the middle of each point's name stands: beside it, where it hides nothing if it can.

    Args:
        points: `variant`, `speedup`, `score`.

    Returns:
        `variant`, `speedup`, `score` of the name.
    """
    centres = [plane.pixels(x, y) for x, y in zip(points["speedup"], points["score"], strict=True)]
    taken = [Box(right, up, POINT, POINT) for right, up in centres]
    names = []
    for variant, (right, up) in zip(points["variant"], centres, strict=True):
        width = LETTER * len(variant)
        beside, above = (width + POINT) / 2 + 3, (LINE + POINT) / 2
        moves = [(beside, 0), (-beside, 0), (0, above), (0, -above)]
        moves += [(x, y) for y in (above, -above, 2 * above, -2 * above) for x in (beside, -beside)]
        boxes = [Box(right + x, up + y, width, LINE) for x, y in moves]
        inside = [b for b in boxes if b.within(plane.width, plane.height)] or boxes
        best = min(inside, key=lambda box: sum(box.hides(other) for other in taken))
        taken.append(best)
        x, y = plane.values(best.right, best.up)
        names.append({"variant": variant, "speedup": x, "score": y})
    return pd.DataFrame(names)


class Box(NamedTuple):
    """By its middle, in pixels."""

    right: float
    up: float
    width: float
    height: float

    def within(self, width: float, height: float) -> bool:
        return (
            self.width / 2 <= self.right <= width - self.width / 2
            and self.height / 2 <= self.up <= height - self.height / 2
        )

    def hides(self, other: "Box") -> float:
        """Area that both cover."""
        across = (self.width + other.width) / 2 - abs(self.right - other.right)
        along = (self.height + other.height) / 2 - abs(self.up - other.up)
        return max(0.0, across) * max(0.0, along)


def score_against_speed(points: pd.DataFrame, metric: str, budget: float) -> Picture:
    """Right is faster, up is better.

    Args:
        points: `variant`, `role`, `speedup`, `score`, `low` and `high` (NaN of the reference).
        budget: the lowest score that is within it.
    """
    ends = points[["score", "low", "high"]].to_numpy(dtype=float)
    low, high = min(budget, float(np.nanmin(ends))), float(np.nanmax(ends))
    room = 0.06 * (high - low or 0.01)
    domain = (low - room, high + room)
    far = 1.18 * float(points["speedup"].max())

    def spec(width: int) -> Spec:
        names = names_beside(points, Plane((0, far), domain, width, HEIGHT))
        x = {
            "field": "speedup",
            "type": "quantitative",
            "title": "times as fast as fp32 (p90)",
            "scale": {"domain": [0, far], "nice": False},
        }
        y = {"type": "quantitative", "title": metric, "scale": {"domain": domain, "nice": False}}
        colour = by_role("var(--accent)", "var(--ink)", "var(--c1)")
        shape = by_role("diamond", "square", "circle")
        layers: list[Spec] = [
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.6},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "low"},
                    "y2": {"field": "high"},
                    "color": colour,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
                "encoding": {"x": x, "y": {**y, "field": "score"}, "color": colour, "shape": shape},
            },
            {
                "data": {"values": records(names)},
                "mark": {"type": "text"},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "score"},
                    "text": {"field": "variant"},
                },
            },
        ]
        line = {"values": [{"budget": budget}]}
        where: Spec = {"y": {**y, "field": "budget"}}
        colour_of_budget = {"color": "var(--warn)"}
        says = {"type": "text", "text": "budget", "align": "left", "dx": 4, "dy": 12}
        layers += [
            {
                "data": line,
                "mark": {"type": "rule", "strokeDash": [5, 4]} | colour_of_budget,
                "encoding": where,
            },
            {
                "data": line,
                "mark": says | colour_of_budget,
                "encoding": where | {"x": {"value": 0}},
            },
        ]
        return {
            "width": width,
            "height": HEIGHT,
            "data": {"values": records(points)},
            "layer": layers,
        }

    return picture(
        f"Score against speed: {metric} of each variant by how many times as fast as fp32 it is; "
        "the same numbers stand in the table above.",
        spec,
    )


def by_role(*of: str) -> Spec:
    """A colour or a shape of ROLES, in their order."""
    scale = {"domain": list(ROLES), "range": list(of)}
    return {"field": "role", "type": "nominal", "legend": None, "scale": scale}


def latencies(samples: pd.DataFrame, order: list[str], says: str) -> Picture:
    """Each timed call as a stroke, a row for each variant; the high stroke is its p90.

    Args:
        samples: `variant`, `ms`; `p90`: the same for all of a variant's rows.
    """
    few = pd.concat(
        [rows.iloc[:: -(-len(rows) // MOST_SAMPLES)] for _, rows in samples.groupby("variant")]
    )
    marks = samples[["variant", "p90"]].drop_duplicates()

    def spec(width: int) -> Spec:
        y = {"field": "variant", "type": "nominal", "sort": order, "title": None}
        x = {"type": "quantitative", "title": "milliseconds", "scale": {"domainMin": 0}}
        return {
            "width": width,
            "height": {"step": 30},
            "layer": [
                {
                    "data": {"values": records(few)},
                    "mark": {"type": "tick", "opacity": 0.45, "size": 13, "color": "var(--c1)"},
                    "encoding": {"y": y, "x": {**x, "field": "ms"}},
                },
                {
                    "data": {"values": records(marks)},
                    "mark": {
                        "type": "tick",
                        "thickness": 2.5,
                        "size": 25,
                        "color": "var(--accent)",
                    },
                    "encoding": {"y": y, "x": {**x, "field": "p90"}},
                },
            ],
        }

    return picture(says, spec)


def sizes(parts: pd.DataFrame, order: list[str]) -> Picture:
    """Bytes by part, one bar for each variant.

    Args:
        parts: `variant`, `part`, `size_mb`.
    """
    parts = parts.assign(at=parts["part"].map(list(PART_COLOURS).index))
    totals = parts.groupby("variant", sort=False)["size_mb"].sum().reset_index()
    totals["says"] = totals["size_mb"].map("{:.1f} MB".format)

    def spec(width: int) -> Spec:
        y = {"field": "variant", "type": "nominal", "sort": order, "title": None}
        x = {"type": "quantitative", "title": "MB", "field": "size_mb"}
        legend: Spec = {"orient": "top", "title": None, "columns": 4 if width == WIDE else 2}
        return {
            "width": width - 60,
            "height": {"step": 30},
            "layer": [
                {
                    "data": {"values": records(parts)},
                    "mark": {"type": "bar", "size": 17},
                    "encoding": {
                        "y": y,
                        "x": x,
                        "order": {"field": "at"},
                        "color": {
                            "field": "part",
                            "type": "nominal",
                            "legend": legend,
                            "scale": {
                                "domain": list(PART_COLOURS),
                                "range": list(PART_COLOURS.values()),
                            },
                        },
                    },
                },
                {
                    "data": {"values": records(totals)},
                    "mark": {"type": "text", "align": "left", "dx": 5},
                    "encoding": {"y": y, "x": x, "text": {"field": "says"}},
                },
            ],
        }

    said = ", ".join(f"{one['variant']} {one['says']}" for one in totals.to_dict("records"))
    return picture(f"Size of the weights by part: {said}.", spec)


def sensitivity(layers: pd.DataFrame, variant: str) -> Picture:
    """How far the logits move where one group of layers alone is quantized.

    Args:
        layers: `group`, `rms_logit_difference`, `kept` (in fp32).
    """

    def spec(width: int) -> Spec:
        return {
            "width": width - 60,
            "height": {"step": 20},
            "data": {"values": records(layers)},
            "mark": "bar",
            "encoding": {
                "y": {"field": "group", "type": "nominal", "sort": None, "title": None},
                "x": {
                    "field": "rms_logit_difference",
                    "type": "quantitative",
                    "title": "RMS difference of the logits",
                },
                "color": {
                    "field": "kept",
                    "type": "nominal",
                    "legend": {"orient": "top", "title": None},
                    "scale": {
                        "domain": ["quantized", "kept in fp32"],
                        "range": ["var(--c1)", "var(--c2)"],
                    },
                },
            },
        }

    return picture(f"{variant}: how far the logits move, by group of layers.", spec)


def training(curve: pd.DataFrame, x: str, y: str, title: str, says: str) -> Picture:
    """A line for each seed.

    Args:
        curve: columns `seed`, `x` and `y`.
    """
    seeds = sorted(curve["seed"].unique())
    colours = [f"var(--c{1 + i % 4})" for i in range(len(seeds))]

    def spec(width: int) -> Spec:
        return {
            "width": width,
            "height": 180,
            "data": {"values": records(curve)},
            "mark": {"type": "line", "point": {"size": 35}, "strokeWidth": 1.8},
            "encoding": {
                "x": {
                    "field": x,
                    "type": "quantitative",
                    "title": x,
                    "axis": {"tickMinStep": 1, "grid": False},
                },
                "y": {
                    "field": y,
                    "type": "quantitative",
                    "title": title,
                    "scale": {"zero": False},
                },
                "color": {
                    "field": "seed",
                    "type": "nominal",
                    "legend": {"orient": "top"} if len(seeds) > 1 else None,
                    "scale": {"domain": seeds, "range": colours},
                },
            },
        }

    return picture(says, spec)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON knows them: what is not a number is null."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows
