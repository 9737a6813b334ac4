"""`correlator graph`: an incident's part of the dependency graph, as text and as pictures."""

from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Call, Golden
from tests.cli.program import correlator
from tests.cli.story import an_event, write_lines

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
FIRST = "6c5b0393e38586d916da"


@pytest.fixture(scope="module")
def stormed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a replay of the demo's storm wrote."""
    folder = tmp_path_factory.mktemp("storm")
    assert correlator("demo", "--save", folder / "storm.jsonl", cwd=ROOT).returncode == 0
    options = ("--topology", "topologies/demo", "--rules", "rules", "--out", folder / "out", "--decisions")
    assert correlator("replay", folder / "storm.jsonl", *options, cwd=ROOT).returncode == 0
    return folder / "out"


def words_of(path: Path) -> list[str]:
    return [text.text or "" for text in ET.fromstring(path.read_text()).iter(f"{SVG}text")]  # noqa: S314 - our own


def test_the_demos_database_is_drawn_as_text(call: Call, stormed: Path, golden: Golden) -> None:
    golden("graph-database.txt", call("graph", "--replay", stormed, "6c5b6dc5").stdout)


def test_an_svg_names_root_times_and_owners(call: Call, stormed: Path, story: Path) -> None:
    assert call("graph", "--replay", stormed, "6c5b702d", "--out", "psp.svg").stdout == "drawn into psp.svg\n"
    words = words_of(story / "psp.svg")
    place = words.index("psp")
    assert words[place : place + 5] == ["psp", "ROOT CAUSE 68%", "ProviderProbeFailing +1", "10:13:00Z", "owner payments"]
    assert words[words.index("bff") + 1] == "no alert"
    assert "Depends on the root and is quiet: storefront" in words


def test_the_way_of_the_fault_is_thick_and_no_other_link_is(call: Call, stormed: Path, story: Path) -> None:
    call("graph", "--replay", stormed, "6c5b702d", "--out", "psp.svg")
    lines = list(ET.fromstring((story / "psp.svg").read_text()).iter(f"{SVG}polyline"))  # noqa: S314 - our own
    assert sorted(line.attrib["stroke-width"] for line in lines) == ["1.2", "1.2", *["3"] * 6]


def test_the_same_incident_is_drawn_in_the_same_bytes(call: Call, stormed: Path, story: Path) -> None:
    for name in ("one.svg", "two.svg"):
        call("graph", "--replay", stormed, "6c5b6dc5", "--out", name)
    assert (story / "one.svg").read_bytes() == (story / "two.svg").read_bytes()


def test_names_that_mean_something_in_xml_are_written_as_text(call: Call, story: Path) -> None:
    name = '<b>&"c"</b>'
    write_lines(story / "these", [an_event(0, service="payments", alertname=name)])
    call("replay", "these", "--topology", "topology.yaml", "--rules", "rules.yaml", "--out", "out", "--decisions")
    call("graph", "--replay", "out", "6c5b", "--out", "odd.svg")
    assert name in words_of(story / "odd.svg")


def test_a_log_is_drawn_as_a_replay_is(call: Call, judged: Path) -> None:
    call("replay", "events.jsonl", "--topology", "topology.yaml", "--rules", "rules.yaml", "--out", "out", "--decisions")
    live, offline = call("graph", "--embedded", judged, FIRST).stdout, call("graph", "--replay", "out", FIRST).stdout
    assert live == offline
    assert "payments  ROOT CAUSE" in live


def test_alerts_of_services_that_no_topology_knows_are_drawn_alone(call: Call, story: Path) -> None:
    write_lines(story / "these", [an_event(0, service="nowhere")])
    call("replay", "these", "--topology", "/dev/null", "--rules", "rules.yaml", "--out", "out", "--decisions")
    assert "Alerts:\n  nowhere  00:00:00Z  HighErrorRate\n" in call("graph", "--replay", "out", "6c5b").stdout
    assert call("graph", "--replay", "out", "6c5b", "--out", "one.svg").exit_code == 0


def test_a_png_is_the_picture_of_the_svg(call: Call, stormed: Path, story: Path) -> None:
    images = pytest.importorskip("PIL.Image", reason="Pillow is an extra; `make setup` installs it")
    for kind in ("svg", "png"):
        assert call("graph", "--replay", stormed, "6c5b702d", "--out", f"psp.{kind}").exit_code == 0
    size = ET.fromstring((story / "psp.svg").read_text()).attrib  # noqa: S314 - our own
    with images.open(story / "psp.png") as image:
        assert image.size == pytest.approx((2 * int(size["width"]), 2 * int(size["height"])), abs=4)
        assert image.getextrema() == (0, 255)


@pytest.mark.skipif(find_spec("PIL") is not None, reason="Pillow is there")
def test_without_pillow_a_png_says_what_to_install(call: Call, stormed: Path, story: Path) -> None:
    result = call("graph", "--replay", stormed, "6c5b702d", "--out", "psp.png")
    assert (result.exit_code, (story / "psp.png").exists()) == (2, False)
    assert "pip install 'correlator[pictures]'" in result.stderr


# Mistakes


def test_another_kind_of_picture_is_refused_before_anything_is_read(call: Call) -> None:
    result = call("graph", "--replay", "nowhere", FIRST, "--out", "it.gif")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: it.gif: the name must end in .svg or .png, which says what to draw; without --out it is drawn as text\n"


def test_a_replay_without_decisions_has_no_topology_to_draw(call: Call) -> None:
    call("replay", "events.jsonl", "--topology", "topology.yaml", "--rules", "rules.yaml", "--out", "out")
    assert "replay again with --decisions" in call("graph", "--replay", "out", FIRST).stderr


def test_an_incident_that_became_part_of_another_has_nothing_to_draw_and_names_that(call: Call, stormed: Path) -> None:
    assert "became part of incident 6c5b4ebc" in call("graph", "--replay", stormed, "6c5b26a9").stderr


def test_an_id_that_nothing_has_is_said_with_the_nearest(call: Call, stormed: Path) -> None:
    assert (
        "no incident's id begins with '6c5b7022d'; did you mean 6c5b702d8f1828fa9c17?"
        in call("graph", "--replay", stormed, "6c5b7022d").stderr
    )


def test_a_folder_that_cannot_be_written_is_said_so(call: Call, stormed: Path) -> None:
    result = call("graph", "--replay", stormed, "6c5b702d", "--out", "no/such/folder.svg")
    assert (result.exit_code, result.stderr.startswith("Error: no/such/folder.svg: No such file")) == (2, True)


def test_the_page_shows_what_the_commands_that_it_names_print(call: Call, stormed: Path, story: Path) -> None:
    page = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    for command in ("explain", "graph"):
        assert f"```\n{call(command, '--replay', stormed, '6c5b702d').stdout}```" in page, (
            f"docs/explain.md: {command} prints something else"
        )
    call("graph", "--replay", stormed, "6c5b702d", "--out", "psp.svg")
    assert (story / "psp.svg").read_bytes() == (ROOT / "docs" / "pictures" / "psp.svg").read_bytes()
