"""Files from a real server on this machine: good, damaged, cut off, missing, and too slow."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from framework.data import DataError
from framework.download import Obtained, Published, Wait, fetch, find, gunzipped, obtain

CONTENT = bytes(range(256)) * 64
GOOD = gzip.compress(CONTENT)
FILE = Published("images", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
QUICK = Wait(connect=0.3, progress=0.3, total=0.8)  # seconds

Answer = Callable[[BaseHTTPRequestHandler, threading.Event], None]


class Server:
    """A server that answers each path as the test says, and lets go of what hangs when the test ends."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                with suppress(BrokenPipeError, ConnectionResetError):  # the client has given up, as it should
                    outer.answers[self.path](self, outer.over)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, path: str, answer: Answer) -> str:
        self.answers[path] = answer
        return f"http://127.0.0.1:{self.http.server_port}{path}"

    def close(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    running = Server()
    yield running
    running.close()


def giving(body: bytes, length: int | None = None) -> Answer:
    """Answer with a body, and with a length that may not be its own."""

    def answer(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def refusing(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_error(404)


def silent(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    over.wait(20)


def stalling(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    giving(GOOD[:100], length=len(GOOD))(handler, over)
    handler.wfile.flush()
    over.wait(20)


def dripping(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Send a byte at a time, each within any bound on progress."""
    giving(b"", length=len(GOOD))(handler, over)
    for position in range(len(GOOD)):
        if over.wait(0.02):
            return
        handler.wfile.write(GOOD[position : position + 1])


def closed_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_download_is_verified_kept_packed_and_found_again(server: Server, tmp_path: Path) -> None:
    url, kept = server.url("/images.gz", giving(GOOD)), tmp_path / "new" / "images.gz"
    assert obtain(FILE, [kept], [url], kept, QUICK) == Obtained(CONTENT, str(kept.parent))
    assert kept.read_bytes() == GOOD
    assert [entry.name for entry in kept.parent.iterdir()] == ["images.gz"]
    assert obtain(FILE, [kept], [url], kept, QUICK) == Obtained(CONTENT, str(kept.parent))
    assert server.asked == ["/images.gz"]


def test_the_sum_is_of_the_unpacked_bytes_so_that_any_packing_will_do(tmp_path: Path) -> None:
    for number, packed in enumerate([CONTENT, gzip.compress(CONTENT, 1, mtime=7), gzip.compress(CONTENT, 9, mtime=8)]):
        place = tmp_path / str(number)
        place.write_bytes(packed)
        assert find(FILE, [place]) == (CONTENT, place, ())


WRONG = bytes(len(CONTENT))
WRONG_SUM = hashlib.sha256(WRONG).hexdigest()[:12]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusing, "failed (HTTP 404 Not Found)"),
        (giving(GOOD[:-50], length=len(GOOD)), f"failed (cut off after {len(GOOD) - 50} of {len(GOOD)} bytes)"),
        (
            giving(GOOD[:-50]),
            "is a damaged gzip file (Compressed file ended before the end-of-stream marker was reached)",
        ),
        (
            giving(gzip.compress(WRONG)),
            f"is not the published file: sha256 {WRONG_SUM}… where {FILE.sha256[:12]}… was expected",
        ),
        (giving(CONTENT[:-1]), "is not the published file: 16,383 unpacked bytes where 16,384 were expected"),
        (
            giving(gzip.compress(bytes(10**7))),
            "is not the published file: more unpacked bytes where 16,384 were expected",
        ),
        (giving(bytes(60_000)), f"failed (more than {FILE.limit:,} bytes)"),
        (silent, "failed (no answer in 0.3 s)"),
        (stalling, "failed (nothing more in 0.3 s after 100 bytes)"),
    ],
    ids=["missing", "cut-off", "cut-off-unsaid", "wrong", "short", "bomb", "endless", "silent", "stalling"],
)
def test_a_bad_answer_is_named_never_kept_and_the_next_url_is_tried(
    answer: Answer, reason: str, server: Server, tmp_path: Path
) -> None:
    url, kept = server.url("/bad", answer), tmp_path / "images.gz"
    started = time.monotonic()
    with pytest.raises(DataError) as caught:
        fetch(FILE, [url], kept, QUICK)
    assert str(caught.value) == f"{url} {reason}"
    assert time.monotonic() - started < 3
    assert list(tmp_path.iterdir()) == []
    assert fetch(FILE, [url, server.url("/good", giving(GOOD))], kept, QUICK).content == CONTENT


def test_a_server_that_sends_a_byte_at_a_time_is_given_up_at_the_total_bound(server: Server, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DataError, match=r"/drip failed \(not finished in 0\.8 s: \d+ bytes\)$"):
        fetch(FILE, [server.url("/drip", dripping)], tmp_path / "images.gz", QUICK)
    assert 0.8 <= time.monotonic() - started < 3


def test_a_machine_without_a_server_or_a_file_says_where_it_looked(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}/images.gz"
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with pytest.raises(DataError) as caught:
        obtain(FILE, [ours / "images.gz", ours / "images", theirs / "images"], [url], ours / "images.gz", QUICK)
    assert str(caught.value) == f"images is not in {ours} or {theirs}; {url} failed (Connection refused)"


def test_a_damaged_file_is_named_passed_over_and_left_alone(server: Server, tmp_path: Path) -> None:
    damaged, good = tmp_path / "damaged.gz", tmp_path / "good.gz"
    damaged.write_bytes(gzip.compress(WRONG))
    said = f"{damaged} is not the published file: sha256 {WRONG_SUM}… where {FILE.sha256[:12]}… was expected"
    good.write_bytes(GOOD)
    assert obtain(FILE, [damaged, good], [], damaged, QUICK) == Obtained(CONTENT, str(tmp_path), (said,))

    url = server.url("/images.gz", giving(GOOD))
    in_the_way = f"{url} was downloaded and could not be kept: {damaged} is in the way: remove it"
    obtained = obtain(FILE, [damaged], [url], damaged, QUICK)
    assert obtained == Obtained(CONTENT, url.rpartition("/")[0], (said, in_the_way))
    assert damaged.read_bytes() == gzip.compress(WRONG)

    with pytest.raises(DataError) as caught:
        obtain(FILE, [damaged], [], damaged, QUICK)
    assert str(caught.value).startswith(said)


def test_a_file_that_another_process_has_just_downloaded_is_not_in_the_way(server: Server, tmp_path: Path) -> None:
    kept = tmp_path / "images.gz"

    def late(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
        kept.write_bytes(GOOD)
        giving(GOOD)(handler, over)

    assert obtain(FILE, [kept], [server.url("/images.gz", late)], kept, QUICK) == Obtained(CONTENT, str(tmp_path))


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(10**12)  # sparse: it takes no room on the disk
    assert find(FILE, [large]) == (
        b"",
        None,
        (f"{large} is not the published file: it has 1,000,000,000,000 bytes",),
    )


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert find(FILE, [tmp_path]) == (b"", None, (f"{tmp_path} cannot be read (Is a directory)",))


def test_a_directory_that_cannot_be_written_is_named_and_the_download_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")  # where the directory should be: not even a superuser can write below it
    url, kept = server.url("/images.gz", giving(GOOD)), tmp_path / "file" / "images.gz"
    obtained = obtain(FILE, [kept], [url], kept, QUICK)
    assert obtained.content == CONTENT
    assert obtained.remarks == (
        f"{url} was downloaded and could not be kept: {kept.parent} cannot be written (File exists)",
    )


def test_bytes_that_are_no_gzip_file_are_the_content() -> None:
    assert gunzipped(b"plain", 5) == b"plain"
