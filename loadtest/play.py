"""What every chaos run shares: its command line, its end within the time allowed, and the judgement by a process of its own."""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

Wanted = TypeVar("Wanted", bound=msgspec.Struct)


class ChaosError(Exception):
    """The run itself went wrong: a process ended that nobody killed, or did not answer."""


def parse(wanted: type[Wanted], arguments: Sequence[str], *, program: str, description: str | None) -> Wanted:
    """Read a command line that has an option for each field of a struct."""
    parser = argparse.ArgumentParser(prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in msgspec.structs.fields(wanted):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    return msgspec.convert(vars(parser.parse_args(arguments)), wanted)


async def played(play: Awaitable[None], *, seconds: float, end_all: Callable[[], Awaitable[None]]) -> bool:
    """Play within the time allowed, leaving no process behind; tell whether it came to its end."""
    try:
        async with asyncio.timeout(seconds):
            await play
    except TimeoutError:
        print(f"not done within {seconds:.0f} s")
        return False
    except ChaosError as error:
        print(error)
        return False
    finally:
        await end_all()
    return True


def judge(log: str, *, storm: Path, replay: Path) -> int:
    """Let a process of its own judge a log; answer its exit code."""
    command = (sys.executable, "-m", "loadtest.checker", log, "--storm", str(storm), "--replay", str(replay))
    return subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode
