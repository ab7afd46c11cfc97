"""A small corpus in LibriSpeech's layout, and an HTTP server that misbehaves on demand."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.randomness import derive_seed, generator

WORDS = ("THE", "GRID", "READS", "A", "SPECTRUM", "IN", "TIME", "IT'S", "LONG", "SINCE", "VOICES", "WERE", "HEARD")


def speech_like(seconds: float, *keys: int | str, sample_rate: int = 16000) -> np.ndarray:
    """Noise in bursts, up to half the sample rate: neither silent nor clipped nor band-limited."""
    count = round(seconds * sample_rate)
    bursts = 0.55 + 0.45 * np.sin(2 * np.pi * 3 * np.arange(count) / sample_rate)
    return (0.1 * bursts * generator("speech", *keys).standard_normal(count)).clip(-0.9, 0.9).astype(np.float32)


@dataclass
class Corpus:
    """A LibriSpeech layout under construction."""

    root: Path

    def add(self, part: str, speaker: str, number: int, text: str | None = None, seconds: float = 2.0) -> Path:
        """Add one utterance with its transcript; returns the audio file."""
        identifier = f"{speaker}-1-{number:04d}"
        # Of this kind of generator the draws give dev no letter that train lacks.
        words = np.random.Generator(np.random.PCG64(derive_seed("words", identifier))).choice(WORDS, 4)
        path = self.root / part / speaker / "1" / f"{identifier}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speech_like(seconds, identifier), 16000)
        with (path.parent / f"{speaker}-1.trans.txt").open("a", encoding="utf-8") as file:
            file.write(f"{identifier} {' '.join(words) if text is None else text}\n")
        return path


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """train-a: four speakers with three utterances each; dev-a: two with two."""
    corpus = Corpus(tmp_path / "LibriSpeech")
    for speaker in ("11", "12", "13", "14"):
        for number in range(3):
            corpus.add("train-a", speaker, number, seconds=1.5 + 0.25 * number)
    for speaker in ("21", "22"):
        for number in range(2):
            corpus.add("dev-a", speaker, number)
    return corpus


@dataclass
class Answer:
    """How the server answers one request.

    Args:
        status: anything but 200 is sent without content.
        cut: the connection is closed after so many bytes.
        ranges: whether `Range` is honoured; else the whole file is sent.
        location: the target of a redirect.
        headers: further ones.
        content: what is sent instead of the server's content.
        tag: the ETag; None sends none.
        length: whether a Content-Length is sent.
    """

    status: int = 200
    cut: int | None = None
    ranges: bool = True
    location: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    tag: str | None = '"one"'
    length: bool = True


@dataclass
class Server:
    """Serves `content` under every path; answers requests by `script` first, then by `Answer()`."""

    url: str
    content: bytes
    script: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    of_path: Callable[[str], bytes] | None = None

    @property
    def md5(self) -> str:
        return hashlib.md5(self.content).hexdigest()

    def next_answer(self) -> Answer:
        return self.script.pop(0) if self.script else Answer()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def do_GET(self) -> None:
        self.state.requests.append((self.path, dict(self.headers)))
        answer = self.state.next_answer()
        self.close_connection = True
        if answer.location is not None:
            return self._headers(answer.status, {"Location": answer.location, "Content-Length": "0"})
        if answer.status != 200:
            return self._headers(answer.status, {"Content-Length": "0", **answer.headers})
        content = answer.content if answer.content is not None else self.state.content
        if self.state.of_path is not None:
            content = self.state.of_path(self.path)
        self._send(answer, content)

    def _send(self, answer: Answer, content: bytes) -> None:
        headers = dict(answer.headers)
        if answer.tag is not None:
            headers["ETag"] = answer.tag
        status, start, total = 200, 0, len(content)
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, answer.tag, answer.headers.get("Last-Modified"))
        if match and answer.ranges and same:
            start = int(match[1])
            if start >= total:
                return self._headers(416, {"Content-Range": f"bytes */{total}", "Content-Length": "0"})
            status, headers["Content-Range"] = 206, f"bytes {start}-{total - 1}/{total}"
        if answer.length:
            headers["Content-Length"] = str(total - start)
        self._headers(status, headers)
        end = total if answer.cut is None else min(total, start + answer.cut)
        self.wfile.write(content[start:end])

    def _headers(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A local server of 5,000,000 bytes that no proxy stands before."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server("", generator("content").bytes(5_000_000))
    handler = type("Handler", (_Handler,), {"state": state})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def answer() -> type[Answer]:
    """The class of scripted answers."""
    return Answer
