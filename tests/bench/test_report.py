"""What is shown of a run."""

import socket
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from tests.bench.contenders import contenders
from tests.bench.goals import goals
from tests.bench.plots import digest, draw
from tests.bench.report import README
from tests.bench.results import RESULTS, Drained, Latency, Machine, Results, read
from tests.bench.tables import renewed

PLOTS = ("drain", "latency")

MACHINE = Machine(cpu="some CPU", cores=8, memory=2**34, kernel="6.1")


def drained(subject: str, rate: int, cpu: float, round_: int = 1) -> Drained:
    """A drain."""
    return Drained(
        subject=subject,
        round=round_,
        commands=rate,
        seconds=1,
        cpu=cpu,
        broker_cpu=120,
        redis_cpu=None,
        memory=2**26,
        peak_memory=2**26,
    )


def waited(subject: str, rate: int, p99: float, *, kept_up: bool = True) -> Latency:
    """What came of a schedule."""
    return Latency(
        subject=subject,
        round=1,
        rate=rate,
        commands=1000,
        unanswered=0,
        p50=p99 / 4,
        p99=p99,
        p999=p99 * 2,
        producer_late=1,
        kept_up=kept_up,
    )


@pytest.fixture
def results() -> Results:
    """A run in which every goal is met."""
    return Results(
        machine=MACHINE,
        versions={"RabbitMQ": "4.0.5", "Redis": "8.0.2"},
        settings={"rounds": 1, "latency_rounds": 1, "share": 0.25},
        drain=[
            drained("worker", 6500, 140),
            drained("faststream", 1000, 1000),
            drained("aio-pika", 1800, 540),
            drained("limit-aiormq", 9000, 90),
        ],
        latency=[
            waited("worker", 300, 8),
            waited("faststream", 300, 12),
            waited("aio-pika", 300, 9),
            waited("worker", 1500, 15),
            waited("faststream", 1500, 5000, kept_up=False),
            waited("aio-pika", 1500, 20),
        ],
        live_calls=[drained("1000", 5000, 140), drained("1000000", 4900, 142)],
        history=[drained("10", 5000, 140), drained("1000", 5000, 140)],
        processes=[drained("1", 5000, 140), drained("2", 9500, 140)],
        shares=[drained("1", 2000, 140), drained("2", 3800, 140)],
        call_bytes=1000,
        first_event=[0.7, 0.8, 3.0],
    )


def test_the_readme_shows_the_results_that_are_here() -> None:
    """``python -m tests.bench.report`` renews it."""
    page = README.read_text()
    assert page.count("<!-- bench -->\n| draining a backlog |") == 1
    assert renewed(page, read(RESULTS)).splitlines() == page.splitlines()


@pytest.mark.parametrize("name", PLOTS)
def test_the_plots_are_drawn_from_the_results_that_are_here(name: str) -> None:
    """They carry the digest of the file; the README shows them."""
    assert digest(RESULTS) in (RESULTS.parent / f"{name}.svg").read_text()
    with Image.open(RESULTS.parent / f"{name}.png") as image:
        assert image.info["Description"] == digest(RESULTS)
    assert f"tests/bench/{name}.svg" in README.read_text()


def test_the_results_name_no_machine() -> None:
    """Its kind, and not whose it is."""
    assert socket.gethostname() not in RESULTS.read_text()


def test_every_goal_can_be_met(results: Results) -> None:
    """A median of three starts forgives the one that took long."""
    assert [goal for goal in goals(results) if not goal.is_met] == []


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        (
            {"drain": [drained("worker", 5900, 140), drained("faststream", 1000, 1000)]},
            "FastStream",
        ),
        ({"drain": [drained("worker", 6200, 140), drained("aio-pika", 1800, 500)]}, "aio-pika"),
        ({"drain": [drained("worker", 6500, 170), drained("faststream", 1000, 1000)]}, "CPU"),
        ({"drain": [drained("worker", 6500, 155), drained("faststream", 1000, 1000)]}, "1000 µs"),
        ({"latency": [waited("worker", 100, 9), waited("taskiq", 100, 8)]}, "keep up"),
        (
            {"latency": [waited("worker", 100, 9), waited("taskiq", 100, 40, kept_up=False)]},
            "fall behind",
        ),
        ({"live_calls": [drained("1000", 100, 1), drained("10000", 94, 1)]}, "10,000 live calls"),
        ({"call_bytes": 1025}, "Redis memory"),
        (
            {"processes": [drained("1", 100, 1), drained("2", 170, 1)], "shares": []},
            "two workers",
        ),
        ({"shares": [drained("1", 100, 1), drained("2", 170, 1)]}, "25% of a core"),
        ({"first_event": [0.9, 1.1, 1.2]}, "first event"),
    ],
)
def test_every_goal_can_be_missed(results: Results, change: dict[str, object], missed: str) -> None:
    """By a little."""
    changed = replace(results, **change)  # type: ignore[arg-type]  # one field or another
    (first, *_) = [goal for goal in goals(changed) if goal.is_met is False]
    assert missed in first.text


def test_a_goal_that_was_not_measured_is_neither_met_nor_missed() -> None:
    """Nor is that of two workers where there are not cores enough for them."""
    nothing = Results(machine=MACHINE, versions={}, settings={"rounds": 1, "latency_rounds": 1})
    assert {goal.is_met for goal in goals(nothing)} == {None}
    assert {goal.measured for goal in goals(nothing)} == {""}
    few = replace(
        nothing,
        machine=replace(MACHINE, cores=2),
        processes=[drained("1", 100, 1), drained("2", 120, 1)],
    )
    (goal,) = [goal for goal in goals(few) if goal.measured]
    assert goal.measured == "1.20, with 2 cores for everything"
    assert goal.is_met is None


def test_a_page_shows_every_contender_and_who_falls_behind(results: Results) -> None:
    """In the place between the comments, and nowhere else."""
    page = renewed("before\n<!-- bench -->\nold\n<!-- end -->\nafter\n", results)
    assert page.startswith("before\n<!-- bench -->\n| draining a backlog |")
    assert page.endswith("\n<!-- end -->\nafter\n")
    assert "| FastStream | 1000 | 1.0 | 1000 µs | 120 µs | - | 64 MiB |" in page
    assert "| call-control worker | 6500 | 6.5 |" in page
    assert "| FastStream | 3.0 / 12.0 / 24.0 | falls behind (5.0 s) |" in page
    assert "| 1,000,000 live calls | 4900 | 0.98 | 142 µs |" in page
    assert "old" not in page


def test_a_plot_shows_the_worker_in_a_colour_of_its_own(results: Results, tmp_path: Path) -> None:
    """Twice in the bars, once in the lines."""
    draw(results, tmp_path, "some digest")
    for name in PLOTS:
        svg = (tmp_path / f"{name}.svg").read_text()
        ET.fromstring(svg)  # noqa: S314 - our own
        assert "#c2410c" in svg
        assert "some digest" in svg
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_contenders_can_be_told_apart() -> None:
    """By their keys, on the command line; by their titles, in tables and plots."""
    found = contenders()
    assert len({each.key for each in found}) == len({each.title for each in found}) == len(found)
