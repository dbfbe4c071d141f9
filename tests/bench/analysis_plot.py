"""The plot of the bench, as SVG: how many candidate requests each judge needs, median to 95th percentile."""

import math
from collections.abc import Mapping
from html import escape

WIDTH, LEFT, RIGHT, ROW, TOP = 1000, 430, 110, 19, 46
COLOURS = {"Serin": "#0a7d4b"}
OTHERS = "#8a8f98"


def draw(spreads: Mapping[str, Mapping[str, tuple[float, float]]], bounds: Mapping[str, float], limit: float) -> str:
    """SVG with one group of rows per scenario. `spreads`: (median, 95th percentile), infinite: not within the run.

    `bounds`: Wald's bound per scenario, drawn as a tick. `limit`: candidate requests of a whole run, the right edge.
    """
    start = 30.0

    def x(requests: float) -> float:
        share = math.log(max(requests, start) / start) / math.log(limit / start)
        return LEFT + min(1.0, share) * (WIDTH - LEFT - RIGHT)

    shapes, y = [], TOP
    for scenario, judges in spreads.items():
        top = y
        shapes.append(_text(10, y + 13, scenario, "bold"))
        y += ROW
        for who, (median, high) in judges.items():
            shapes += _row(who, x(median), x(high), y, median, high)
            y += ROW
        if scenario in bounds:
            at = x(bounds[scenario])
            shapes.append(_line(at, top + ROW - 2, at, y - 4, "#c2410c", 1.5, "4 3"))
        y += 8
    axis = []
    for requests in (50, 100, 300, 1000, 3000, 9000):
        axis.append(_line(x(requests), TOP - 8, x(requests), y, "#e3e5e8", 1))
        axis.append(_text(x(requests), TOP - 14, f"{requests:,}", anchor="middle"))
    title = "Candidate requests until the rollback: median (dot) to 95th percentile; dashed: Wald's bound"
    body = "\n".join([*axis, _text(10, 16, title, "bold"), *shapes])
    box = f'viewBox="0 0 {WIDTH} {y + 6}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return f'{head}\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'


def _row(who: str, median: float, high: float, y: int, requests: float, most: float) -> list[str]:
    colour, middle = COLOURS.get(who, OTHERS), y + ROW / 2
    shapes = [_text(24, y + 13, who)]
    if math.isinf(requests):
        return [*shapes, _text(WIDTH - RIGHT + 8, y + 13, "not in half of the runs")]
    shapes.append(_line(median, middle, high, middle, colour, 3, "2 2" if math.isinf(most) else ""))
    shapes.append(f'<circle cx="{median:.1f}" cy="{middle:.1f}" r="4.5" fill="{colour}"/>')
    shapes.append(_text(max(median, high) + 8, y + 13, f"{requests:,.0f}"))
    return shapes


def _text(x: float, y: float, words: str, weight: str = "normal", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-weight="{weight}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{dashes}/>'
