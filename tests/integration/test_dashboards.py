"""Dashboard and alerts in deploy/: they ask for what a live worker tells, and nothing else."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.harness import PATIENCE_SECONDS, ROOT, Installation
from tests.prometheus import ALERTS, Prometheus, prometheus, promtool
from tests.scraping import Page, counted

DASHBOARD = ROOT / "deploy" / "grafana" / "call-control.json"
CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}

#: What Prometheus itself adds to each series, and to those of alerts.
ADDED = {"job", "instance", "alertname", "alertstate", "severity"}

#: What stands in an expression beside metrics: first strings, ranges and labels, then functions,
#: words and numbers.
NO_METRICS = (
    re.compile(
        r'"[^"]*"|\[[^]]*\]|\{[^}]*\}'
        r"|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
    ),
    re.compile(r"\b[a-z_]+\s*(?=\()|\b(?:and|or|unless|bool|offset)\b|\b[0-9][0-9.]*[a-z]*\b"),
)
LABELS = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"|\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


def panels() -> Iterator[dict[str, Any]]:
    """The dashboard's panels that show something."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] != "row":
            yield panel


def variables() -> list[dict[str, Any]]:
    """The dashboard's variables that are asked for at Prometheus."""
    templating = json.loads(DASHBOARD.read_text())["templating"]["list"]
    return [variable for variable in templating if variable["type"] == "query"]


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def filled(expression: str) -> str:
    """Return an expression as Grafana sends it."""
    return (
        expression.replace("$__rate_interval", "30s")
        .replace("$job", ".*")
        .replace("$instance", ".*")
    )


def expressions() -> dict[str, str]:
    """Everything that is asked of Prometheus, by what asks it."""
    asked = {
        f"{panel['title']} {target['refId']}": filled(target["expr"])
        for panel in panels()
        for target in panel["targets"]
    }
    asked |= {rule["alert"]: rule["expr"] for rule in rules()}
    return asked


def metrics(expression: str) -> set[str]:
    """Return the names of the metrics in an expression."""
    for pattern in NO_METRICS:
        expression = pattern.sub(" ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", expression))


def labels(expression: str) -> set[str]:
    """Return the names of the labels in an expression."""
    found = LABELS.findall(expression)
    return {name for name, _ in found if name} | {
        name.strip() for _, names in found for name in names.split(",") if name.strip()
    }


async def traffic(calls: Installation) -> Page:
    """Have commands done, refused and dead-lettered; return the worker's metrics."""
    await calls.ask("1", "call", **CALL)
    await calls.ask("1", "hold")
    await calls.ask("2", "hold")
    await calls.ask("1", "transfer")
    return await counted(calls.workers[0], 4)


def test_the_metrics_of_an_expression_are_found() -> None:
    """Neither functions nor labels are taken for metrics, and no metric for one of them."""
    expression = (
        'histogram_quantile(0.99, sum by (job, le) (rate(a_bucket{job=~"$x", le!="b"}[5m]))) > 2.5'
        " and on (job) max without(le) (c_total offset 1h) or absent(d)"
    )
    assert metrics(expression) == {"a_bucket", "c_total", "d"}
    assert labels(expression) == {"job", "le"}


async def test_everything_that_is_asked_for_is_there(calls: Installation) -> None:
    """Each metric and each label of each panel and alert is on the page of a live worker."""
    page = await traffic(calls)
    there = {name for name, _ in page}
    known = {label for _, pairs in page for label, _ in pairs} | ADDED
    assert expressions()
    for asker, expression in expressions().items():
        assert metrics(expression), f"{asker} asks for nothing: {expression}"
        assert metrics(expression) <= there, asker
        assert labels(expression) <= known, asker


def test_the_alerts_do_what_they_say() -> None:
    """By their own tests, in which each of them fires."""
    tests = ALERTS.with_name("alerts_test.yaml")
    assert "10 rules found" in promtool("check", "rules", str(ALERTS))
    promtool("test", "rules", str(tests))
    fired = set(re.findall(r'alertname="(\w+)"', tests.read_text()))
    assert fired == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("rule", rules(), ids=[rule["alert"] for rule in rules()])
def test_an_alert_says_how_grave_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever is woken up by it has no time to look for that."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 100


def test_a_panel_says_what_it_shows() -> None:
    """With a unit, and apart from the others."""
    shown = list(panels())
    assert len({panel["id"] for panel in shown}) == len(shown)
    taken: set[tuple[int, int]] = set()
    for panel in shown:
        assert panel["title"]
        assert panel["description"].endswith((".", "?"))
        assert panel["type"] == "heatmap" or panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


async def answered(server: Prometheus, expression: str) -> list[dict[str, Any]]:
    """Return what an expression comes to, once it comes to anything."""
    for _ in range(int(PATIENCE_SECONDS * 5)):
        found = await server.query(expression)
        if found:
            break
        await asyncio.sleep(0.2)
    return found


async def test_each_panel_shows_something_of_a_live_worker(calls: Installation) -> None:
    """As a real Prometheus answers it; and the alerts it was given are well, and silent."""
    async with prometheus(calls.workers) as server:
        # Twice, so that there are rates.
        await traffic(calls)
        assert await answered(server, "call_control_commands_total")
        await traffic(calls)
        for panel in panels():
            for target in panel["targets"]:
                expression = filled(target["expr"])
                assert await answered(server, expression), f"{panel['title']}: {expression}"
        for variable in variables():
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert asked, variable["definition"]
            assert await server.get(f"label/{asked[2]}/values", **{"match[]": filled(asked[1])})
        groups = (await server.get("rules"))["groups"]
        evaluated = [rule for group in groups for rule in group["rules"]]
        assert {rule["name"] for rule in evaluated} == {rule["alert"] for rule in rules()}
        assert {rule["health"] for rule in evaluated} == {"ok"}
        firing = {rule["name"] for rule in evaluated if rule["state"] == "firing"}
        assert firing <= {"CallControlDeadLetters"}
