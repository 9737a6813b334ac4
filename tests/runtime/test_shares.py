"""How members of a group divide partitions: laws over any members, and what a rebalance moves."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from correlator.runtime.kafka.shares import Member, shares_of
from correlator.runtime.ports import Share, TopicPartition

RAW = tuple([TopicPartition("events", number) for number in range(8)] + [TopicPartition("more", number) for number in range(3)])
FRAMES = tuple([TopicPartition("frames", number) for number in range(4)])
STAGES = (RAW, FRAMES)

names = st.sets(st.sampled_from("abcdefg"), min_size=1)
claims = st.lists(st.sampled_from(RAW + FRAMES), max_size=15).map(tuple)
able = st.sets(st.sampled_from(RAW), max_size=len(RAW)).map(lambda raw: (tuple(sorted(raw)), FRAMES))


def is_whole(shares: Mapping[str, Share], expected: set[TopicPartition]) -> bool:
    """Answer whether each of these partitions has exactly one owner, and no other has any."""
    given = [tp for share in shares.values() for tp in share]
    return sorted(given) == sorted(expected)


def parts(shares: Mapping[str, Share], stage: tuple[TopicPartition, ...]) -> list[int]:
    return [len(share & set(stage)) for share in shares.values()]


@given(members=st.dictionaries(st.sampled_from("abcdefg"), claims, min_size=1))
def test_every_partition_has_one_owner_and_every_stage_is_even_whatever_the_members_claim(
    members: dict[str, tuple[TopicPartition, ...]],
) -> None:
    shares = shares_of({name: Member(STAGES, owned) for name, owned in members.items()})
    assert is_whole(shares, {*RAW, *FRAMES})
    for stage in STAGES:
        assert max(parts(shares, stage)) - min(parts(shares, stage)) <= 1


@given(st.dictionaries(st.sampled_from("abcdefg"), st.tuples(able, claims), min_size=1))
def test_nobody_gets_what_its_settings_do_not_know(
    members: dict[str, tuple[tuple[tuple[TopicPartition, ...], ...], tuple[TopicPartition, ...]]],
) -> None:
    told = {name: Member(stages, owned) for name, (stages, owned) in members.items()}
    shares = shares_of(told)
    known = {name: {tp for stage in member.stages for tp in stage} for name, member in told.items()}
    assert all(share <= known[name] for name, share in shares.items())
    assert is_whole(shares, set().union(*known.values()))


@given(before=names, after=names)
def test_a_rebalance_moves_no_more_than_evenness_asks_for(before: set[str], after: set[str]) -> None:
    old = shares_of({name: Member(STAGES) for name in before})
    new = shares_of({name: Member(STAGES, tuple(sorted(old.get(name, ())))) for name in after})
    for stage in STAGES:
        kept = sum(len(new[name] & old[name] & set(stage)) for name in before & after)
        least, rest = divmod(len(stage), len(after))
        owned = sorted((len(old[name] & set(stage)) for name in before & after), reverse=True)
        assert kept == sum(min(part, least + (place < rest)) for place, part in enumerate(owned))


def test_two_members_share_alike() -> None:
    shares = shares_of({name: Member((RAW[:8], FRAMES)) for name in "ab"})
    assert [parts(shares, stage) for stage in (RAW[:8], FRAMES)] == [[4, 4], [2, 2]]


def test_who_has_the_odd_raw_partition_has_fewer_frames() -> None:
    shares = shares_of({name: Member((RAW[:3], FRAMES[:1])) for name in "ab"})
    assert sorted(map(len, shares.values())) == [2, 2]


def test_members_without_work_get_none() -> None:
    assert shares_of({name: Member((RAW[:1],)) for name in "abc"}) == {"a": {RAW[0]}, "b": frozenset(), "c": frozenset()}
