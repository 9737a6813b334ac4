"""Telemetry: the few verbs that move the metrics of the table, in a registry of their own.

A worker reports once a batch, never once an item; whoever measures passes seconds, for nothing here asks a clock. Verbs that tell a
fact (`on_intake`, `on_verdicts`, `on_decision`) are called after the commit that made it true: what was thrown away was never counted.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import version as installed_version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric as Family

from correlator.intake.output import IntakeCounts
from correlator.model.event import Flag, Verdict
from correlator.model.incident import IncidentState, Why
from correlator.runtime.counting import is_counted_together
from correlator.runtime.limits import Limit, limits_of
from correlator.runtime.metrics import (
    JUDGED,
    METRICS,
    OTHER,
    PARTITIONS_MOST,
    Kind,
    Metric,
    Reload,
    RowKind,
    Stage,
    Standing,
    Unit,
    flag_word,
)

Series = tuple[str, ...]
"""The name of a metric in the table, then its label values in the table's order."""


class _Registry(CollectorRegistry):
    """A registry that leaves out `_created`: a second series for each counter and bucketed metric, which no one asked for."""

    def collect(self) -> Iterable[Family]:
        for family in super().collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class Telemetry:
    """The metrics of one process, in a registry of their own.

    `partition` names the partition that reports, as `topic-number`, where a process has several machines; gauges add up over them.
    Remembers as many numbers as there are partitions here, until `release`.
    """

    def __init__(self, *, version: str | None = None) -> None:
        self.registry: CollectorRegistry = _Registry(auto_describe=True)
        self._metrics = {metric.name: _made(metric, self.registry) for metric in METRICS}
        self._shares: dict[Series, dict[str, float]] = {}
        self._totals: dict[str, dict[Series, int]] = {}
        if not is_counted_together():  # else the supervisor shows the processes
            ProcessCollector(registry=self.registry)
        self._gauge("build_info", version if version is not None else installed_version("correlator")).set(1)

    def ready(self, is_ready: bool) -> None:  # noqa: FBT001 - the one thing that it says
        """Say whether the service is ready."""
        self._gauge("ready").set(is_ready)

    # The funnel

    def on_intake(self, counts: IntakeCounts, *, dead_letters: int = 0) -> None:
        """Add what one committed batch of intake did; `dead_letters` counts the records it wrote there."""
        self._counter("items_received_total").inc(counts.received)
        self._counter("items_forwarded_total").inc(counts.forwarded)
        self._counter("dead_letters_total").inc(dead_letters)
        for reason, count in counts.rejected.items():
            self._counter("items_rejected_total", reason).inc(count)
        for limit, times in limits_of(counts).items():
            self._counter("limits_met_total", limit).inc(times)
        for flags, count in counts.flagged.items():
            for flag in Flag:
                if flags & flag:
                    self._counter("items_flagged_total", flag_word(flag)).inc(count)

    def on_flag(self, flag: Flag, count: int) -> None:
        """Count items that correlate found odd: what it takes memory to see."""
        self._counter("items_flagged_total", flag_word(flag)).inc(count)

    def on_verdicts(self, totals: Mapping[Verdict, int], *, partition: str = "") -> None:
        """Take a machine's running totals and count what they grew by since its last report or `restored`.

        Totals that went back without a `restored` count nothing and are the new base: the counters stay monotone whatever comes.
        """
        for verdict in JUDGED:
            self._grow(partition, totals.get(verdict, 0), ("items_judged_total", verdict))

    def waiting(self, items: int, *, partition: str = "") -> None:
        """Say how many items of a machine are not judged yet."""
        self._share(partition, items, ("items_waiting",))

    def records_lost(self, records: int) -> None:
        """Count raw records that were deleted before they were read."""
        self._counter("records_lost_total").inc(records)

    def partition_given_up(self) -> None:
        """Count a raw partition that stood still for so long that another intake goes on without it."""
        self._counter("partitions_given_up_total").inc()

    def others_rules(self) -> None:
        """Count rules in force that another service put there."""
        self._counter("others_rules_total").inc()

    def fenced(self) -> None:
        """Count one partition that turned out to be another worker's."""
        self._counter("fences_total").inc()

    def failed(self, stage: Stage) -> None:
        """Count one task that failed for a passing reason, and is made anew."""
        self._counter("failures_total", stage).inc()

    def on_reload(self, reload: Reload) -> None:
        """Count one wish to take rules and topology anew, by what came of it."""
        self._counter("reloads_total", reload).inc()

    # What is written

    def on_incident(self, state: IncidentState, *, count: int = 1) -> None:
        """Count incident documents written in this state."""
        self._counter("incident_documents_total", state).inc(count)

    def on_decision(self, why: Why, *, count: int = 1) -> None:
        """Count decisions written."""
        self._counter("decisions_total", why).inc(count)

    # Work

    def batch(self, stage: Stage, seconds: float, records: int) -> None:
        """Count one batch: the seconds it took without the wait for input, and its raw records or frames."""
        self._histogram("batch_duration_seconds", stage).observe(seconds)
        self._counter("records_taken_total", stage).inc(records)

    def commit(self, seconds: float) -> None:
        """Count one commit and the seconds it took."""
        self._histogram("commit_duration_seconds").observe(seconds)

    def lag(self, stage: Stage, partition: str, records: int) -> None:
        """Say how many records of a partition (`topic-number`) lie between a stage's position and the end."""
        own, rest = ("lag_records", stage, partition), ("lag_records", stage, OTHER)
        is_shown = own in self._shares or (partition not in self._shares.get(rest, {}) and self._has_room())
        self._share(partition, records, own if is_shown else rest)

    def lag_age(self, stage: Stage, seconds: float) -> None:
        """Say how long the oldest record that a stage has not read yet has lain in the log, over all partitions of this process."""
        self._gauge("lag_seconds", stage).set(seconds)

    # State and time

    def state(self, rows: Mapping[RowKind, int], size: int, *, partition: str = "") -> None:
        """Say how many rows of each kind a machine holds, and their size in bytes."""
        for kind in RowKind:
            self._share(partition, rows.get(kind, 0), ("state_rows", kind))
        self._share(partition, size, ("state_bytes",))

    def restored(
        self, seconds: float, rows: int, *, totals: Mapping[Verdict, int], limits: Mapping[Limit, int] | None = None, partition: str = ""
    ) -> None:
        """Say that a machine was restored: call it when the frames after the checkpoint were judged again, before new ones.

        `totals` and `limits` are its running totals then. They were counted by whoever committed them, so they are the base and are not
        counted here.
        """
        self._counter("restores_total").inc()
        self._gauge("restore_duration_seconds").set(seconds)
        self._gauge("restore_rows").set(rows)
        self._totals[partition] = {("items_judged_total", verdict): totals.get(verdict, 0) for verdict in JUDGED}
        self._totals[partition] |= {("limits_met_total", limit): total for limit, total in (limits or {}).items()}

    def sources(self, live: int, fallen_out: int, *, partition: str = "") -> None:
        """Say how many raw partitions a machine waits for, and how many it gave up."""
        self._share(partition, live, ("sources", Standing.LIVE))
        self._share(partition, fallen_out, ("sources", Standing.FALLEN_OUT))

    def ticks_ignored(self, total: int, *, partition: str = "") -> None:
        """Take a machine's running total of ignored ticks, which starts at 0 with each machine."""
        self._grow(partition, total, ("ticks_ignored_total",))

    def limits_met(self, totals: Mapping[Limit, int], *, partition: str = "") -> None:
        """Take a machine's running totals of how often it met its limits, which start at 0 with each machine."""
        for limit, total in totals.items():
            self._grow(partition, total, ("limits_met_total", limit))

    def release(self, partition: str) -> None:
        """Forget what a partition reported: it is another worker's now. Counters keep what they counted."""
        self._totals.pop(partition, None)
        for series, shares in list(self._shares.items()):
            if shares.pop(partition, None) is None:
                continue
            self._gauge(*series).set(sum(shares.values()))
            if not shares and series[0] == "lag_records":
                del self._shares[series]
                if not is_counted_together():  # files of values cannot lose one: it stays at 0
                    self._metrics[series[0]].remove(*series[1:])

    # One series each

    def _has_room(self) -> bool:
        return sum(series[0] == "lag_records" for series in self._shares) < PARTITIONS_MOST

    def _grow(self, partition: str, total: int, series: Series) -> None:
        totals = self._totals.setdefault(partition, {})
        self._counter(*series).inc(max(0, total - totals.get(series, 0)))
        totals[series] = total

    def _share(self, partition: str, value: float, series: Series) -> None:
        shares = self._shares.setdefault(series, {})
        shares[partition] = value
        self._gauge(*series).set(sum(shares.values()))

    def _counter(self, *series: str) -> Counter:
        counter = self._series(*series)
        assert isinstance(counter, Counter)
        return counter

    def _gauge(self, *series: str) -> Gauge:
        gauge = self._series(*series)
        assert isinstance(gauge, Gauge)
        return gauge

    def _histogram(self, *series: str) -> Histogram:
        histogram = self._series(*series)
        assert isinstance(histogram, Histogram)
        return histogram

    def _series(self, name: str, *values: str) -> MetricWrapperBase:
        return self._metrics[name].labels(*values) if values else self._metrics[name]


def _made(metric: Metric, registry: CollectorRegistry) -> MetricWrapperBase:
    """Make the client's object of a metric, with every series of a closed one at 0, so that a first step shows in `rate`."""
    names = [label.name for label in metric.labels]
    unit = metric.unit.value if metric.unit in (Unit.SECONDS, Unit.BYTES) else ""
    made: MetricWrapperBase
    if metric.kind is Kind.HISTOGRAM:
        made = Histogram(metric.full_name, metric.help, names, unit=unit, registry=registry, buckets=metric.buckets)
    elif metric.kind is Kind.GAUGE:
        made = Gauge(metric.full_name, metric.help, names, unit=unit, registry=registry, multiprocess_mode=metric.together.value)
    else:
        made = Counter(metric.full_name, metric.help, names, unit=unit, registry=registry)
    if len(names) == 1 and metric.is_closed:
        for value in metric.labels[0].values:
            made.labels(value)
    return made
