"""Run after run: each seed is a story and a plan of faults; a broken law is reduced to the fewest faults that break it."""

import msgspec

from tests.simulation.faults import CELLS, Cell, Counts, a_plan, written
from tests.simulation.laws import judge, same
from tests.simulation.play import Play
from tests.simulation.story import a_story

_CALM = -1


class Failure(msgspec.Struct, frozen=True):
    """A law that a run broke: the story in a line, the faults that happened, the fact, and the fewest faults found that still break one."""

    seed: int
    facts: str
    trail: list[str]
    fact: str
    plan: list[Cell]


class Runs:
    """Counts what happened over many runs."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.number = 0
        self.failed = 0

    @property
    def rarest(self) -> int:
        """How often the rarest fault happened."""
        return min(self.counts[cell] for cell in CELLS)

    def one(self, seed: int, plan: list[Cell] | None = None) -> Failure | None:
        """Do the run of a seed; answer the law that it broke, if any."""
        chosen = plan if plan is not None else a_plan(seed)
        play, fact = attempt(seed, chosen)
        self.number += 1
        self.counts += play.world.counts
        if fact is None:
            return None
        self.failed += 1
        return _reduced(seed, chosen)


def attempt(seed: int, plan: list[Cell]) -> tuple[Play, str | None]:
    """Play a seed's story with and without faults; answer the disturbed run, and the fact when a law was broken."""
    story = a_story(seed)
    disturbed, calm = Play(story, seed, plan), Play(story, _CALM - seed, [])
    try:
        calm.run()
        expected = judge(calm)
        disturbed.run()
        same(judge(disturbed), expected)
    except AssertionError as error:
        return disturbed, f"{type(error).__name__}: {error}"
    return disturbed, None


def _reduced(seed: int, plan: list[Cell]) -> Failure:
    """Leave out one fault after the other as long as a law stays broken."""
    place = 0
    while place < len(plan):
        fewer = plan[:place] + plan[place + 1 :]
        if attempt(seed, fewer)[1] is not None:
            plan = fewer
        else:
            place += 1
    play, fact = attempt(seed, plan)
    return Failure(seed, a_story(seed).facts, play.world.trail, fact or "", plan)


def told(failure: Failure) -> str:
    """Tell a failure: what kind of run, what went wrong in it, the broken law and how to see it again."""
    trail = "".join([f"  {line}\n" for line in failure.trail])
    return f"seed {failure.seed}: {failure.facts}\n{trail}  {failure.fact[:2000]}\n  {replay_command(failure.seed, failure.plan)}"


def replay_command(seed: int, plan: list[Cell]) -> str:
    """Answer the command that repeats a run."""
    return f"python -m tests.simulation --seed {seed} --plan '{written(plan)}'"
