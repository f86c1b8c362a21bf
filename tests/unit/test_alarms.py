"""Alarms: each is tested by promtool, of metrics that there are, and has its mend in docs/operating.md."""

import functools
import inspect
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from services.notify.metrics import DeliveryMetrics, SubscriptionMetrics
from services.stats import queries_releases
from services.stats.measuring import told_of_refusal
from services.stats.metrics import ReleaseMetrics
from services.tips.metrics import TipsMetrics
from shared.errors import Refusal
from shared.metrics import ConsumerMetrics, RelayMetrics, SurroundingsMetrics

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
TESTS = sorted((ROOT / "tests/prometheus").glob("*.yml"))
TEXT = "".join(path.read_text("utf-8") for path in RULES)
ALERTS = re.findall(r"^ +- alert: (\w+)$", TEXT, re.MULTILINE)
RECORDED = re.findall(r"^ +- record: ([\w:]+)$", TEXT, re.MULTILINE)
EXPRESSIONS = re.findall(r"^ +expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", TEXT, re.MULTILINE)
WORDS = {"and", "or", "unless", "on", "by", "offset"}
INSTALL = (
    "NOT run: promtool is not in PATH; get it by `apt install prometheus` or `brew install prometheus`, "
    "or from the image prom/prometheus:v2"
)


@functools.cache
def declared() -> frozenset[str]:
    """The names of every sample that a service has, and `up`, which is Prometheus' own."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for metrics in (RelayMetrics, ConsumerMetrics, SurroundingsMetrics, TipsMetrics, DeliveryMetrics):
        metrics(registry)
    SubscriptionMetrics(registry)
    ReleaseMetrics(registry)
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return frozenset(
        metric.name + ending for metric in registry.collect() for ending in endings[metric.type]
    ) | {"up"}


def named(expression: str) -> set[str]:
    """The metrics that an expression names."""
    plain = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(by|on) *\([^)]*\)|offset \w+", " ", expression)
    return set(re.findall(r"(?<![\w.])[a-z_][\w:]*\b(?! *\()", plain)) - WORDS


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it; skips, saying how to get it, where it is not there."""
    if shutil.which("promtool") is None:
        pytest.skip(INSTALL)
    return subprocess.run(
        ["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_prometheus_can_read_the_rules() -> None:
    """Every file that prometheus.yml loads."""
    done = promtool("check", "rules", *map(str, RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_when_it_must_and_not_when_it_must_not(path: Path) -> None:
    """`promtool test rules`, a file of ours at a time."""
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_of_each_alert_both_is_tested(alert: str) -> None:
    """That it fires and that it does not."""
    tests = "".join(path.read_text("utf-8") for path in TESTS)
    quiet = re.findall(rf"alertname: {alert}, eval_time: \w+, exp_alerts: \[\]", tests)
    fires = re.findall(rf"alertname: {alert}\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", tests)
    assert quiet
    assert fires


def test_every_metric_of_a_rule_is_declared_by_a_service() -> None:
    """Or made by another rule: a name that nobody has would be an alarm that never fires."""
    found = set().union(*(named("".join(expression)) for expression in EXPRESSIONS))
    assert len(EXPRESSIONS) == len(ALERTS) + len(RECORDED)
    assert len(found) > 20
    assert found - declared() - set(RECORDED) == set()


def test_what_is_recorded_is_used() -> None:
    """By an alert."""
    used = set().union(*(named("".join(expression)) for expression in EXPRESSIONS))
    assert set(RECORDED) <= used


def test_no_relay_is_missed_where_there_is_none_and_nowhere_else() -> None:
    """NoActiveRelay names the services that send."""
    sending = {
        path.parent.name
        for path in (ROOT / "services").glob("*/app.py")
        if ".send()" in path.read_text("utf-8")
    }
    (listed,) = re.findall(r'outbox_relay_active\{service=~"([\w|]+)"\}', TEXT)
    assert set(listed.split("|")) == sending


def test_stats_measures_by_the_clock_alone() -> None:
    """Whoever sees the count of an open period grow can take the noise off its release: none has a label,
    and what sets them looks at no report, incident or count."""
    sources = {path: path.read_text("utf-8") for path in (ROOT / "services/stats").rglob("*.py")}
    assert [path.name for path, text in sources.items() if "prometheus_client" in text] == ["metrics.py"]
    registry = CollectorRegistry()
    ReleaseMetrics(registry)
    assert all(sample.labels == {} for metric in registry.collect() for sample in metric.samples)
    # An event is set to nothing.
    setting = [text for text in sources.values() if re.search(r"\.(set\([^)]|(inc|observe)\()", text)]
    assert len(setting) == 1
    read = inspect.getsource(queries_releases.late)
    assert not re.search(r"lifecycle|incident|noise(?! IS NOT NULL)|counts(?! IS NOT NULL)", read)


async def test_releasing_that_refuses_says_so_in_its_metric() -> None:
    """And the refusal goes on to whoever says it."""
    registry = CollectorRegistry()
    metrics = ReleaseMetrics(registry)

    async def refuse() -> None:
        raise Refusal("another release than on the topic")

    assert registry.get_sample_value("release_refused") == 0
    with pytest.raises(Refusal):
        await told_of_refusal(refuse, metrics)
    assert registry.get_sample_value("release_refused") == 1


def test_no_rule_tells_one_tip_or_unit_from_another() -> None:
    """No label of a report, a category, an area or a kind is looked at, and of units only whether their
    system answers."""
    assert not re.search(
        r"\b(report|category|area|kind|district|unit|key)\w* *[,)=]", "".join(map("".join, EXPRESSIONS))
    )


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_section_in_the_operators_page(alert: str) -> None:
    """Of its name, with what to do."""
    page = (ROOT / "docs/operating.md").read_text("utf-8")
    (section,) = re.findall(rf"^### {alert}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert len(section.split()) >= 20, section


def test_the_operators_page_has_no_section_of_an_alert_that_is_gone() -> None:
    """Each heading below `Alarms` is an alert."""
    page = (ROOT / "docs/operating.md").read_text("utf-8")
    (alarms,) = re.findall(r"^## Alarms\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^### (\w+)$", alarms, re.MULTILINE) == ALERTS
