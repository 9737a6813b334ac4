"""Documents as bytes: JSON, and never larger than a consumer can take."""

import orjson

from correlator.model.incident import DOCUMENT_BYTES_MOST, IncidentDocument, IncidentState, Member, Why, encode_incident


def a_document(members: int) -> IncidentDocument:
    return IncidentDocument(
        id="ab12",
        revision=1,
        state=IncidentState.OPEN,
        title="latency at checkout",
        opened="2026-03-01T12:00:00.000Z",
        updated="2026-03-01T12:00:00.000Z",
        members=[a_member(number) for number in range(members)],
        counts={"firing": members},
        root_causes=[],
        contributing=[],
        blast_radius=[],
        category="unknown",
        priority="P3",
        owner=None,
        why=[Why.NEW_FAULT],
        rules_digest="0",
    )


def a_member(number: int) -> Member:
    labels = {"alertname": f"a{number}", "text": "x" * 4_000}
    return Member(f"{number:032x}", labels, "firing", "2026-03-01T12:00:00.000Z")


def test_a_small_document_is_written_whole() -> None:
    document = orjson.loads(encode_incident(a_document(3)))
    assert len(document["members"]) == 3
    assert document["members"][0]["startsAt"] == "2026-03-01T12:00:00.000Z"


def test_a_large_document_gives_up_its_last_members_and_keeps_its_counts() -> None:
    body = encode_incident(a_document(200))
    document = orjson.loads(body)
    assert len(body) <= DOCUMENT_BYTES_MOST
    assert [member["fingerprint"] for member in document["members"]] == [f"{number:032x}" for number in range(50)]
    assert document["counts"] == {"firing": 200}
