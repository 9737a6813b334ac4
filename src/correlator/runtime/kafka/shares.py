"""Shares: how the members of a group divide partitions, stage by stage, as evenly as can be and with few that move."""

from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec

from correlator.runtime.ports import Share, TopicPartition


class Member(msgspec.Struct, frozen=True):
    """What one member tells the group: the partitions it can work on, by stage, and those it works on now."""

    stages: tuple[tuple[TopicPartition, ...], ...]
    owned: tuple[TopicPartition, ...] = ()


def shares_of(members: Mapping[str, Member]) -> dict[str, Share]:
    """Divide what the members can work on. Every partition that anybody can work on goes to exactly one.

    The parts of a stage differ by at most one where all can work on the same; who owns a partition keeps it as far as that allows.
    """
    divided: dict[str, list[TopicPartition]] = {name: [] for name in sorted(members)}
    for stage in range(max([len(member.stages) for member in members.values()], default=0)):
        for name, part in _divided(members, stage, {name: len(parts) for name, parts in divided.items()}).items():
            divided[name] += part
    return {name: frozenset(parts) for name, parts in divided.items()}


def _divided(members: Mapping[str, Member], stage: int, before: Mapping[str, int]) -> dict[str, list[TopicPartition]]:
    """Divide one stage; of two with equal parts the next goes to the one that has less of the stages `before`."""
    able = {name: members[name].stages[stage] if stage < len(members[name].stages) else () for name in before}
    parts: dict[str, list[TopicPartition]] = {name: [] for name in before}

    def weight(name: str) -> tuple[int, int, str]:
        return len(parts[name]), before[name], name

    unowned = dict.fromkeys(sorted(chain.from_iterable(able.values())))
    for name, part in parts.items():
        for tp in members[name].owned:
            if tp in unowned and tp in able[name]:
                part.append(tp)
                del unowned[tp]
    for tp in unowned:
        parts[min((name for name in parts if tp in able[name]), key=weight)].append(tp)
    while (move := _move(parts, able, sorted(parts, key=weight))) is not None:
        tp, giver, taker = move
        parts[giver].remove(tp)
        parts[taker].append(tp)
    return parts


def _move(
    parts: Mapping[str, Sequence[TopicPartition]], able: Mapping[str, Sequence[TopicPartition]], by_weight: Sequence[str]
) -> tuple[TopicPartition, str, str] | None:
    """Find a partition that makes the parts more even, with its giver and its taker."""
    for taker in by_weight:
        for giver in reversed(by_weight):
            if len(parts[giver]) - len(parts[taker]) <= 1:
                break
            for tp in reversed(parts[giver]):
                if tp in able[taker]:
                    return tp, giver, taker
    return None
