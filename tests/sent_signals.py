"""Signals that a test sends to itself."""

import os
import threading
import time
from pathlib import Path


def signal_when_there(path: Path, signum: int) -> None:
    """Send a signal to this process once a file is there, from a thread."""

    def send() -> None:
        while not path.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signum)

    threading.Thread(target=send, daemon=True).start()
