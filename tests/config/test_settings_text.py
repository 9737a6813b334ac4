"""Settings written as text, as a supervisor hands them to its workers."""

from pathlib import Path

import pytest

from correlator.config.settings import load_settings, settings_text

EVERYTHING = """
prefix: shop
kafka:
  bootstrap: ["kafka-1:9093", "[::1]:9092"]
  replication: 2
  patience: 1h30m
  tls: {ca: ca.pem, cert: client.pem}
  sasl: {mechanism: SCRAM-SHA-256, username: me, password_file: secret}
http: {listen: "0.0.0.0:0"}
checkpoint: {rows: 7, every: 90s}
batch: {records: 9}
log_retention: {raw: 1h1m1s, frames: 8d, decisions: 1d, dead_letters: 2h, tombstones: 3h}
topics: [{name: events, format: native, arrival: item, partitions: 3}, {name: more}]
"""


@pytest.mark.parametrize("text", [EVERYTHING, "{}", "kafka: {sasl: {username: me, password_env: P}, tls: {}}"])
def test_settings_written_as_text_are_the_same_read_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    monkeypatch.chdir(tmp_path)
    (before / "settings.yaml").write_text(text, encoding="utf-8")
    settings = load_settings("before/settings.yaml")
    (after / "settings.yaml").write_text(settings_text(settings), encoding="utf-8")
    again = load_settings(str(after / "settings.yaml"))
    assert again.model_copy(update={"kafka": settings.kafka.below(tmp_path)}) == settings.model_copy(
        update={"kafka": settings.kafka.below(tmp_path)}
    )
    assert again.kafka == settings.kafka.below(tmp_path)


def test_rules_and_topology_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("rules: [rules.yaml]\ntopology: [t]\n", encoding="utf-8")
    for name in ("rules.yaml", "t"):
        (tmp_path / name).write_text("", encoding="utf-8")
    settings = load_settings(str(tmp_path / "settings.yaml"))
    assert "rules" not in settings_text(settings)
    assert "topology" not in settings_text(settings)
