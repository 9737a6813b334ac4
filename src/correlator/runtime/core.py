"""The whole core in one piece: an intake and a machine for each domain, without a log between them."""

from collections.abc import Iterator

from correlator.correlate.machine import Effects, Machine
from correlator.frames.control import Control
from correlator.intake.output import IntakeOutput
from correlator.intake.pipeline import Intake
from correlator.intake.route import Router


class Core:
    """What a replay and a scenario judge by: `intake` takes a recording, and `machines`, one for each domain, take its frames.

    They publish nothing in between and no guesses: there is nobody who would wait for them.
    """

    def __init__(self, control: Control) -> None:
        self.intake = Intake("recording", control, is_recording=True)
        self.machines = [Machine(control, domain=domain, guesses=False, drafts=False) for domain in Router(control.topology).domains]

    def follow(self, output: IntakeOutput) -> Iterator[tuple[int, Effects]]:
        """Step machines through the frames of an output; yield what each step wants written, with the number of its machine."""
        for partition, frame in output.frames:
            yield partition, self.machines[partition].step(frame)
