"""Processes that must not outlive who started them, not even when that one is killed."""

import subprocess


class Leash:
    """Kills a process when we are gone, however that happened, until it is told that the process ended.

    A small shell waits for the end of a pipe whose other end is ours alone. (Linux could send the signal by itself, but goes by the thread
    that started the process.)
    """

    def __init__(self, process: int) -> None:
        self._watch = subprocess.Popen(["sh", "-c", 'read -r _; kill -9 "$0"', str(process)], stdin=subprocess.PIPE, start_new_session=True)

    def end(self) -> None:
        """Stop watching: call it when the process has ended, since its number may become another's."""
        assert self._watch.stdin is not None, "started with a pipe"
        self._watch.kill()
        self._watch.wait()
        self._watch.stdin.close()
