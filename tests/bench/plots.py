"""Results as plots, quiet enough for a README."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.contenders import WORKER, contender_of
from tests.bench.figures import by_subject, median_cpu, median_rate, typical
from tests.bench.results import Results

_ACCENT: Final = "#c2410c"
_QUIET: Final = "#94a3b8"
_FAINT: Final = "#dbe2ea"
_INK: Final = "#334155"

#: Peers are told apart by shades and markers, so that the accent stays the worker's.
_MARKERS: Final = "so^Dv"
_SHADES: Final = ("#475569", "#64748b", "#94a3b8", "#a8b4c4", "#cbd5e1")

_STYLE: Final[dict[Any, Any]] = {
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.hashsalt": "call control",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def digest(path: Path) -> str:
    """Return what a plot says of the results it was drawn from."""
    return sha256(path.read_bytes()).hexdigest()


def draw(results: Results, directory: Path, made_from: str) -> None:
    """Draw the plots, each as SVG and as PNG.

    Args:
        results: What is drawn.
        directory: Where the files go.
        made_from: The digest of the results' file, which the plots carry.
    """
    with mpl.rc_context(_STYLE):
        if results.drain:
            _save(_drain(results), directory / "drain", made_from)
        if results.latency:
            _save(_latency(results), directory / "latency", made_from)


def _save(figure: Figure, path: Path, made_from: str) -> None:
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Description": made_from})
    figure.savefig(path.with_suffix(".png"), dpi=144, metadata={"Description": made_from})


def _drain(results: Results) -> Figure:
    found = by_subject(results.drain)
    keys = list(found)[::-1]
    figure = Figure(figsize=(9, 0.6 + 0.42 * len(keys)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, keys, [median_rate(found[key]) for key in keys], "commands/s, one process")
    _bars(right, keys, [median_cpu(found[key]) for key in keys], "CPU per command, µs")
    return figure


def _bars(axes: Axes, keys: Sequence[str], values: Sequence[float], title: str) -> None:
    colours = list(map(_colour, keys))
    bars = axes.barh([contender_of(key).title for key in keys], values, color=colours, height=0.62)
    axes.bar_label(bars, fmt="{:,.0f}", padding=4, fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.margins(x=0.18)
    axes.xaxis.set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)


def _colour(key: str) -> str:
    contender = contender_of(key)
    if contender.is_limit:
        return _FAINT
    return _ACCENT if contender.is_worker else _QUIET


def _latency(results: Results) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    found = typical(results.latency)
    keys = list(dict.fromkeys(each.subject for each in found))
    peers = [key for key in keys if key != WORKER.key]
    for key in keys:
        points = sorted((each for each in found if each.subject == key), key=lambda each: each.rate)
        number = peers.index(key) if key in peers else 0
        axes.plot(
            [each.rate for each in points],
            [each.p99 for each in points],
            color=_ACCENT if key == WORKER.key else _SHADES[number % len(_SHADES)],
            linewidth=2.4 if key == WORKER.key else 1.4,
            marker="o" if key == WORKER.key else _MARKERS[number % len(_MARKERS)],
            markersize=5,
            label=contender_of(key).title,
            zorder=3 if key == WORKER.key else 2,
        )
    rates = sorted({each.rate for each in found})
    axes.set_yscale("log")
    axes.set_xscale("log")
    axes.set_xticks(rates, [f"{rate}/s" for rate in rates])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} ms")
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_title("from when a command was due to its event, 99th percentile", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    return figure
