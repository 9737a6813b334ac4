"""Every story of this folder comes out as it says; docs/scenarios.md tells how to write one."""

from pathlib import Path

import msgspec
import pytest

from correlator.config.scenario import Scenario, load_scenario
from correlator.model.incident import IncidentDocument, IncidentState
from correlator.model.instant import SECOND, Instant
from correlator.runtime.expected import judge
from correlator.runtime.files import Records
from correlator.runtime.replay import Replay
from correlator.runtime.scenario import event_of, sights_of

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.yaml"))
GAPS_MOST = 12
"""More than these are a reason to mend some before others are found."""


def scenario_of(path: Path) -> Scenario:
    return load_scenario(str(path))[0]


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return scenario_of(request.param)


def test_the_story_comes_out_as_it_says(scenario: Scenario) -> None:
    failures = [judgement.text for judgement in judge(scenario) if judgement.is_failure]
    if failures:
        pytest.fail("\n\n".join(["", *failures]), pytrace=False)


def test_looking_changes_nothing(scenario: Scenario) -> None:
    first, last = scenario.expectations[0].at, scenario.expectations[-1].at
    *_, often = sights_of(scenario, [*range(first, last, max((last - first) // 50, SECOND)), last])
    [once] = sights_of(scenario, [last])
    assert often == once


def test_a_replay_of_the_events_ends_as_the_story_does(scenario: Scenario, tmp_path: Path) -> None:
    events = [event_of(saying, scenario.alerts[saying.alert]) for saying in scenario.sayings]
    Replay(scenario.control, tmp_path).run(iter([Records(events, range(1, len(events) + 1))]))
    lines = (tmp_path / "incidents.jsonl").read_bytes().splitlines()
    replayed = sorted(
        [msgspec.json.decode(line, type=IncidentDocument) for line in lines], key=lambda document: (document.opened, document.id)
    )
    [seen] = sights_of(scenario, [end_of_recording(scenario)])
    assert list(seen.incidents) == [document for document in replayed if document.state is not IncidentState.WITHDRAWN]


def end_of_recording(scenario: Scenario) -> Instant:
    """When a replay stops: as soon as all that was said can have paged."""
    rules, latest = scenario.control.rules, max(max(saying.arrival, saying.at) for saying in scenario.sayings)
    return latest + max([rules.grouping.settle, *[rule.settle or 0 for rule in rules.alerts]])


def test_every_file_tells_a_story() -> None:
    scenarios = [scenario_of(path) for path in FILES]
    assert [scenario.file for scenario in scenarios if not scenario.story.strip()] == []
    titles = [scenario.title for scenario in scenarios]
    assert len(set(titles)) == len(titles) >= 40


def test_few_gaps_are_known() -> None:
    gaps = [expectation.known_gap for path in FILES for expectation in scenario_of(path).expectations if expectation.known_gap]
    assert len(gaps) <= GAPS_MOST


def test_the_example_of_the_documentation_comes_out_as_it_says(tmp_path: Path) -> None:
    page = (HERE.parents[1] / "docs" / "scenarios.md").read_text(encoding="utf-8")
    path = tmp_path / "example.yaml"
    path.write_text(page.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    assert [judgement.text for judgement in judge(scenario_of(path))] == ["", "", ""]
