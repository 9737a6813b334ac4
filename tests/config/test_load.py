"""What sound files become, and what no file may do."""

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from correlator.config.load import examine, load, load_rules, load_topology
from correlator.config.located import BYTES_LIMIT, Mapping, read
from correlator.config.matchers import parse_matchers
from correlator.config.nearest import Suggester, nearest
from correlator.config.problem import REPORT_LIMIT, ConfigError, Findings, Problem
from correlator.config.scenario_schema import ScenarioFile
from correlator.config.schema import RulesFile, TopologyFile
from correlator.config.schemas import schemas
from correlator.config.settings import Settings, load_settings
from correlator.config.validate import validate
from correlator.model.instant import MINUTE, SECOND
from correlator.model.rule import AlertRule, Matcher, MatchOperator, RuleSet
from correlator.model.topology import Edge, EdgeKind, Node, NodeKind, Topology

ROOT = Path(__file__).parents[2]


def written(folder: Path, **texts: str) -> str:
    """Write files by name without suffix, `__` for a folder, and answer the folder."""
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def test_the_shipped_rules_are_the_defaults() -> None:
    rules, problems = load_rules([str(ROOT / "rules" / "default.yaml")])
    assert (rules, problems) == (RuleSet(), [])
    assert rules.digest == RuleSet().digest


def test_the_shipped_files_are_sound_together() -> None:
    assert examine([str(ROOT / "rules"), str(ROOT / "topologies")]).problems == ()


def test_no_paths_and_empty_files_mean_defaults(tmp_path: Path) -> None:
    written(tmp_path, a="", b="# nothing yet\n", c="{}\n", d="services:\nhosts:\n  n:\n", e="alerts:\ntime:\n")
    loaded = load([str(tmp_path)])
    assert (loaded.rules, loaded.topology.nodes) == (RuleSet(), (Node(name="n", kind=NodeKind.HOST),))
    assert load_rules([]) == (RuleSet(), [])
    assert load_topology([]) == (Topology(), [])


def test_an_alert_rule_with_every_key_is_compiled(tmp_path: Path) -> None:
    text = """
    alerts:
      - name: flaky-disk
        match: ['alertname="DiskFull"', 'severity=~"warning|info"']
        for: 2m
        keep_firing_for: 5m
        settle: 0
        expiry: 30m
    """
    rules, _ = load_rules([written(tmp_path, a=text)])
    assert rules.alerts == (
        AlertRule(
            name="flaky-disk",
            match=(
                Matcher(label="alertname", operator=MatchOperator.EQUAL, value="DiskFull"),
                Matcher(label="severity", operator=MatchOperator.MATCHES, value="warning|info"),
            ),
            hold=2 * MINUTE,
            keep_firing=5 * MINUTE,
            settle=0,
            expiry=30 * MINUTE,
        ),
    )


def test_lists_of_several_files_join_in_the_order_of_paths(tmp_path: Path) -> None:
    written(tmp_path, b="alerts: [{name: second, match: x=1}]", a__z="alerts: [{name: first, match: x=2}]", c="alerts: [{name: third}]")
    written(tmp_path / ".hidden", h="alerts: [{name: hidden}]")
    (tmp_path / "a.test.yaml").write_text("not: [ yaml")
    (tmp_path / "notes.txt").write_text("not: [ yaml")
    rules, _ = load_rules([str(tmp_path), str(tmp_path / "b.yaml")])
    assert [rule.name for rule in rules.alerts] == ["first", "second", "third"]


def test_a_topology_with_every_key_is_compiled(tmp_path: Path) -> None:
    first = """
    split_by: [cluster]
    domain: shop
    services:
      checkout: {owner: payments, tier: 1, zone: eu-1a, depends_on: [cart, {name: psp, delay: 30s}], runs_on: [node-1]}
      cart: {domain: own}
    instances: {cart-x2: {of: cart, runs_on: [node-1]}}
    """
    second = """
    hosts: {node-1: {zone: eu-1a}}
    external: {psp: }
    edges:
      - {from: checkout, to: cart, kind: stores_in, delay: 5s}
      - {from: cart, to: psp, kind: replicates}
      - {from: node-1, to: psp}
    """
    topology, problems = load_topology([written(tmp_path, a=first, b=second)])
    assert problems == []
    assert topology.split_by == ("cluster",)
    assert topology.nodes == (
        Node(name="checkout", kind=NodeKind.SERVICE, owner="payments", tier=1, zone="eu-1a", domain="shop"),
        Node(name="cart", kind=NodeKind.SERVICE, domain="own"),
        Node(name="cart-x2", kind=NodeKind.INSTANCE, domain="own"),
        Node(name="node-1", kind=NodeKind.HOST, zone="eu-1a"),
        Node(name="psp", kind=NodeKind.EXTERNAL),
    )
    assert topology.edges == (
        Edge(source="checkout", target="cart", kind=EdgeKind.CALLS),
        Edge(source="checkout", target="psp", kind=EdgeKind.CALLS, delay=30 * SECOND),
        Edge(source="checkout", target="node-1", kind=EdgeKind.RUNS_ON),
        Edge(source="cart", target="cart-x2", kind=EdgeKind.OF),
        Edge(source="cart-x2", target="node-1", kind=EdgeKind.RUNS_ON),
        Edge(source="checkout", target="cart", kind=EdgeKind.STORES_IN, delay=5 * SECOND),
        Edge(source="cart", target="psp", kind=EdgeKind.OTHER, label="replicates"),
        Edge(source="node-1", target="psp", kind=EdgeKind.CALLS),
    )


def test_an_edge_of_kind_of_says_the_same_as_an_instance(tmp_path: Path) -> None:
    short, _ = load_topology([written(tmp_path / "s", a="services: {a: }\ninstances: {p: {of: a}}")])
    doubled = "services: {a: }\ninstances: {p: {of: a}}\nedges: [{from: p, to: a, kind: of}]"
    both, problems = load_topology([written(tmp_path / "l", a=doubled)])
    assert both == short
    assert [problem.message for problem in problems] == ["the edge 'a' of 'p' is written twice"]


def test_edges_that_are_warned_of_are_left_out_and_cycles_are_kept(tmp_path: Path) -> None:
    topology, problems = load_topology([written(tmp_path, a="services: {a: {depends_on: [a, b, b]}, b: {depends_on: [a]}}")])
    assert [(edge.source, edge.target) for edge in topology.edges] == [("a", "b"), ("b", "a")]
    assert len(problems) == 3


def test_names_that_yaml_once_took_for_truth_are_text(tmp_path: Path) -> None:
    topology, _ = load_topology([written(tmp_path, a="services: {no: {owner: off}, on: {depends_on: [no]}, 12: {}}")])
    assert list(topology.node_by_name) == ["no", "on", "12"]


def test_anchors_and_merges_are_read(tmp_path: Path) -> None:
    text = "services:\n  a: &web {owner: web, tier: 1}\n  b: {<<: *web, tier: 2}\n  c: {<<: [{zone: z}, *web]}\n"
    topology, _ = load_topology([written(tmp_path, a=text)])
    assert topology.nodes[1:] == (
        Node(name="b", kind=NodeKind.SERVICE, owner="web", tier=2),
        Node(name="c", kind=NodeKind.SERVICE, owner="web", tier=1, zone="z"),
    )


def test_an_anchor_bomb_is_refused_at_once() -> None:
    levels = "".join(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" for level in range(1, 12))
    with pytest.raises(ConfigError, match="more than 5000000 values in one file"):
        read(f"l0: &l0 [x]\n{levels}".encode(), "bomb.yaml")


def test_a_file_beyond_the_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^a\.yaml: error: larger than 64 MiB; split it into several files$"):
        read(b" " * (BYTES_LIMIT + 1), "a.yaml")


def test_rules_where_a_topology_is_wanted_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'time' is of rules; a topology is expected here"):
        load_topology([written(tmp_path, a="time: {}")])
    with pytest.raises(ConfigError, match="'hosts' is of a topology; rules are expected here"):
        load_rules([written(tmp_path, a="hosts: {}")])


def test_an_error_carries_the_warnings_beside_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load([written(tmp_path, a="services: {a: {depends_on: [a, b]}}")])
    assert [problem.severity.value for problem in caught.value.problems] == ["warning", "error"]


def test_thousands_of_services_and_mistakes_are_read_quickly_and_the_rest_is_counted(tmp_path: Path) -> None:
    services = 10_000
    lines = [f"  s{rank}: {{tier: 1, depends_on: [s{rank // 2 + 1}x, s{rank // 2}], runs_on: [n]}}" for rank in range(services)]
    loaded = examine([written(tmp_path, a="services:\n" + "\n".join(lines) + "\nhosts: {n: }\n")])
    assert (loaded.services, loaded.errors) == (services, services)
    assert str(loaded.problems[-1]) == f"…: error: {services - REPORT_LIMIT} more like these, not listed"
    assert sum(1 for problem in loaded.problems if problem.hint) == 50


def test_many_cycles_are_counted_after_the_first(tmp_path: Path) -> None:
    lines = [f"  a{rank}: {{depends_on: [b{rank}]}}\n  b{rank}: {{depends_on: [a{rank}]}}" for rank in range(25)]
    _, problems = load_topology([written(tmp_path, a="services:\n" + "\n".join(lines))])
    assert len(problems) == 21
    assert problems[0].message == "5 more cycles, not listed"


def test_a_long_cycle_is_shown_in_short(tmp_path: Path) -> None:
    lines = [f"  s{rank}: {{depends_on: [s{(rank + 1) % 50}]}}" for rank in range(50)]
    _, problems = load_topology([written(tmp_path, a="services:\n" + "\n".join(lines))])
    assert [problem.message for problem in problems] == ["cycle: s0 -> s1 -> s2 -> s3 -> s4 -> s5 -> (44 more) -> s0"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a="b"', [("a", "=", "b")]),
        ("a=b", [("a", "=", "b")]),
        ("a = b c , d != e", [("a", "=", "b c"), ("d", "!=", "e")]),
        ('{a="b",c!~"d.*",}', [("a", "=", "b"), ("c", "!~", "d.*")]),
        (r'a=~"x,{1}\"\\.\n"', [("a", "=~", 'x,{1}"\\.\n')]),
        (r'a=~"\\d+\.x"', [("a", "=~", r"\d+\.x")]),
        ("a=", [("a", "=", "")]),
        ('a=""', [("a", "=", "")]),
        ('"my label"="b"', [("my label", "=", "b")]),
        ("münchen=~^x|y$", [("münchen", "=~", "^x|y$")]),
    ],
)
def test_matchers_are_read_as_alertmanager_reads_them(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert [(matcher.label, matcher.operator.value, matcher.value) for matcher in parse_matchers(text)] == expected


@pytest.mark.parametrize("pattern", [r"a\++", "[*+]+", r"\\1", r"(?:a|b)+?", r"(?P<x>a)", r"(?i)disk", r"[]*+]", r"[\]*+]"])
def test_patterns_that_alertmanager_reads_are_read(pattern: str) -> None:
    quoted = pattern.replace("\\", "\\\\")
    assert parse_matchers(f'a=~"{quoted}"')[0].value == pattern


@pytest.mark.parametrize("pattern", [r"a++", "a*+", "a{2}+", r"(a)\1", r"(?<!a)b", r"(?>a)", "(?P<x>a)(?P=x)"])
def test_patterns_that_only_python_reads_are_refused(pattern: str) -> None:
    quoted = pattern.replace("\\", "\\\\")
    with pytest.raises(ValueError, match="Alertmanager would not read"):
        parse_matchers(f'a=~"{quoted}"')


def test_a_neighbour_is_found_among_many_names_without_comparing_them() -> None:
    known = {f"service-{rank}": None for rank in range(50_000)}
    assert nearest("servcie-123", known) == "service-123"
    assert nearest("SERVICE-123", known) == "service-123"
    assert nearest("something else", known) is None
    suggester = Suggester(budget=1)
    assert (suggester.hint("servic-1", known), suggester.hint("servic-1", known)) == ("did you mean 'service-1'?", "")


TEXTS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode()),
    st.text(alphabet="ab:[]{},-&*<'\"\n #!?|>~0.\t", max_size=40).map(lambda text: text.encode()),
)


def refusals(content: bytes) -> tuple[Problem, ...]:
    try:
        read(content, "a.yaml")
    except ConfigError as error:
        return error.problems
    return ()


@given(TEXTS)
def test_any_bytes_give_values_or_a_located_problem(content: bytes) -> None:
    assert all(problem.where.line > 0 for problem in refusals(content))


TOP_KEYS = [*RulesFile.model_fields, *TopologyFile.model_fields, *Settings.model_fields]
INNER_KEYS = ["match", "name", "from", "to", "x", "of", "depends_on", "runs_on", "service", "<name>", "<<", ""]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["5m", "a=b", "x"])
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TOP_KEYS, *INNER_KEYS]), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(TOP_KEYS), PLAIN, max_size=4))
def test_any_values_give_rules_a_topology_or_problems(tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]) -> None:
    text = yaml.safe_dump(values, allow_unicode=True)
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, newline="")
    loaded = examine([str(path)])
    assert loaded.errors or loaded.rules.digest or loaded.topology.digest
    with contextlib.suppress(ConfigError):
        load_settings(str(path))


PAIRS = st.recursive(
    st.sampled_from(["1", "5m", "x", "[x, y]", "[{x: 1}]"]),
    lambda inner: st.lists(st.tuples(st.sampled_from(["services", "time", "alerts", "x", "y"]), inner), max_size=4).map(
        lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
    ),
    max_leaves=12,
)


@given(PAIRS)
def test_keys_written_twice_anywhere_give_values_that_know_their_places(text: str) -> None:
    document = read(text.encode(), "a.yaml")
    assert all(problem.where.line for problem in document.problems)
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), document.root)]
    while waiting:
        path, value = waiting.pop()
        assert document.mark(path).line == 1
        if isinstance(value, Mapping):
            assert len(value.places) == 2 * len(value)
            waiting += [((*path, key), inner) for key, inner in value.items()]


@given(st.text(max_size=30) | st.text(alphabet='a=!~"{},\\ (', max_size=20))
def test_any_text_gives_matchers_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_matchers(text)


PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"], exclude_characters="<"), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | PRINTABLE


JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE, inner, max_size=3), max_leaves=10)


@given(JSON)
def test_json_is_read_as_yaml(values: object) -> None:
    assert read(json.dumps(values, ensure_ascii=False).encode(), "a.yaml").root == values


def test_every_value_knows_its_place() -> None:
    document = read("a:\n  - x\n  - {b: 1,\n     c: é, d: 2}\n".encode(), "a.yaml")
    assert isinstance(document.root, Mapping)
    assert str(document.mark(("a", 1, "d"))) == "a.yaml:4:15"
    assert str(document.mark(("a", 1, "d"), of_key=True)) == "a.yaml:4:12"
    assert str(document.mark(("a", 1, "missing"))) == "a.yaml:3:5"


def test_paths_of_the_brokers_section_are_relative_to_the_file_and_empty_tls_is_tls(tmp_path: Path) -> None:
    path = tmp_path / "correlator.yaml"
    path.write_text("kafka: {tls: {ca: ca.pem, cert: /c.pem}, sasl: {username: a, password_file: p}}\n")
    kafka = load_settings(str(path)).kafka
    assert kafka.tls is not None
    assert kafka.sasl is not None
    assert (kafka.tls.ca, kafka.tls.cert, kafka.tls.key) == (str(tmp_path / "ca.pem"), "/c.pem", None)
    assert kafka.sasl.password_file == str(tmp_path / "p")
    path.write_text("kafka: {tls: }\n")
    assert load_settings(str(path)).kafka.tls is not None


def test_settings_have_defaults_and_paths_relative_to_their_file(tmp_path: Path) -> None:
    assert Settings().topics == load_settings(None).topics
    path = tmp_path / "correlator.yaml"
    written(tmp_path, r__a="", topologies__a="")
    path.write_text(f"rules: [r, {tmp_path}/r/a.yaml]\nhttp: {{listen: '[::1]:0'}}\ncheckpoint: {{every: 2s}}\n")
    settings = load_settings(str(path))
    assert settings.rules == (str(tmp_path / "r"), str(tmp_path / "r" / "a.yaml"))
    assert settings.topology == (str(tmp_path / "topologies"),)
    assert (settings.http.host, settings.http.port, settings.checkpoint.every) == ("::1", 0, 2 * SECOND)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis: {}", "s.yaml:1:1: error: unknown key 'redis'"),
        ("http: {listen: 8080}", "s.yaml:1:16: error: http.listen must be text, not the number 8080 (put it in quotes)"),
        ("http: {listen: x}", "s.yaml:1:16: error: http.listen must be an address and a port such as 127.0.0.1:8080, not 'x'"),
        (
            "topics: [{name: a, format: b}]",
            "s.yaml:1:28: error: topics[0].format must be 'auto', 'native', 'alertmanager' or 'cloudevents', not the text 'b'",
        ),
        (
            "topics: [{name: a}, {name: a}]",
            "s.yaml:1:28: error: topics[1].name: 'a' is the name of topics[0] already; a topic stands here once",
        ),
        (
            "topics: [{name: incidents}]",
            "s.yaml:1:17: error: topics[0].name: 'incidents' is a topic that the service writes; choose another name",
        ),
        (
            "topics: [{name: a/b}]",
            "s.yaml:1:17: error: topics[0].name must be up to 200 letters, digits, '.', '_' and '-', not the text 'a/b'",
        ),
        (
            "prefix: S",
            "s.yaml:1:9: error: prefix must be up to 64 small letters, digits, '.', '_' and '-', first a letter or digit, not the text 'S'",
        ),
        ("log_retention: {raw: 7}", "s.yaml:1:22: error: log_retention.raw has no unit; write 7h for hours or 7d for days"),
        (
            "kafka: {bootstrap: [localhost]}",
            "s.yaml:1:21: error: kafka.bootstrap[0] must be an address and a port such as 127.0.0.1:9092, not 'localhost'",
        ),
        ("kafka: {bootstrap: []}", "s.yaml:1:8: error: kafka names no broker; leave 'bootstrap' out for 127.0.0.1:9092"),
        ("kafka: {tls: {key: k}}", "s.yaml:1:14: error: kafka.tls has a 'key' without a 'cert'; name both"),
        ("kafka: {sasl: }", "s.yaml:1:15: error: missing key 'username' in kafka.sasl"),
        (
            "kafka: {sasl: {username: a}}",
            "s.yaml:1:15: error: kafka.sasl needs a password: name either 'password_file' or 'password_env'",
        ),
        (
            "kafka: {sasl: {username: a, password: secret}}",
            "s.yaml:1:29: error: unknown key 'password' in kafka.sasl (did you mean 'password_file' or 'password_env'?)",
        ),
        ("rules: [rules]", "s.yaml:1:9: error: rules[0]: no such file or folder: {folder}/rules"),
        ("topology: [., t/x.yaml]", "s.yaml:1:15: error: topology[1]: no such file or folder: {folder}/t/x.yaml"),
        ("log_retention: {frames: 6d}", "s.yaml:1:25: error: log_retention.frames must be at least 7d, not 6d"),
        ("topics: []", "s.yaml:1:1: error: the file names no topic to read; leave 'topics' out to read 'events'"),
    ],
)
def test_a_mistake_in_settings_is_told(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(str(path))
    assert str(caught.value) == f"{tmp_path}/{expected.replace('{folder}', str(tmp_path))}"


def test_a_default_folder_that_is_missing_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("topology: []\n")
    settings = load_settings(str(path))
    assert (settings.rules, settings.topology) == ((), ())


@pytest.mark.parametrize("name", ["rules", "topology", "settings", "scenario"])
def test_the_schemas_for_editors_are_fresh(name: str) -> None:
    assert json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text()) == schemas()[name]


def test_the_documents_name_every_key() -> None:
    for page, model in (("rules.md", RulesFile), ("topology.md", TopologyFile), ("scenarios.md", ScenarioFile)):
        text = (ROOT / "docs" / page).read_text()
        assert [key for key in _keys(model.model_json_schema(by_alias=True)) if f"`{key}" not in text and f"{key}`" not in text] == []


def _keys(schema: dict[str, object]) -> list[str]:
    definitions = schema.get("$defs", {})
    assert isinstance(definitions, dict)
    return [key for part in (schema, *definitions.values()) for key in part.get("properties", {})]


def test_a_key_that_looks_like_ours_inside_pydantic_is_told_as_any_other(tmp_path: Path) -> None:
    text = "edges: [{from: b, to: a, <name>: 1}]\nservices: {a: , b: {depends_on: [{name: c, <long>: 1}]}, c: }\ninstances: {<name>: }\n"
    assert [problem.message for problem in examine([written(tmp_path, a=text)]).problems] == [
        "unknown key '<name>' in edges[0]",
        "unknown key '<long>' in services.b.depends_on[0]",
        "missing key 'of' in instances.<name>",
    ]


def test_validation_keeps_what_is_sound() -> None:
    document = read(b"hosts: {a: {}, b: {tier: x}}", "a.yaml")
    validated = validate(document, TopologyFile, findings=Findings(), suggester=Suggester())
    assert (validated.model, validated.names("hosts")) == (None, ["a", "b"])
