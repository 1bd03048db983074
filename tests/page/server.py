r"""The page's server as a process, for tests that look at it from outside."""
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.test_layers import ROOT

# Under load everything takes long; what hangs is to end all the same.
DEADLINE = 300.


class Server:
    r"""`python gradio/app.py` on a free port of 127.0.0.1, until it is left.

    Args:
        folder: of all that it keeps, and of its log.
    """

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder / 'printed'
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        self.url = f'http://127.0.0.1:{self.port}'
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> 'Server':
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        r"""Start it, and wait until it serves."""
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                [sys.executable, 'gradio/app.py', '--port', str(self.port),
                 '--out', self.folder / 'page'], cwd=ROOT, stdout=log,
                stderr=log, start_new_session=True,
                env={**os.environ, 'PYTHONUNBUFFERED': '1'})
        deadline = time.monotonic() + DEADLINE
        while 'The page is at' not in (said := self.log.read_text('utf-8')):
            if self.process.poll() is not None or \
                    time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f'The server did not start: {said}')
            time.sleep(0.1)

    def kill(self) -> None:
        r"""As `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        r"""As Ctrl-C does, and by force where that does not help."""
        try:
            self._end(signal.SIGINT)
        except subprocess.TimeoutExpired:
            self.kill()

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, how)
            self.process.wait(60)
