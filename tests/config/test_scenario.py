"""Scenario files: what they say, and every mistake in them with the exact text that a person reads."""

from pathlib import Path

import pytest

from correlator.config.problem import ConfigError
from correlator.config.scenario import START, Scenario, load_scenario
from correlator.model.alert import Status
from correlator.model.instant import MINUTE, SECOND

WHOLE = """\
title: t
topology: {services: {web: {depends_on: [db]}, db: }, instances: {db-0: {of: db, runs_on: [h1]}}, hosts: {h1: }}
"""
EXPECT = "expect: [{at: +1m, incidents: none}]\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so that messages name files as people do


def a_scenario(*inputs: str, expect: str = EXPECT, more: str = "") -> Scenario:
    text = WHOLE + more + "inputs:\n" + "".join(f"- {one}\n" for one in inputs) + expect
    Path("s.yaml").write_text(text, encoding="utf-8")
    return load_scenario("s.yaml")[0]


def said(scenario: Scenario) -> list[tuple[int, str]]:
    """Answer when things are said, in seconds after the start, and what."""
    return [((saying.at - START) // SECOND, saying.status.name.lower()) for saying in scenario.sayings]


def test_an_input_without_an_end_is_said_once() -> None:
    assert said(a_scenario("{at: +5s, firing: db/Down}")) == [(5, "firing")]


def test_what_resolves_is_said_again_each_minute_until_then() -> None:
    told = said(a_scenario("{at: +10s, firing: db/Down, resolves: +2m10s}"))
    assert told == [(10, "firing"), (70, "firing"), (130, "resolved")]


def test_what_is_said_until_then_is_never_said_to_be_over() -> None:
    assert said(a_scenario("{at: 0, firing: db/Down, every: 30s, until: 12:01:00}")) == [(0, "firing"), (30, "firing"), (60, "firing")]


def test_the_scenario_says_how_often_where_an_input_does_not() -> None:
    assert len(a_scenario("{at: +0s, firing: db/Down, until: +1m}", more="every: 10s\n").sayings) == 7


def test_times_and_apart_repeat_all_of_an_input() -> None:
    told = said(a_scenario("{at: +0s, firing: db/Down, resolves: +20s, times: 2, apart: 1m}"))
    assert told == [(0, "firing"), (20, "resolved"), (60, "firing"), (80, "resolved")]


def test_each_of_several_sources_says_it() -> None:
    told = a_scenario("{at: +0s, firing: db/Down, source: [a, b]}").sayings
    assert [saying.source for saying in told] == ["a", "b"]


def test_events_are_in_the_order_of_their_arrival() -> None:
    told = a_scenario("{at: +0s, firing: db/Down, lag: 8s}", "{at: +4s, resolved: db/Down}").sayings
    assert [(saying.status, saying.arrival - START) for saying in told] == [(Status.RESOLVED, 4 * SECOND), (Status.FIRING, 8 * SECOND)]


def test_the_topology_says_which_label_names_an_entity() -> None:
    scenario = a_scenario("{at: +0s, firing: [db/A, db-0/A, h1/A, ghost/A, A]}")
    assert [alert.labels for alert in scenario.alerts] == [
        {"alertname": "A", "service": "db"},
        {"alertname": "A", "pod": "db-0"},
        {"alertname": "A", "host": "h1"},
        {"alertname": "A", "service": "ghost"},
        {"alertname": "A"},
    ]


def test_a_list_of_values_stands_for_an_alert_with_each() -> None:
    scenario = a_scenario("{at: +0s, firing: db/A, severity: warning, labels: {pod: [x, y], disk: z}}")
    assert [alert.name for alert in scenario.alerts] == ['db/A{pod="x"}', 'db/A{pod="y"}']
    assert scenario.alerts[0].labels == {"alertname": "A", "service": "db", "severity": "warning", "pod": "x", "disk": "z"}


def test_members_are_chosen_among_what_was_said_by_then() -> None:
    expect = "expect: [{at: +1m, incidents: [{members: [db/*, 'web/*{severity=\"info\"}']}]}]"
    scenario = a_scenario(
        "{at: +0s, firing: [db/A, db/B]}", "{at: +90s, firing: db/C}", "{at: +0s, firing: web/A, severity: info}", "{at: 0, firing: web/B}",
        expect=expect,
    )  # fmt: skip
    assert scenario.expectations[0].incidents is not None
    assert scenario.expectations[0].incidents[0].wanted == {"members": ("db/A", "db/B", "web/A")}


def test_a_key_with_nothing_behind_it_expects_that_there_is_none() -> None:
    scenario = a_scenario("{at: +0s, firing: A}", expect="expect: [{at: +1m, incidents: [{root: , owner: ~}]}]")
    assert scenario.expectations[0].incidents is not None
    assert scenario.expectations[0].incidents[0].wanted == {"root": None, "owner": None}


def test_topology_and_rules_may_be_paths_seen_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "deep" / "topologies").mkdir(parents=True)
    (tmp_path / "deep" / "topologies" / "a.yaml").write_text("services: {db: }", encoding="utf-8")
    (tmp_path / "deep" / "r.yaml").write_text("grouping: {settle: 5m}", encoding="utf-8")
    (tmp_path / "deep" / "s.yaml").write_text(f"title: t\ntopology: topologies\nrules: r.yaml\n{EXPECT}", encoding="utf-8")
    control = load_scenario("deep/s.yaml")[0].control
    assert ([node.name for node in control.topology.nodes], control.rules.grouping.settle) == (["db"], 5 * MINUTE)


def test_a_rule_for_a_service_that_the_topology_lacks_is_warned_of() -> None:
    text = "title: t\ntopology: {services: {db: }}\nrules: {alerts: [{name: r, match: service=dbb}]}\n" + EXPECT
    Path("s.yaml").write_text(text, encoding="utf-8")
    assert [str(problem) for problem in load_scenario("s.yaml")[1]] == [
        "s.yaml:3:35: warning: alert rule 'r' names the service 'dbb', which no topology has (did you mean 'db'?)"
    ]


def test_a_scenario_names_the_warnings_of_its_topology() -> None:
    Path("s.yaml").write_text("title: t\ntopology: {services: {a: {depends_on: [a]}}}\n" + EXPECT, encoding="utf-8")
    assert [str(problem) for problem in load_scenario("s.yaml")[1]] == ["s.yaml:2:40: warning: 'a' depends on itself; the edge is left out"]


MANY = ", ".join(f"v{number}" for number in range(1_000))
INPUTS = {
    "an unknown key": ("{at: +0s, firin: db/A}", "4:13: error: unknown key 'firin' in inputs[0] (did you mean 'firing'?)"),
    "a bare number": (
        "{at: 30, firing: db/A}",
        "4:8: error: inputs[0].at must be a distance from the start such as +30s, or a time of day such as 12:00:30, not the number 30",
    ),
    "a word for a moment": (
        "{at: noon, firing: db/A}",
        "4:8: error: inputs[0].at must be a distance from the start such as +30s, or a time of day such as 12:00:30, not the text 'noon'",
    ),
    "a time in the morning": (
        "{at: 11:59:59, firing: db/A}",
        ("4:8: error: inputs[0].at 11:59:59 lies before the start, 12:00:00; what comes after midnight is a distance, such as +12h30m"),
    ),
    "no alert": ("{at: +0s}", "4:3: error: inputs[0] must name alerts with 'firing' or with 'resolved' (one of them)"),
    "a name without an alert": (
        "{at: +0s, firing: db/}",
        "4:21: error: inputs[0].firing[0] must be an alert such as checkout/HighErrorRate, or its name alone, not the text 'db/'",
    ),
    "a NUL in a label": (
        '{at: +0s, firing: db/A, labels: {pod: "a\\0"}}',
        "4:41: error: inputs[0].labels.pod[0] holds a character that cannot be seen: 'a\\x00'",
    ),
    "two ends": (
        "{at: +0s, firing: db/A, until: +1m, resolves: +1m}",
        "4:3: error: inputs[0] has both 'resolves' and 'until'; keep 'resolves' where the end is said, 'until' where it is not",
    ),
    "no end": ("{at: +0s, firing: db/A, every: 30s}", "4:3: error: inputs[0] has 'every' and no end; add 'resolves' or 'until'"),
    "an end before the beginning": (
        "{at: +2m, firing: db/A, resolves: +1m}",
        "4:3: error: inputs[0] ends before it began; 'resolves' and 'until' are moments, not durations",
    ),
    "an end of an end": (
        "{at: +2m, resolved: db/A, until: +3m}",
        "4:3: error: inputs[0] says that alerts are over, which is said once; 'resolves', 'until' and 'every' are of 'firing'",
    ),
    "times without apart": ("{at: +0s, firing: db/A, times: 3}", "4:3: error: inputs[0] needs both 'times' and 'apart', or neither"),
    "too many events": (
        "{at: +0s, firing: db/A, every: 1s, until: +2d}",
        "4:3: error: more than 100000 events; say it less often",
    ),
    "far too many alerts": (
        f"{{at: +0s, firing: db/A, labels: {{a: [{MANY}], b: [{MANY}], c: [{MANY}], d: [{MANY}]}}}}",
        "4:3: error: more than 200 alerts, and an incident's document lists no more",
    ),
    "too many alerts": (
        f"{{at: +0s, firing: db/A, labels: {{pod: [{', '.join(f'p{number}' for number in range(201))}]}}}}",
        "4:3: error: more than 200 alerts, and an incident's document lists no more",
    ),
}
EXPECTATIONS = {
    "nothing": ("{at: +1m}", "5:11: error: expect[0] expects nothing; write 'incidents' (a list, or none) or 'alerts'"),
    "a forgotten list": ("{at: +1m, incidents: }", "5:32: error: expect[0].incidents must be a list of incidents, or 'none'"),
    "an incident of which nothing is said": (
        "{at: +1m, incidents: [{}]}",
        "5:33: error: expect[0].incidents[0] expects nothing of its incident; say at least its 'root' or its 'members'",
    ),
    "an unknown key": (
        "{at: +1m, incidents: [{member: [db/A]}]}",
        "5:34: error: unknown key 'member' in expect[0].incidents[0] (did you mean 'members'?)",
    ),
    "an unknown state": (
        "{at: +1m, incidents: [{state: opened}]}",
        ("5:41: error: expect[0].incidents[0].state must be 'pending', 'open', 'resolved', 'closed' or 'reopened', not the text 'opened'"),
    ),
    "no state": (
        "{at: +1m, incidents: [{state: }]}",
        "5:33: error: expect[0].incidents[0] has 'state' with nothing behind it; every incident has one",
    ),
    "yes for true": (
        "{at: +1m, incidents: [{paged: yes}]}",
        "5:41: error: expect[0].incidents[0].paged must be true or false, not the text 'yes'",
    ),
    "an unknown root": (
        "{at: +1m, incidents: [{root: dbb}]}",
        "5:40: error: root: nothing in the topology is called 'dbb' (did you mean 'db'?)",
    ),
    "an unknown member": (
        "{at: +1m, incidents: [{members: [db/Dwn]}]}",
        "5:44: error: 'db/Dwn' is no alert of this scenario (did you mean 'db/Down'?)",
    ),
    "a member of later": ("{at: +9s, incidents: [{members: db/Down}]}", "5:43: error: 'db/Down' is not said by then, but first at +10s"),
    "a bad matcher": (
        "{at: +1m, incidents: [{members: 'db/*{pod}'}]}",
        (
            "5:43: error: expect[0].incidents[0].members[0] cannot be read at 'pod'; "
            'write a matcher as severity="critical" (or with != =~ !~)'
        ),
    ),
    "nothing of an alert": (
        "{at: +1m, alerts: [{alert: db/Down}]}",
        "5:30: error: expects nothing of the alert; write its 'state', its 'incident' or its 'reason'",
    ),
}


@pytest.mark.parametrize(("text", "expected"), INPUTS.values(), ids=INPUTS)
def test_a_mistake_in_an_input_is_told_in_these_words(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        a_scenario(text)
    assert str(caught.value) == f"s.yaml:{expected}"


@pytest.mark.parametrize(("text", "expected"), EXPECTATIONS.values(), ids=EXPECTATIONS)
def test_a_mistake_in_an_expectation_is_told_in_these_words(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        a_scenario("{at: +10s, firing: db/Down}", expect=f"expect: [ {text}]")
    assert str(caught.value) == f"s.yaml:{expected}"


FILES = {
    "an empty file": ("", ["s.yaml:1:1: error: missing key 'title'", "s.yaml:1:1: error: missing key 'expect'"]),
    "a list": ("- a", ["s.yaml:1:1: error: the file must be a mapping, not a list"]),
    "an unknown key": (
        f"title: t\nexpects: []\n{EXPECT}",
        ["s.yaml:2:1: error: unknown key 'expects' (did you mean 'expect'?)"],
    ),
    "a number for a topology": (
        f"title: t\ntopology: 12\n{EXPECT}",
        ["s.yaml:2:11: error: topology must be a mapping as in its own file, or the path of one, not the number 12"],
    ),
    "no expectation": ("title: t\nexpect: []", ["s.yaml:2:9: error: expect must list at least one expectation"]),
    "mistakes everywhere": (
        f"title: t\ntopology: {{services: {{a: {{tear: 1}}}}}}\nrules: {{grouping: {{hop: 1}}}}\ninputs: [{{at: soon}}]\n{EXPECT}",
        [
            "s.yaml:2:27: error: unknown key 'tear' in services.a (did you mean 'tier'?)",
            "s.yaml:3:20: error: unknown key 'hop' in grouping (did you mean 'hops'?)",
            (
                "s.yaml:4:15: error: inputs[0].at must be a distance from the start such as +30s, "
                "or a time of day such as 12:00:30, not the text 'soon'"
            ),
        ],
    ),
    "a path to nothing": (f"title: t\nrules: nowhere\n{EXPECT}", ["s.yaml:2:8: error: no such file or folder: nowhere"]),
    "a topology for rules": (
        f"title: t\nrules: t.yaml\n{EXPECT}",
        ["t.yaml:1:1: error: 'services' is of a topology; rules are expected here"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES)
def test_mistakes_in_a_file_are_told_at_once_in_these_words(text: str, expected: list[str]) -> None:
    Path("t.yaml").write_text("services: {a: }", encoding="utf-8")
    Path("s.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_scenario("s.yaml")
    assert [str(problem) for problem in caught.value.problems] == expected


def test_too_many_alerts_of_several_inputs_are_told_once_where_the_limit_is_passed() -> None:
    values = [", ".join(f"p{number}" for number in range(first, first + 150)) for first in (0, 150, 300)]
    with pytest.raises(ConfigError) as caught:
        a_scenario(*[f"{{at: +0s, firing: db/A, labels: {{pod: [{listed}]}}}}" for listed in values])
    assert str(caught.value) == "s.yaml:5:3: error: more than 200 alerts, and an incident's document lists no more"


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        load_scenario("nowhere.yaml")
    assert str(caught.value) == "nowhere.yaml: error: cannot be read: No such file or directory"
