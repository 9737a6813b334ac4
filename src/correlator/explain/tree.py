"""Tree: an incident's part of the graph as plain text, the root first and what it affects below it."""

from collections.abc import Iterator

from correlator.explain.case import clock_of, gap_between, lasting
from correlator.explain.incident import listed
from correlator.explain.part import Part, Role, Spot


def drawn_as_text(part: Part) -> str:
    """Write the part as a tree of how the fault spread; what the root does not explain stands below, with what it depends on."""
    told = part.told
    lines = [told.title, f"{told.state} · {told.priority} · {told.owner or 'owner unknown'} · {told.id}", ""]
    if part.root is not None and part.root in part.spots:
        lines += _branch(part, part.root, _children(part), first="", rest="")
    beside = [spot for spot in part.spots.values() if spot.role is Role.BESIDE or _is_adrift(part, spot)]
    if beside:
        lines += ["", "Not explained by it:" if part.root is not None else "Alerts:"]
        lines += [f"  {_words(spot, part)}{_needs(part, spot)}" for spot in beside]
    if part.at_risk:
        lines += ["", f"Depends on it and is quiet: {listed(part.at_risk)}"]
    if part.left_out:
        lines += ["", f"{part.left_out} more entities with alerts are not shown"]
    return "\n".join(lines) + "\n"


_Children = dict[str, list[str]]


def _children(part: Part) -> _Children:
    """Answer what the fault went to next from each entity, in the order of the alerts."""
    children, placed = _Children(), {part.root: None}
    for link in sorted([link for link in part.links if link.spread], key=lambda link: (_since(part, link.target), link.target)):
        if link.target not in placed:
            placed[link.target] = None
            children.setdefault(link.source, []).append(link.target)
    return children


def _since(part: Part, name: str) -> str:
    return part.spots[name].since or "~"


def _branch(part: Part, name: str, children: _Children, *, first: str, rest: str) -> Iterator[str]:
    yield f"{first}{_words(part.spots[name], part)}"
    below = children.get(name, [])
    for number, child in enumerate(below, 1):
        is_last = number == len(below)
        lead = f"{'└' if is_last else '├'}─ "
        yield from _branch(part, child, children, first=f"{rest}{lead}", rest=f"{rest}{'   ' if is_last else '│  '}")


def _is_adrift(part: Part, spot: Spot) -> bool:
    """Answer whether the root explains an entity to which no way leads."""
    return spot.role is Role.AFFECTED and not any(link.spread and link.target == spot.name for link in part.links)


def _words(spot: Spot, part: Part) -> str:
    if spot.role is Role.QUIET:
        return f"{spot.name}  (no alert){_owned(spot)}"
    tag = f"  ROOT CAUSE, confidence {part.told.root_causes[0].confidence:.0%}" if spot.role is Role.ROOT else ""
    alerts = f"{spot.condition}" + (f" and {spot.alerts - 1} more" if spot.alerts > 1 else "")
    return f"{spot.name}{tag}  {clock_of(spot.since)}{after_root(spot, part)}  {alerts}{_owned(spot)}"


def _owned(spot: Spot) -> str:
    return f"  [{spot.owner}]" if spot.owner else ""


def after_root(spot: Spot, part: Part) -> str:
    """Say how long after the root an entity alerted, nothing of the root itself."""
    if part.root is None or spot.name == part.root or part.root not in part.spots:
        return ""
    gap = gap_between(part.spots[part.root].since, spot.since)
    if gap is None:
        return ""
    return f" (+{lasting(gap)})" if gap >= 0 else f" ({lasting(-gap)} before)"


def _needs(part: Part, spot: Spot) -> str:
    needs = [link.source for link in part.links if link.target == spot.name and link.is_declared]
    return f"  depends on {listed(needs)}" if needs else ""
