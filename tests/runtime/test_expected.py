"""What a scenario says when it does not come out as it should: exact expectations, told side by side."""

from pathlib import Path

import pytest

from correlator.config.scenario import load_scenario
from correlator.runtime.expected import Judgement, Outcome, judge

STORY = """\
title: a database takes its callers along
topology:
  services:
    web: {owner: front, tier: 1, depends_on: [cart]}
    cart: {owner: shop, depends_on: [db]}
    db: {owner: dbas}
    mail: {owner: post}
inputs:
  - {at: +0s, firing: db/Down, severity: critical, resolves: +10m, labels: {pod: [db-0, db-1]}}
  - {at: +15s, firing: cart/Errors, severity: critical, resolves: +10m}
  - {at: +2m, firing: mail/Slow, severity: warning, resolves: +3m}
expect:
"""
FIRST_LINE = STORY.count("\n") + 1


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so that messages name files as people do


def judged(*expectations: str, story: str = STORY) -> list[Judgement]:
    Path("s.yaml").write_text(story + "".join(f"  - {one}\n" for one in expectations), encoding="utf-8")
    return judge(load_scenario("s.yaml")[0])


def the_text(expectation: str, *, story: str = STORY) -> list[str]:
    """Answer the lines of the one expectation's judgement, without the place at their beginning."""
    [judgement] = judged(expectation, story=story)
    assert judgement.outcome is Outcome.MISSED
    return judgement.text.splitlines()


def test_what_is_as_expected_is_met() -> None:
    told = judged(
        "{at: +20s, incidents: [{root: db, members: [db/*, cart/*], state: pending, paged: false}]}",
        "{at: +30s, incidents: [{root: db, state: open, priority: P2, owner: dbas, title: 'Down at db, 1 more affected', paged: true}]}",
        "{at: +1m, incidents: [{condition: Down, contributing: [], blast_radius: [web, cart], reopened: false}]}",
        "{at: +1h, incidents: [{root: mail, state: closed}, {root: db, state: closed}]}",
    )
    assert [(judgement.outcome, judgement.text) for judgement in told] == [(Outcome.MET, "")] * 4


def test_a_moment_sees_what_was_so_by_then_and_nothing_later() -> None:
    before, at = judged("{at: +14s, incidents: [{members: db/*}]}", "{at: +15s, incidents: [{members: [db/*, cart/Errors]}]}")
    assert (before.outcome, at.outcome) == (Outcome.MET, Outcome.MET)


def test_differences_are_told_side_by_side() -> None:
    assert the_text("{at: +1m, incidents: [{root: cart, members: [cart/*], state: open, owner: shop}]}") == [
        f"s.yaml:{FIRST_LINE}:27: at +1m (12:01:00): this incident is not as expected",
        "            expected     got",
        "!  root     cart         db",
        "   members  cart/Errors  cart/Errors",
        '!           -            db/Down{pod="db-0"}',
        '!           -            db/Down{pod="db-1"}',
        "   state    open         open",
        "!  owner    shop         dbas",
    ]  # fmt: skip


def test_an_incident_that_is_not_expected_is_a_failure() -> None:
    assert the_text("{at: +2m50s, incidents: [{root: db}]}") == [
        f"s.yaml:{FIRST_LINE}:5: at +2m50s (12:02:50): an incident is there that is not expected",
        "  root      mail",
        "  members   mail/Slow",
        "  state     open",
        "  priority  P3",
        "  owner     post",
    ]


def test_an_expected_incident_that_is_not_there_is_a_failure() -> None:
    assert the_text("{at: +1m, incidents: [{root: db}, {root: mail, members: db/*, owner: ~}]}") == [
        f"s.yaml:{FIRST_LINE}:39: at +1m (12:01:00): this incident is expected and not there",
        "  root     mail",
        '  members  db/Down{pod="db-0"}',
        '           db/Down{pod="db-1"}',
        "  owner    none",
    ]


def test_none_allows_none() -> None:
    lines = the_text("{at: +1m, incidents: none}")
    assert lines[0] == f"s.yaml:{FIRST_LINE}:5: at +1m (12:01:00): an incident is there that is not expected"


def test_an_alert_is_told_with_what_became_of_it() -> None:
    assert the_text("{at: +1m, alerts: [{alert: cart/Errors, state: held, incident: cart, reason: held}]}") == [
        f"s.yaml:{FIRST_LINE}:24: at +1m (12:01:00): cart/Errors is not as expected",
        "             expected  got",
        "!  state     held      firing",
        "!  incident  cart      db",
        "!  reason    held      none",
    ]


def test_an_alert_that_is_over_for_long_is_forgotten() -> None:
    [judgement] = judged("{at: +2h, alerts: [{alert: cart/Errors, state: forgotten, incident: ~}]}")
    assert judgement.outcome is Outcome.MET


def test_incidents_are_paired_so_that_as_many_as_can_be_are_met() -> None:
    [judgement] = judged("{at: +2m50s, incidents: [{state: open}, {root: db, state: open}]}")
    assert judgement.outcome is Outcome.MET


def test_a_long_list_of_agreement_is_cut() -> None:
    story = STORY.replace("[db-0, db-1]", f"[{', '.join(f'db-{number}' for number in range(30))}]")
    lines = the_text("{at: +1m, incidents: [{root: db, members: db/*}]}", story=story)
    assert len(lines) == 15
    assert lines[-2:] == ["            … 20 more            … 20 more", "!           -                    cart/Errors"]


def test_many_incidents_that_nobody_expected_are_counted() -> None:
    story = STORY.replace("{at: +2m, firing: mail/Slow, severity: warning, resolves: +3m}", "{at: +0s, firing: mail/Slow, resolves: +9s}")
    story = story.replace("resolves: +9s}", "resolves: +9s, times: 9, apart: 1m}")
    lines = the_text("{at: +20m, incidents: [{root: db}]}", story=story)
    assert lines[-1] == f"s.yaml:{FIRST_LINE}:5: at +20m (12:20:00): 4 more incidents are there that are not expected"


def test_a_known_gap_is_no_failure_as_long_as_it_is_one() -> None:
    gap, mended = judged(
        "{at: +1m, known_gap: the root is another, incidents: [{root: cart}]}", "{at: +1m, known_gap: fixed, incidents: [{root: db}]}"
    )
    assert (gap.outcome, gap.is_failure) == (Outcome.GAP, False)
    assert gap.text.startswith(f"s.yaml:{FIRST_LINE}:59: at +1m (12:01:00): this incident is not as expected")
    assert (mended.outcome, mended.is_failure) == (Outcome.MENDED, True)
    assert mended.text == f"s.yaml:{FIRST_LINE + 1}:5: at +1m (12:01:00): this holds now: take its known_gap out (fixed)"


def test_alerts_that_rules_make_one_are_called_as_the_first_of_them() -> None:
    story = STORY.replace("topology:", "rules: {identity: {ignore: [pod]}}\ntopology:")
    [judgement] = judged("{at: +10s, incidents: [{members: [db/*]}], alerts: [{alert: db/*, state: firing}]}", story=story)
    assert judgement.outcome is Outcome.MET
