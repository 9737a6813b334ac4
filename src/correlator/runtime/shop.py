"""The storm of the demo: forty minutes of a shop in which a database, a payment provider and a deploy go wrong at about the same time.

In: a seed and a start instant. Out: events in the order of their delivery. Some twenty thousand of them, most of them repeats.
"""

from collections.abc import Iterator
from operator import itemgetter
from random import Random
from typing import Any

import msgspec

Event = dict[str, Any]
SECOND, MINUTE = 1_000, 60_000
LENGTH = 40 * MINUTE
CLUSTER = "shop-eu"
RUNBOOKS = "https://runbooks.example.com"
# Two Prometheus servers watch everything, as is usual: each alert is said twice.
SOURCES = ("prometheus-a", "prometheus-b")
INTERVAL = 15 * SECOND
LATEST = 4 * SECOND


class Symptom(msgspec.Struct, frozen=True):
    """An alert that a fault raises: `after` ms from the start of the fault, on so many pods."""

    alertname: str
    service: str
    after: int
    severity: str = "warning"
    pods: int = 1


class Fault(msgspec.Struct, frozen=True):
    """What is broken and when; `start` and `end` in ms from the start of the demo."""

    name: str
    root: str
    start: int
    end: int
    symptoms: tuple[Symptom, ...]


DATABASE = Fault(
    name="the primary of orders-db fails over and the pool does not recover",
    root="orders-db",
    start=6 * MINUTE,
    end=24 * MINUTE,
    symptoms=(
        Symptom("PostgresPrimaryChanged", "orders-db", 0, "critical"),
        Symptom("PostgresConnectionsRefused", "orders-db", 4 * SECOND, "critical", pods=2),
        Symptom("PostgresReplicationLag", "orders-db", 20 * SECOND, pods=2),
        Symptom("ConnectionPoolExhausted", "orders", 9 * SECOND, pods=4),
        Symptom("HighErrorRate", "orders", 15 * SECOND, "critical", pods=4),
        Symptom("SlowQueries", "reports", 25 * SECOND, pods=2),
        Symptom("JobsFailing", "invoices", 30 * SECOND, pods=3),
        Symptom("QueueBacklogGrowing", "shipping", 50 * SECOND, pods=3),
        Symptom("HighLatencyP99", "shipping", 40 * SECOND, pods=3),
        Symptom("HighErrorRate", "checkout", 35 * SECOND, "critical", pods=4),
        Symptom("HighLatencyP99", "checkout", 28 * SECOND, pods=4),
        Symptom("UpstreamErrors", "returns", 55 * SECOND, pods=2),
        Symptom("UpstreamErrors", "admin-console", 65 * SECOND, pods=2),
        Symptom("HighLatencyP99", "bff", 60 * SECOND, pods=5),
        Symptom("ErrorBudgetBurnFast", "bff", 95 * SECOND, "critical"),
        Symptom("ErrorBudgetBurnFast", "storefront", 110 * SECOND, "critical"),
        Symptom("HighErrorRate", "mobile-api", 100 * SECOND, pods=3),
    ),
)
PAYMENTS = Fault(
    name="the payment provider is down",
    root="psp",
    start=13 * MINUTE,
    end=31 * MINUTE,
    symptoms=(
        Symptom("ProviderProbeFailing", "psp", 0, "critical", pods=2),
        Symptom("ProviderTimeouts", "payments", 10 * SECOND, "critical", pods=5),
        Symptom("CircuitBreakerOpen", "payments", 25 * SECOND, "critical", pods=5),
        Symptom("PaymentSuccessRateLow", "payments", 45 * SECOND, "critical"),
        Symptom("RetryRateHigh", "payments", 18 * SECOND, pods=5),
        Symptom("UpstreamTimeouts", "wallet", 40 * SECOND, pods=4),
        Symptom("HighErrorRate", "wallet", 55 * SECOND, pods=4),
        Symptom("RefundsFailing", "returns", 70 * SECOND, pods=2),
        Symptom("UpstreamTimeouts", "checkout", 35 * SECOND, pods=4),
        Symptom("CheckoutConversionLow", "checkout", 120 * SECOND, "critical"),
    ),
)
DEPLOY = Fault(
    name="a new version of recommendation runs out of memory",
    root="recommendation",
    start=17 * MINUTE,
    end=34 * MINUTE,
    symptoms=(
        Symptom("ContainerOomKilled", "recommendation", 0, "critical", pods=6),
        Symptom("PodCrashLooping", "recommendation", 40 * SECOND, "critical", pods=6),
        Symptom("DeploymentReplicasMismatch", "recommendation", 30 * SECOND),
        Symptom("ReadinessProbeFailing", "recommendation", 15 * SECOND, pods=6),
        Symptom("UpstreamErrors", "bff", 35 * SECOND, pods=5),
        Symptom("FallbackContentServed", "storefront", 60 * SECOND, "info", pods=3),
        Symptom("FallbackContentServed", "mobile-api", 70 * SECOND, "info", pods=3),
    ),
)
FAULTS = (DATABASE, PAYMENTS, DEPLOY)

NOISE_NAMES = (
    ("CertificateExpiresSoon", "info"),
    ("CpuThrottlingHigh", "info"),
    ("DiskSpaceLow", "warning"),
    ("LogVolumeHigh", "info"),
    ("NodeClockDrift", "warning"),
    ("PodRestarted", "info"),
    ("BackupSlow", "warning"),
    ("CacheHitRatioLow", "warning"),
)
NOISE_COUNT = 120
# The services and the hosts that each runs on, as topologies/demo/shop.yaml tells them; a test compares the two.
HOSTS = {
    "storefront": ("node-1", "node-2"),
    "mobile-api": ("node-2", "node-3"),
    "admin-console": ("node-5",),
    "bff": ("node-1", "node-3"),
    "cdn-edge": ("node-1",),
    "cart": ("node-2", "node-4"),
    "checkout": ("node-3", "node-4"),
    "orders": ("node-4", "node-5"),
    "order-events": ("node-6",),
    "invoices": ("node-5",),
    "returns": ("node-5",),
    "payments": ("node-3", "node-6"),
    "fraud": ("node-6",),
    "ledger": ("node-6",),
    "wallet": ("node-7",),
    "catalog": ("node-1", "node-7"),
    "search": ("node-7", "node-8"),
    "recommendation": ("node-8",),
    "features": ("node-8",),
    "reviews": ("node-8",),
    "media": ("node-1",),
    "pricing": ("node-2",),
    "inventory": ("node-4",),
    "warehouse": ("node-9",),
    "shipping": ("node-9",),
    "identity": ("node-3",),
    "mailer": ("node-9",),
    "reports": ("node-5",),
    "orders-db": ("node-10",),
    "catalog-db": ("node-11",),
    "session-cache": ("node-12",),
}


class Alert(msgspec.Struct, frozen=True):
    """An alert that fires from `start` to `end`, in ms from the start of the demo."""

    labels: dict[str, str]
    start: int
    end: int


def events(seed: int, start: int) -> Iterator[Event]:
    """All events in order of delivery, at most 4 s after their `at`; `start` is epoch ms."""
    dice = Random(seed)
    alerts = [*_alerts_of_faults(dice), *_noise(dice)]
    delivered: list[tuple[int, Event]] = []
    for alert in alerts:
        delivered += [(event["at"] + dice.randrange(LATEST), event) for event in _said(dice, alert, start)]
    delivered.sort(key=itemgetter(0))
    for _, event in delivered:
        yield event


def _alerts_of_faults(dice: Random) -> Iterator[Alert]:
    for fault in FAULTS:
        for symptom in fault.symptoms:
            for number in range(symptom.pods):
                begin = fault.start + symptom.after + number * dice.randrange(3 * SECOND)
                end = fault.end + dice.randrange(5 * SECOND, 80 * SECOND)
                yield Alert(
                    labels=_labels(symptom.alertname, symptom.service, severity=symptom.severity, number=number), start=begin, end=end
                )


def _noise(dice: Random) -> Iterator[Alert]:
    """Alerts of no fault: each pair of a name and a service at most once, so that none fires twice at the same time."""
    pairs = [(name, service) for name in NOISE_NAMES for service in HOSTS]
    for (alertname, severity), service in dice.sample(pairs, NOISE_COUNT):
        begin = dice.randrange(LENGTH - 8 * MINUTE)
        end = begin + dice.randrange(MINUTE, 8 * MINUTE)
        yield Alert(labels=_labels(alertname, service, severity=severity, number=0), start=begin, end=end)


def _labels(alertname: str, service: str, *, severity: str, number: int) -> dict[str, str]:
    named = {"alertname": alertname, "service": service, "severity": severity, "cluster": CLUSTER}
    hosts = HOSTS.get(service)
    if hosts is None:
        # An outside party has neither hosts nor pods; what differs is from where it is probed.
        return {**named, "probe": f"blackbox-{number}"}
    return {**named, "host": hosts[number % len(hosts)], "pod": f"{service}-6c9d7-{number}"}


def _said(dice: Random, alert: Alert, start: int) -> Iterator[Event]:
    """Every time that a source says the alert: at its start, each interval, and when it resolves."""
    for source in SOURCES:
        first = alert.start + dice.randrange(2 * SECOND)
        for moment in range(first, alert.end, INTERVAL):
            yield _event(dice, alert, source=source, at=start + moment, status="firing")
        yield _event(dice, alert, source=source, at=start + alert.end, status="resolved")


def _event(dice: Random, alert: Alert, *, source: str, at: int, status: str) -> Event:
    alertname, service, value = alert.labels["alertname"], alert.labels["service"], round(dice.uniform(1, 100), 1)
    annotations = {
        "summary": f"{alertname} on {service}",
        "description": f"{service} reads {value}",
        "runbook_url": f"{RUNBOOKS}/{alertname}",
    }
    return {"at": at, "status": status, "labels": alert.labels, "annotations": annotations, "value": value, "source": source}
