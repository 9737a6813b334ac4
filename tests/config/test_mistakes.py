"""One test per configuration mistake, with the exact text that a person reads."""

from pathlib import Path

import pytest

from correlator.config.load import examine


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so that messages name files as people do


def told(texts: dict[str, str]) -> list[str]:
    """Answer the problems of these files as they are printed."""
    for name, text in texts.items():
        Path(name).write_text(text, newline="")
    return [str(problem) for problem in examine(list(texts)).problems]


SYNTAX = {
    "a tab": ("time:\n\treorder: 1s", "a.yaml:2:1: error: a tab cannot indent YAML; use spaces"),
    "an open bracket": (
        "time: {reorder: 1s",
        "a.yaml:1:19: error: not valid YAML: did not find expected ',' or '}' while parsing a flow mapping",
    ),
    "a colon too many": ("time: a: b", "a.yaml:1:8: error: not valid YAML: mapping values are not allowed in this context"),
    "a control character": ("time: \x00", "a.yaml:1:7: error: a control character is not allowed in YAML"),
    "two documents": ("time: {}\n---\nexpiry: {}", "a.yaml:2:1: error: a second document starts here; write one document a file"),
    "a key twice": ("time: {}\ntime: {}", "a.yaml:2:1: error: duplicate key 'time', first written at a.yaml:1:1"),
    "a tag": (
        "time: !!python/object:os.system {}",
        "a.yaml:1:7: error: the tag 'tag:yaml.org,2002:python/object:os.system' is not understood; write the plain value",
    ),
    "a list as key": ("? [a]\n: b", "a.yaml:1:3: error: a key must be one word, not a list or a mapping"),
    "an alias as key": ("a: &x b\n*x : c", "a.yaml:2:1: error: a key must be one word, not an alias"),
    "an alias in itself": ("time: &x [*x]", "a.yaml:1:11: error: the alias '*x' stands inside itself"),
    "an unknown alias": ("time: *x", "a.yaml:1:7: error: the alias '*x' is not defined above"),
    "a merge of text": ("time: {<<: b}", "a.yaml:1:8: error: '<<' must name a mapping or a list of mappings"),
    "too deep": ("time: " + "[" * 40, "a.yaml:1:38: error: nested deeper than 32 levels"),
    "a list at the top": ("- a", "a.yaml:1:1: error: the file must be a mapping of rules, of a topology or of settings"),
    "a key of neither": (
        "servises: {}",
        "a.yaml:1:1: error: unknown key 'servises', in neither rules, a topology nor settings (did you mean 'services'?)",
    ),
    "rules and settings in one file": (
        "prefix: a\ntime: {}",
        "a.yaml:2:1: error: 'time' is of rules and 'prefix' of settings; write them in two files",
    ),
    "both in one file": (
        "time: {}\nservices: {}",
        "a.yaml:2:1: error: 'services' is of a topology and 'time' of rules; write them in two files",
    ),
}

RULES = {
    "an unknown key": ("time: {reorde: 1s}", "a.yaml:1:8: error: unknown key 'reorde' in time (did you mean 'reorder'?)"),
    "an unknown key like none": ("time: {zzzz: 1s}", "a.yaml:1:8: error: unknown key 'zzzz' in time"),
    "a duration without unit": (
        "time: {reorder: 5}",
        "a.yaml:1:17: error: time.reorder has no unit; write 5s for seconds or 5m for minutes",
    ),
    "a word for a duration": (
        "time: {reorder: soon}",
        "a.yaml:1:17: error: time.reorder must be a duration such as 30s, 5m or 1h30m, not the text 'soon'",
    ),
    "true for a duration": (
        "time: {reorder: true}",
        "a.yaml:1:17: error: time.reorder must be a duration such as 30s, 5m or 1h30m, not true",
    ),
    "too long a duration": ("time: {reorder: 6m}", "a.yaml:1:17: error: time.reorder must be at most 5m, not 6m"),
    "too short a duration": ("retention: {alert: 14m}", "a.yaml:1:20: error: retention.alert must be at least 15m, not 14m"),
    "no window": ("grouping: {window: 0}", "a.yaml:1:20: error: grouping.window must be at least 1s, not 0"),
    "too many hops": ("grouping: {hops: 7}", "a.yaml:1:18: error: grouping.hops must be at most 6, not 7"),
    "no hops": ("grouping: {hops: 0}", "a.yaml:1:18: error: grouping.hops must be at least 1, not 0"),
    "half a hop": ("grouping: {hops: 1.5}", "a.yaml:1:18: error: grouping.hops must be a whole number, not the number 1.5"),
    "text for a section": ("time: soon", "a.yaml:1:7: error: time must be a mapping, not the text 'soon'"),
    "ignore and only": (
        "identity: {ignore: [a], only: [b]}",
        "a.yaml:1:11: error: identity has both 'ignore' and 'only'; keep one of them",
    ),
    "text for a list": ("identity: {ignore: pod_ip}", "a.yaml:1:20: error: identity.ignore must be a list, not the text 'pod_ip'"),
    "no name": ("alerts: [{for: 2m}]", "a.yaml:1:10: error: missing key 'name' in alerts[0]"),
    "an empty name": ("alerts: [{name: ''}]", "a.yaml:1:17: error: alerts[0].name must not be empty"),
    "a number for a name": (
        "alerts: [{name: 12}]",
        "a.yaml:1:17: error: alerts[0].name must be text, not the number 12 (put it in quotes)",
    ),
    "a name too long": (f"alerts: [{{name: {'x' * 257}}}]", "a.yaml:1:17: error: alerts[0].name must not be longer than 256 characters"),
    "no operator": (
        "alerts: [{name: a, match: severity}]",
        "a.yaml:1:27: error: alerts[0].match[0] cannot be read at 'severity'; write a matcher as severity=\"critical\" (or with != =~ !~)",
    ),
    "quotes needed": (
        "alerts: [{name: a, match: ['x=~a{2}']}]",
        "a.yaml:1:28: error: alerts[0].match[0] cannot be read at 'a{2}'; put the value in double quotes",
    ),
    "a brace missing": (
        "alerts: [{name: a, match: '{a=b'}]",
        "a.yaml:1:27: error: alerts[0].match[0] begins with a brace that nothing closes: {a=b",
    ),
    "no matcher": (
        "alerts: [{name: a, match: '{}'}]",
        (
            "a.yaml:1:27: error: alerts[0].match[0] holds no matcher; "
            "write one as severity=\"critical\", or leave 'match' out to mean every alert"
        ),
    ),
    "a matcher without label": (
        "alerts: [{name: a, match: '\"\"=b'}]",
        "a.yaml:1:27: error: alerts[0].match[0] names no label; write the label before the sign",
    ),
    "a bad pattern": (
        "alerts: [{name: a, match: 'b=~\"(\"'}]",
        "a.yaml:1:27: error: alerts[0].match[0] has a bad pattern '(': missing ), unterminated subpattern at position 0",
    ),
    "a pattern of Python's": (
        "alerts: [{name: a, match: 'b=~\"(?=x)\"'}]",
        (
            "a.yaml:1:27: error: alerts[0].match[0] has a pattern that Alertmanager would not read: '(?=x)'; "
            "no look-around, back reference, possessive or atomic part"
        ),
    ),
    "nothing for matchers": (
        "alerts:\n- name: a\n  match:\n  for: 2m",
        (
            "a.yaml:3:9: error: alerts[0].match holds no matcher; "
            "write one as severity=\"critical\", or leave 'match' out to mean every alert"
        ),
    ),
    "a mapping for matchers": (
        "alerts: [{name: a, match: {a: b}}]",
        "a.yaml:1:27: error: alerts[0].match must be a list, not a mapping",
    ),
    "a rule twice": (
        "alerts:\n- {name: a, match: x=y}\n- {name: a, match: x=z}",
        "a.yaml:3:10: error: duplicate alert rule 'a', first written at a.yaml:2:10",
    ),
    "expiry within reorder": (
        "time: {reorder: 2m}\nalerts: [{name: a, expiry: 2m}]",
        "a.yaml:2:28: error: alerts[0].expiry (2m) must be more than time.reorder (2m)",
    ),
    "general expiry within reorder": (
        "time: {reorder: 2m}\nexpiry: {native: 1m}",
        "a.yaml:2:18: error: expiry.native (1m) must be more than time.reorder (2m)",
    ),
    "lateness within reorder": (
        "time: {reorder: 2m, lateness: 1m}",
        "a.yaml:1:31: error: time.lateness (1m) must be more than time.reorder (2m)",
    ),
    "closed before it is closed": (
        "retention: {close_after: 2h, closed: 1h}",
        "a.yaml:1:38: error: retention.closed (1h) must not be less than retention.close_after (2h)",
    ),
    "never reached after a rule for all": (
        "alerts:\n- {name: a}\n- {name: b, match: x=y}",
        "a.yaml:3:10: warning: alert rule 'b' is never reached: 'a' above matches all that it matches",
    ),
    "never reached after a wider rule": (
        "alerts:\n- {name: a, match: x=y}\n- {name: b, match: '{z=w,x=\"y\"}'}",
        "a.yaml:3:10: warning: alert rule 'b' is never reached: 'a' above matches all that it matches",
    ),
}

SETTINGS = {
    "an unknown key beside settings": ("prefix: a\ntopic: []", "a.yaml:2:1: error: unknown key 'topic' (did you mean 'topics'?)"),
    "an unknown key in settings": (
        "checkpoint: {row: 5}",
        "a.yaml:1:14: error: unknown key 'row' in checkpoint (did you mean 'rows'?)",
    ),
    "an unknown key like one of settings": (
        "prefx: a",
        "a.yaml:1:1: error: unknown key 'prefx', in neither rules, a topology nor settings (did you mean 'prefix'?)",
    ),
    "rules that are not there": ("rules: [x]", "a.yaml:1:9: error: rules[0]: no such file or folder: x"),
}

TOPOLOGY = {
    "an unknown key": (
        "services: {a: {depend_on: []}}",
        "a.yaml:1:16: error: unknown key 'depend_on' in services.a (did you mean 'depends_on'?)",
    ),
    "nothing of that name": (
        "services:\n  checkout: {}\n  cart: {depends_on: [chekout]}",
        "a.yaml:3:23: error: services.cart.depends_on[0]: nothing is called 'chekout' (did you mean 'checkout'?)",
    ),
    "a host in depends_on": (
        "services: {a: {depends_on: [n]}}\nhosts: {n: {}}",
        "a.yaml:1:29: error: services.a.depends_on[0]: 'n' is a host, not a service or an instance or an external (write it in 'runs_on')",
    ),
    "a service in runs_on": (
        "services: {a: {runs_on: [b]}, b: {}}",
        "a.yaml:1:26: error: services.a.runs_on[0]: 'b' is a service, not a host (write it in 'depends_on')",
    ),
    "an instance of a host": (
        "instances: {p: {of: n}}\nhosts: {n: {}}",
        "a.yaml:1:21: error: instances.p.of: 'n' is a host, not a service",
    ),
    "an instance of nothing": ("instances: {p: {}}", "a.yaml:1:16: error: missing key 'of' in instances.p"),
    "an edge to nothing": (
        "services: {a: {}}\nedges: [{from: a, to: zzz}]",
        "a.yaml:2:23: error: edges[0].to: nothing is called 'zzz'",
    ),
    "an edge without an end": ("services: {a: }\nedges: [{from: a}]", "a.yaml:2:9: error: missing key 'to' in edges[0]"),
    "an edge of the wrong kinds": (
        "services: {a: {}, b: {}}\nedges: [{from: a, to: b, kind: runs_on}]",
        "a.yaml:2:23: error: edges[0].to: 'b' is a service, not a host",
    ),
    "a name twice across kinds": (
        "services: {a: {}}\nhosts: {a: {}}",
        "a.yaml:2:9: error: duplicate name 'a', first declared as a service at a.yaml:1:12",
    ),
    "an empty name": ("services: {'': {}}", "a.yaml:1:12: error: a name in services must not be empty"),
    "a hidden character": (
        'services: {"a\\nb": {}}',
        "a.yaml:1:12: error: the name 'a\\nb' holds a character that cannot be seen",
    ),
    "a tier in words": ("services: {a: {tier: gold}}", "a.yaml:1:22: error: services.a.tier must be a whole number, not the text 'gold'"),
    "a number for a dependency": (
        "services: {a: {depends_on: [5]}}",
        "a.yaml:1:29: error: services.a.depends_on[0] must be a name or a mapping such as {service: payments, delay: 30s}",
    ),
    "a dependency on nothing": (
        "services: {a: {depends_on: [{delay: 5s}]}}",
        "a.yaml:1:29: error: services.a.depends_on[0] must name what it depends on, with 'service' or 'name' (one of them)",
    ),
    "text for a dependency list": (
        "services: {a: {depends_on: b}}",
        "a.yaml:1:28: error: services.a.depends_on must be a list, not the text 'b'",
    ),
    "a list for services": ("services: [a]", "a.yaml:1:11: error: services must be a mapping, not a list"),
    "a cycle": (
        "services: {a: {depends_on: [b]}, b: {depends_on: [c]}, c: {depends_on: [a]}}",
        "a.yaml:1:29: warning: cycle: a -> b -> c -> a",
    ),
    "kind": (
        "services: {a: , b: }\nedges: [{from: a, to: b, kind: stores_inn}]",
        "a.yaml:2:32: warning: 'stores_inn' is a kind of your own (did you mean 'stores_in'?)",
    ),
    "itself": ("services: {a: {depends_on: [a]}}", "a.yaml:1:29: warning: 'a' depends on itself; the edge is left out"),
    "an edge twice": (
        "services: {a: {depends_on: [b, b]}, b: {}}",
        "a.yaml:1:32: warning: the edge 'a' calls 'b' is written twice",
    ),
    "an edge twice with two delays": (
        "services: {a: {depends_on: [b, {service: b, delay: 1s}]}, b: {}}",
        "a.yaml:1:42: warning: the edge 'a' calls 'b' is written twice with another delay; the first one holds",
    ),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [*SYNTAX.values(), *RULES.values(), *SETTINGS.values(), *TOPOLOGY.values()],
    ids=[*SYNTAX, *RULES, *SETTINGS, *TOPOLOGY],
)
def test_a_mistake_is_told_in_these_words(text: str, expected: str) -> None:
    assert told({"a.yaml": text}) == [expected]


def test_bytes_that_are_no_text_are_told_with_their_place() -> None:
    Path("a.yaml").write_bytes("time: {}\né \xff".encode("latin-1"))
    assert [str(problem) for problem in examine(["a.yaml"]).problems] == ["a.yaml:2:1: error: not UTF-8 text"]


def test_all_mistakes_of_all_files_are_told_at_once() -> None:
    texts = {
        "a.yaml": "services:\n  a: {tier: gold, depends_on: [b]}\n  b: {depends_on: [x]}\n",
        "b.yaml": "time: {reorder: 1h}\ngrouping: {hops: 9}\n",
        "c.yaml": "services: {b: {}}\n",
    }
    assert told(texts) == [
        "a.yaml:2:13: error: services.a.tier must be a whole number, not the text 'gold'",
        "a.yaml:3:20: error: services.b.depends_on[0]: nothing is called 'x'",
        "b.yaml:1:17: error: time.reorder must be at most 5m, not 1h",
        "b.yaml:2:18: error: grouping.hops must be at most 6, not 9",
        "c.yaml:1:12: error: duplicate name 'b', first declared at a.yaml:3:3",
    ]


def test_a_broken_entry_is_still_a_name_that_others_may_use() -> None:
    text = "services:\n  a: {depends_on: [b]}\n  b: {tier: gold}\n"
    assert told({"a.yaml": text}) == ["a.yaml:3:13: error: services.b.tier must be a whole number, not the text 'gold'"]


def test_a_mistake_in_a_member_hides_no_unknown_name_in_it() -> None:
    text = """
services:
  checkout: {teir: 2, depends_on: [crat]}
  search: {depends_on: [crat, {service: cart, delay: 30x}, {service: crat, delay: 30x}, {delay: 1s}, 5, crat], runs_on: crat}
  cart: {}
instances:
  p: {runs_on: [5, nowhere]}
edges:
- {from: 5, to: crat}
- {from: crat, kind: 5}
"""
    like_cart = "nothing is called 'crat' (did you mean 'cart'?)"
    assert told({"a.yaml": text}) == [
        "a.yaml:3:14: error: unknown key 'teir' in services.checkout (did you mean 'tier'?)",
        f"a.yaml:3:36: error: services.checkout.depends_on[0]: {like_cart}",
        f"a.yaml:4:25: error: services.search.depends_on[0]: {like_cart}",
        "a.yaml:4:54: error: services.search.depends_on[1].delay must be a duration such as 30s, 5m or 1h30m, not the text '30x'",
        f"a.yaml:4:70: error: services.search.depends_on[2].service: {like_cart}",
        "a.yaml:4:83: error: services.search.depends_on[2].delay must be a duration such as 30s, 5m or 1h30m, not the text '30x'",
        ("a.yaml:4:89: error: services.search.depends_on[3] must name what it depends on, with 'service' or 'name' (one of them)"),
        "a.yaml:4:102: error: services.search.depends_on[4] must be a name or a mapping such as {service: payments, delay: 30s}",
        f"a.yaml:4:105: error: services.search.depends_on[5]: {like_cart}",
        "a.yaml:4:121: error: services.search.runs_on must be a list, not the text 'crat'",
        "a.yaml:7:6: error: missing key 'of' in instances.p",
        "a.yaml:7:17: error: instances.p.runs_on[0] must be text, not the number 5 (put it in quotes)",
        "a.yaml:7:20: error: instances.p.runs_on[1]: nothing is called 'nowhere'",
        "a.yaml:9:10: error: edges[0].from must be text, not the number 5 (put it in quotes)",
        f"a.yaml:9:17: error: edges[0].to: {like_cart}",
        "a.yaml:10:3: error: missing key 'to' in edges[1]",
        f"a.yaml:10:10: error: edges[1].from: {like_cart}",
        "a.yaml:10:22: error: edges[1].kind must be text, not the number 5 (put it in quotes)",
    ]


def test_a_mistake_in_an_alert_rule_hides_no_contradiction_of_it_and_makes_none() -> None:
    text = """
time: {reorder: 2m}
alerts:
- {name: a, match: [5, x=y], expiry: 2m}
- {name: a, match: x=z, fro: 2m}
- {match: x}
- {match: x=z}
- {name: b, match: x=z}
"""
    assert [line.split("; ")[0] for line in told({"a.yaml": text})] == [
        "a.yaml:4:21: error: alerts[0].match[0] must be text, not the number 5 (put it in quotes)",
        "a.yaml:4:38: error: alerts[0].expiry (2m) must be more than time.reorder (2m)",
        "a.yaml:5:10: error: duplicate alert rule 'a', first written at a.yaml:4:10",
        "a.yaml:5:25: error: unknown key 'fro' in alerts[1] (did you mean 'for'?)",
        "a.yaml:6:3: error: missing key 'name' in alerts[2]",
        "a.yaml:6:11: error: alerts[2].match[0] cannot be read at 'x'",
        "a.yaml:7:3: error: missing key 'name' in alerts[3]",
    ]


def test_a_mistake_in_a_section_hides_no_contradiction_of_it_and_makes_none() -> None:
    text = """
time: {reorder: 2m, lateness: 1m, holds: 5}
expiry: {native: soon, alertmanager: 1m}
retention: {close_after: 2h, closed: 1h, alert: 5}
"""
    assert [line.split("; ")[0] for line in told({"a.yaml": text})] == [
        "a.yaml:2:31: error: time.lateness (1m) must be more than time.reorder (2m)",
        "a.yaml:2:35: error: unknown key 'holds' in time",
        "a.yaml:3:18: error: expiry.native must be a duration such as 30s, 5m or 1h30m, not the text 'soon'",
        "a.yaml:3:38: error: expiry.alertmanager (1m) must be more than time.reorder (2m)",
        "a.yaml:4:38: error: retention.closed (1h) must not be less than retention.close_after (2h)",
        "a.yaml:4:49: error: retention.alert has no unit",
    ]
    assert told({"a.yaml": "time: {reorder: soon, lateness: 5s}\nretention: {close_after: soon, closed: 5m}"}) == [
        "a.yaml:1:17: error: time.reorder must be a duration such as 30s, 5m or 1h30m, not the text 'soon'",
        "a.yaml:2:26: error: retention.close_after must be a duration such as 30s, 5m or 1h30m, not the text 'soon'",
    ]


def test_a_topic_written_twice_is_told_beside_the_other_mistakes() -> None:
    assert told({"a.yaml": "topics: [{name: a}, {name: a, partitions: x}]\nprefix: 7"}) == [
        "a.yaml:1:28: error: topics[1].name: 'a' is the name of topics[0] already; a topic stands here once",
        "a.yaml:1:43: error: topics[1].partitions must be a whole number, not the text 'x'",
        "a.yaml:2:9: error: prefix must be text, not the number 7 (put it in quotes)",
    ]


def test_a_bare_number_is_given_the_units_that_are_allowed_there() -> None:
    text = "time: {reorder: 10}\nretention: {closed: 2}\nexpiry: {native: 9999999}"
    assert [line.split("has ")[1] for line in told({"a.yaml": text})] == [
        "no unit; write 10s for seconds",
        "no unit; write 2m for minutes or 2h for hours",
        "no unit; write 30s, 5m or 7d, say",
    ]


def test_a_section_in_two_files_is_told_with_both_places_though_it_is_broken() -> None:
    texts = {"a.yaml": "time: {reorder: soon}", "b.yaml": "alerts: []\ntime: {reorder: 1s}"}
    assert told(texts) == [
        "a.yaml:1:17: error: time.reorder must be a duration such as 30s, 5m or 1h30m, not the text 'soon'",
        "b.yaml:2:1: error: 'time' is already set at a.yaml:1:1; keep one of them",
    ]


def test_a_section_in_two_files_is_told_with_both_places() -> None:
    texts = {"a.yaml": "time: {reorder: 1s}", "b.yaml": "alerts: []\ntime: {reorder: 1s}"}
    assert told(texts) == ["b.yaml:2:1: error: 'time' is already set at a.yaml:1:1; keep one of them"]


def test_split_by_that_differs_between_files_is_told() -> None:
    texts = {"a.yaml": "split_by: [cluster]", "b.yaml": "split_by: [region]", "c.yaml": "split_by: [cluster]"}
    assert told(texts) == ["b.yaml:1:1: error: 'split_by' differs from the one at a.yaml:1:1; the whole graph is split by the same labels"]


def test_a_rule_for_a_service_that_no_topology_has_is_told() -> None:
    texts = {"a.yaml": "services: {checkout: {}}", "b.yaml": "alerts: [{name: a, match: 'service=chekout'}]"}
    assert told(texts) == [
        "b.yaml:1:27: warning: alert rule 'a' names the service 'chekout', which no topology has (did you mean 'checkout'?)"
    ]


def test_a_rule_for_a_service_is_not_doubted_without_a_topology() -> None:
    assert told({"b.yaml": "alerts: [{name: a, match: 'service=chekout'}]"}) == []


def test_a_missing_path_is_told_beside_the_other_mistakes() -> None:
    Path("a.yaml").write_text("time: 5")
    assert [str(problem) for problem in examine(["nowhere", "a.yaml"]).problems] == [
        "a.yaml:1:7: error: time must be a mapping, not the number 5",
        "nowhere: error: no such file or folder",
    ]


def test_a_key_written_twice_hides_no_other_mistake() -> None:
    text = "time: {reorder: 1h}\nexpiry: {native: 2m}\nexpiry: {native: 3m}\ngrouping: {hops: 9}\nhold: [\n"
    assert told({"a.yaml": text.removesuffix("hold: [\n")}) == [
        "a.yaml:1:17: error: time.reorder must be at most 5m, not 1h",
        "a.yaml:3:1: error: duplicate key 'expiry', first written at a.yaml:2:1",
        "a.yaml:4:18: error: grouping.hops must be at most 6, not 9",
    ]
    assert [line.split(" error: ")[0] for line in told({"a.yaml": text})] == ["a.yaml:3:1:", "a.yaml:6:1:"]


def test_what_stands_behind_a_key_written_twice_is_checked_and_may_be_named() -> None:
    text = "services:\n  a: {depends_on: [b]}\nservices:\n  b: {}\n  a: {tear: 1}\n"
    assert told({"a.yaml": text}) == [
        "a.yaml:3:1: error: duplicate key 'services', first written at a.yaml:1:1",
        "a.yaml:5:7: error: unknown key 'tear' in services.a (did you mean 'tier'?)",
    ]


def test_a_service_written_twice_hides_no_other_mistake() -> None:
    text = "services:\n  a: {depends_on: [b]}\n  b: {}\n  a: {depends_on: [x], tier: gold}\n  c: {tier: gold}\n"
    assert told({"a.yaml": text}) == [
        "a.yaml:4:3: error: duplicate key 'a', first written at a.yaml:2:3",
        "a.yaml:4:20: error: services.a.depends_on[1]: nothing is called 'x'",
        "a.yaml:4:30: error: services.a.tier must be a whole number, not the text 'gold'",
        "a.yaml:5:13: error: services.c.tier must be a whole number, not the text 'gold'",
    ]


def test_settings_rules_and_a_topology_are_told_apart_and_checked_together() -> None:
    texts = {
        "r.yaml": "time: {reorder: 1h}",
        "s.yaml": "topics: [{name: a, arival: item}]\nrules: [r.yaml, nowhere]",
        "t.yaml": "services: {a: {tear: 1}}",
    }
    assert told(texts) == [
        "r.yaml:1:17: error: time.reorder must be at most 5m, not 1h",
        "s.yaml:1:20: error: unknown key 'arival' in topics[0] (did you mean 'arrival'?)",
        "s.yaml:2:17: error: rules[1]: no such file or folder: nowhere",
        "t.yaml:1:16: error: unknown key 'tear' in services.a (did you mean 'tier'?)",
    ]
