"""The table of all metrics, and the page that explains them to an operator."""

from collections.abc import Iterable
from typing import Final

import msgspec

from correlator.model.event import Flag, Rejection, Verdict
from correlator.model.incident import IncidentState, Why
from correlator.model.word import Word
from correlator.runtime.limits import MEANING_BY_LIMIT, Limit

PREFIX: Final = "correlator_"

PARTITIONS_MOST: Final = 1000
"""Partitions with a series of their own; what comes beyond is added up under `OTHER`, so no deployment can flood its Prometheus."""
OTHER: Final = "other"


class Stage(Word):
    """The two loops of a worker."""

    INTAKE = "intake"
    CORRELATE = "correlate"


class RowKind(Word):
    """What a row of state holds."""

    ALERT = "alert"
    INCIDENT = "incident"
    TURN = "turn"


class Standing(Word):
    """Whether a raw partition still holds the machine's time back."""

    LIVE = "live"
    FALLEN_OUT = "fallen_out"


class Reload(Word):
    """What came of a wish to take rules and topology anew."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class Kind(Word):
    """How Prometheus reads a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Together(Word):
    """How the gauges of several workers make one, in prometheus_client's words: those of workers that ended do not count."""

    SUM = "livesum"
    MOST = "livemax"
    LEAST = "livemin"
    LATEST = "livemostrecent"


class Unit(Word):
    """What a metric counts or measures; only base units, and those of measure also end the name."""

    ITEMS = "items"
    RECORDS = "records"
    DOCUMENTS = "documents"
    DECISIONS = "decisions"
    ROWS = "rows"
    PARTITIONS = "partitions"
    TICKS = "ticks"
    RELOADS = "reloads"
    RESTORES = "restores"
    TIMES = "times"
    BYTES = "bytes"
    SECONDS = "seconds"
    NONE = "none"


class Chapter(Word):
    """A chapter of the page."""

    FUNNEL = "The funnel"
    OUTPUT = "What is written"
    WORK = "Work"
    STATE = "State"
    TIME = "Time"
    BUILD = "Build"


class Label(msgspec.Struct, frozen=True):
    """One label: its closed set of values, or, where the world chooses them, at most so many."""

    name: str
    values: tuple[str, ...] = ()
    most: int = 0

    @property
    def bound(self) -> int:
        """How many values there can ever be; the one for the rest counts."""
        return len(self.values) or self.most + 1


class Metric(msgspec.Struct, frozen=True):
    """One line of the table. `help` says what is measured, in one sentence; `watch` says what it tells an operator."""

    name: str
    kind: Kind
    unit: Unit
    help: str
    watch: str
    chapter: Chapter
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    together: Together = Together.SUM

    @property
    def full_name(self) -> str:
        """The name as Prometheus sees it."""
        return PREFIX + self.name

    @property
    def is_closed(self) -> bool:
        """Whether all label values are known beforehand, so that every series can stand at 0 from the start."""
        return all(label.values for label in self.labels)


def _words(members: Iterable[Word]) -> tuple[str, ...]:
    return tuple([member.value for member in members])


def flag_word(flag: Flag) -> str:
    """Answer the label value of one single flag."""
    assert flag.name is not None, "only single flags are labels"
    return flag.name.lower()


_STAGE: Final = Label("stage", _words(Stage))
_PARTITION: Final = Label("partition", most=PARTITIONS_MOST)
JUDGED: Final = tuple([verdict for verdict in Verdict if verdict is not Verdict.REJECTED])
"""The verdicts that correlate decides; intake counts what it rejects itself."""

# From a commit on a local disk (1 ms) over one on a broker (15-25 ms) to one that is about to time out (10 s).
_DURATIONS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

METRICS: Final = (
    Metric(
        "items_received_total",
        Kind.COUNTER,
        Unit.ITEMS,
        "Items taken from raw topics: alerts, one or more a record; a record that cannot be read is one item.",
        "Flat at 0 while publishers are busy: nothing reaches the raw topics, or intake stands still (see the lag).",
        Chapter.FUNNEL,
    ),
    Metric(
        "items_rejected_total",
        Kind.COUNTER,
        Unit.ITEMS,
        "Items refused by intake, by reason.",
        "A publisher sends what cannot be understood; the records lie, with the reason, on the dead-letter topic.",
        Chapter.FUNNEL,
        (Label("reason", _words(Rejection)),),
    ),
    Metric(
        "items_forwarded_total",
        Kind.COUNTER,
        Unit.ITEMS,
        "Items accepted by intake and written to frames.",
        "What correlate has to judge.",
        Chapter.FUNNEL,
    ),
    Metric(
        "items_flagged_total",
        Kind.COUNTER,
        Unit.ITEMS,
        "Accepted items that are odd, by flag; an item with two flags counts under both.",
        "`unknown_service`: the topology lacks it. `implausible_time`, `time_unit`, `no_zone`, `no_time`: a publisher's clock or format is "
        "wrong. `resolved_before_firing`: the beginning was lost, or came elsewhere.",
        Chapter.FUNNEL,
        (Label("flag", tuple([flag_word(flag) for flag in Flag])),),
    ),
    Metric(
        "dead_letters_total",
        Kind.COUNTER,
        Unit.RECORDS,
        "Records written to the dead-letter topic.",
        "Each holds one or more rejected items; its good neighbours went on.",
        Chapter.FUNNEL,
    ),
    Metric(
        "records_lost_total",
        Kind.COUNTER,
        Unit.RECORDS,
        "Raw records that the log's retention deleted before they were read.",
        "Above 0: the service stood still for longer than raw topics are kept. Raise their retention.",
        Chapter.FUNNEL,
    ),
    Metric(
        "items_judged_total",
        Kind.COUNTER,
        Unit.ITEMS,
        "Items judged by correlate in this process, by final verdict.",
        "Mostly `repeat` in a storm. Much `late`: a publisher or a pipeline before us lags by more than `time.lateness`.",
        Chapter.FUNNEL,
        (Label("verdict", _words(JUDGED)),),
    ),
    Metric(
        "items_waiting",
        Kind.GAUGE,
        Unit.ITEMS,
        "Items in the machine whose turn has not come.",
        "Follows the rate of news times `time.reorder`. Growing without end: time stands still, see `correlator_sources`.",
        Chapter.FUNNEL,
    ),
    Metric(
        "incident_documents_total",
        Kind.COUNTER,
        Unit.DOCUMENTS,
        "Incident documents written, by the state they show.",
        "People are paged for the first `open` of an id. Much `reopened`, which pages nobody: give the alerts `keep_firing_for`.",
        Chapter.OUTPUT,
        (Label("state", _words(IncidentState)),),
    ),
    Metric(
        "decisions_total",
        Kind.COUNTER,
        Unit.DECISIONS,
        "Decisions written, by why they were taken.",
        "Much `returned`, `relapsed`: alerts flap; give them `for` or `keep_firing_for`. Much `expired`: publishers end without a resolve.",
        Chapter.OUTPUT,
        (Label("why", _words(Why)),),
    ),
    Metric(
        "records_taken_total",
        Kind.COUNTER,
        Unit.RECORDS,
        "Records taken, by stage: raw records by intake, frames by correlate.",
        "Frames stay far below raw records while repeats fold well.",
        Chapter.WORK,
        (_STAGE,),
    ),
    Metric(
        "batch_duration_seconds",
        Kind.HISTOGRAM,
        Unit.SECONDS,
        "Time spent in one batch without waiting for input, by stage; its commit is included.",
        "The count is the number of batches. Near the transaction timeout (10 s) a commit may be refused: take smaller batches.",
        Chapter.WORK,
        (_STAGE,),
        _DURATIONS,
    ),
    Metric(
        "commit_duration_seconds",
        Kind.HISTOGRAM,
        Unit.SECONDS,
        "Time that one commit took.",
        "15 to 25 ms are usual on a broker, about 1 ms on a local disk; more means that the log is slow, not the correlator.",
        Chapter.WORK,
        (),
        _DURATIONS,
    ),
    Metric(
        "failures_total",
        Kind.COUNTER,
        Unit.TIMES,
        "How often the work on a partition failed for a reason that passes (a log that is away or silent), by stage; it begins anew.",
        "Growing: brokers or the network fail, the log says how. `/-/ready` answers 503 until the next attempt works.",
        Chapter.WORK,
        (_STAGE,),
    ),
    Metric(
        "fences_total",
        Kind.COUNTER,
        Unit.TIMES,
        "How often a partition turned out to be another worker's while we worked on it; it does again what was in flight.",
        "Some where workers join, leave or freeze. Growing without that: somebody else writes under our prefix.",
        Chapter.WORK,
    ),
    Metric(
        "reloads_total",
        Kind.COUNTER,
        Unit.RELOADS,
        "Wishes (SIGHUP) to take rules and topology anew, by what came of them.",
        "`refused`: the files are wrong, the log says where; those before stay in force.",
        Chapter.WORK,
        (Label("outcome", _words(Reload)),),
    ),
    Metric(
        "others_rules_total",
        Kind.COUNTER,
        Unit.TIMES,
        "How often rules and topology came into force that another service put there.",
        "Services of one application have the same files, but during a roll-out. Else two applications share our prefix: the log says so.",
        Chapter.WORK,
    ),
    Metric(
        "ready",
        Kind.GAUGE,
        Unit.NONE,
        "1 while `/-/ready` says yes, 0 while it says no; its text says why.",
        "0 for minutes: a long restore, a log that cannot be reached, commits that fail, or a backlog near its retention.",
        Chapter.WORK,
        together=Together.LEAST,
    ),
    Metric(
        "lag_records",
        Kind.GAUGE,
        Unit.RECORDS,
        "Records between the position of a stage and the end of a partition.",
        "Growing: that stage is too slow or stands still. 0 everywhere: all that was published is judged or waiting.",
        Chapter.WORK,
        (_STAGE, _PARTITION),
    ),
    Metric(
        "lag_seconds",
        Kind.GAUGE,
        Unit.SECONDS,
        "For how long the oldest record not finished has lain in the log, by stage: that of the partition furthest behind.",
        "Past half of `log_retention.raw` or `log_retention.frames` the service is not ready: records may go before they are read.",
        Chapter.WORK,
        (_STAGE,),
        together=Together.MOST,
    ),
    Metric(
        "state_rows",
        Kind.GAUGE,
        Unit.ROWS,
        "Rows of state held in memory, by kind.",
        "What a restore has to read. `alert` follows the number of distinct alerts within `retention.alert`.",
        Chapter.STATE,
        (Label("kind", _words(RowKind)),),
    ),
    Metric(
        "state_bytes",
        Kind.GAUGE,
        Unit.BYTES,
        "Size of the rows of state as they are checkpointed.",
        "Memory itself is `process_resident_memory_bytes`.",
        Chapter.STATE,
    ),
    Metric(
        "restores_total",
        Kind.COUNTER,
        Unit.RESTORES,
        "Restores finished in this process; one for each partition taken over.",
        "More than at start and rebalances: a worker fails and is restarted, its log says why.",
        Chapter.STATE,
    ),
    Metric(
        "restore_duration_seconds",
        Kind.GAUGE,
        Unit.SECONDS,
        "Time that the last restore took, frames judged again included.",
        "How long a takeover keeps incidents waiting.",
        Chapter.STATE,
        together=Together.LATEST,
    ),
    Metric(
        "restore_rows",
        Kind.GAUGE,
        Unit.ROWS,
        "Rows read by the last restore.",
        "0 after a restart that should have found state: it reads another log, or another prefix.",
        Chapter.STATE,
        together=Together.LATEST,
    ),
    Metric(
        "limits_met_total",
        Kind.COUNTER,
        Unit.TIMES,
        "How often a limit on memory was met in this process, by limit: what was forgotten, or decided early.",
        " ".join(f"`{limit}`: {meaning}." for limit, meaning in MEANING_BY_LIMIT.items()),
        Chapter.STATE,
        (Label("limit", _words(Limit)),),
    ),
    Metric(
        "sources",
        Kind.GAUGE,
        Unit.PARTITIONS,
        "Raw partitions known to the machine, by whether time waits for them.",
        "`fallen_out` above 0: a raw partition lags the furthest by `time.max_hold` or more, and is no longer waited for.",
        Chapter.TIME,
        (Label("standing", _words(Standing)),),
    ),
    Metric(
        "partitions_given_up_total",
        Kind.COUNTER,
        Unit.PARTITIONS,
        "Times that an intake went on without a raw partition that had a backlog and did not move for 30 s.",
        "Above 0: nobody reads that partition, or its records cannot be decided. What it brings later is judged too late.",
        Chapter.TIME,
    ),
    Metric(
        "ticks_ignored_total",
        Kind.COUNTER,
        Unit.TICKS,
        "Ticks ignored because they ran more than 5 min ahead of every other raw partition.",
        "Growing: the clock of one intake's machine is wrong.",
        Chapter.TIME,
    ),
    Metric(
        "build_info",
        Kind.GAUGE,
        Unit.NONE,
        "Always 1; the label tells the version.",
        "Two versions for long: a roll-out is stuck.",
        Chapter.BUILD,
        (Label("version", most=1),),
        together=Together.MOST,
    ),
)
"""All metrics of the service."""


# The page

_INTRODUCTION: Final = """\
# Metrics

<!-- Written from the table in src/correlator/runtime/metrics.py by `make docs`; change it there. -->

`correlator run` serves them at `/metrics` (default `http://127.0.0.1:8080/metrics`) in Prometheus' text format, or as OpenMetrics where
the scraper asks for it. Beside them stand `process_*` (memory, CPU, open files) of the process itself; below
`run --workers N` each worker has its own, with its number in the label `worker`. `/-/healthy` answers 200 while the process lives;
`/-/ready` answers 200 when it works, else 503 with a reason on each line.

## What must add up

Every item has one fate, and each fate is counted where it is decided, never by subtraction:

- `received = rejected + forwarded`, exactly, at every scrape of one process.
- `forwarded = new + update + repeat + late + waiting`, once correlate has read all frames (its lag is 0).

The first must be 0 at any time:

```promql
sum(correlator_items_received_total) - sum(correlator_items_rejected_total) - sum(correlator_items_forwarded_total)
```

Counters start at 0 with each process, and what an earlier one judged is not counted again; but a process that takes over waiting items
judges them without having forwarded them. So compare the second with `increase(...[1h])`, or over the life of a process.
"""


def metrics_page() -> str:
    """Render docs/metrics.md from the table."""
    lines = [_INTRODUCTION]
    for chapter in Chapter:
        lines += [f"## {chapter}", "", "| metric | type, unit | labels | meaning | what to watch |", "|---|---|---|---|---|"]
        lines += [_line(metric) for metric in METRICS if metric.chapter is chapter]
        lines.append("")
    lines += ["## Label values", "", "| label | values |", "|---|---|"]
    lines += [f"| `{label.name}` | {_values(label)} |" for label in _labels()]
    return "\n".join(lines) + "\n"


def _line(metric: Metric) -> str:
    unit = "" if metric.unit is Unit.NONE else f", {metric.unit}"
    labels = ", ".join(f"`{label.name}`" for label in metric.labels)
    return f"| `{metric.full_name}` | {metric.kind}{unit} | {labels} | {metric.help} | {metric.watch} |"


def _labels() -> list[Label]:
    """Answer every label once, in the order of the table; `state` of two metrics with other values would be two."""
    return list(dict.fromkeys(label for metric in METRICS for label in metric.labels))


def _values(label: Label) -> str:
    if label.values:
        return ", ".join(f"`{value}`" for value in label.values)
    if label.most == 1:
        return "one"
    return f"`topic-number`, at most {label.most}; the rest is added up as `{OTHER}`"
