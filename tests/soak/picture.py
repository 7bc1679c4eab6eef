#!/usr/bin/env python3
"""Draws tables of the soak program as one SVG: a column for each run, memory above, descriptors and threads below.

    picture.py SVG TITLE TABLE [TITLE TABLE...]
"""

import csv
import html
import sys

WIDTH, LEFT, RIGHT, HEIGHT = 300, 56, 28, 366
# The distance from the top, height, unit, its size, and curves with their names and colours.
PANELS = (
    (40, 180, " MB", 1e6, [("resident", "resident", "#1b6ca8"), ("anonymous", "not of files", "#d1495b"), ("heap", "malloc", "#2a9d5c")]),
    (258, 70, "", 1, [("descriptors", "descriptors", "#7a4fa3"), ("threads", "threads", "#c77d0a")]),
)
POINTS = 300


def read(table):
    with open(table, newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def distance(most):
    """A round one between lines, so that there are two to five."""
    scale = 1
    while True:
        for factor in (1, 2, 5):
            if factor * scale * 5 >= most:
                return factor * scale
        scale *= 10


def text(x, y, words, anchor, colour="#555"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="11">{html.escape(words)}</text>'


def panel(x, top, height, unit, size, curves, rows):
    """One diagram, from 0 on both axes."""
    every = -(-len(rows) // POINTS)
    rows = [*rows[:-1:every], rows[-1]]
    most = max(row[column] for row in rows for column, _, _ in curves) / size
    step = distance(most)
    lines = int(most / step) + 2
    bottom, scale = top + height, height / (step * (lines - 1))
    seconds = rows[-1]["seconds"]
    parts = []
    for value in range(0, lines * step, step):
        y = bottom - value * scale
        parts.append(f'<line x1="{x}" y1="{y:.1f}" x2="{x + WIDTH}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(text(x - 5, y + 4, f"{value}{unit}", "end"))
    for place, (column, name, colour) in enumerate(curves):
        points = [(f"{x + WIDTH * row['seconds'] / seconds:.1f}", f"{bottom - row[column] / size * scale:.1f}") for row in rows]
        # Of a level stretch, only the ends.
        inner = [b for a, b, c in zip(points, points[1:], points[2:]) if not a[1] == b[1] == c[1]]
        line = " ".join(f"{across},{y}" for across, y in (points[0], *inner, points[-1]))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(text(x + 80 * place, bottom + 15, name, "start", colour))
    parts.append(text(x + WIDTH, bottom + 15, f"{seconds / 60:.0f} min" if seconds > 120 else f"{seconds:.0f} s", "end"))
    return parts


def draw(path, runs):
    width = len(runs) * (LEFT + WIDTH) + RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for place, (title, rows) in enumerate(runs):
        x = LEFT + place * (LEFT + WIDTH)
        parts.append(text(x + WIDTH / 2, 22, title, "middle", "#222"))
        for shape in PANELS:
            parts += panel(x, *shape, rows)
    parts.append("</svg>")
    with open(path, "w") as file:
        file.write("\n".join(parts) + "\n")


if __name__ == "__main__":
    draw(sys.argv[1], [(title, read(table)) for title, table in zip(sys.argv[2::2], sys.argv[3::2])])
