"""Published files: found on this machine, or downloaded in a bounded time; their unpacked bytes verified by sha256."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import queue
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.data import DataError
from framework.files import atomic


def gunzipped(packed: bytes, size: int) -> bytes:
    """Return what a gzip file holds, or the bytes themselves when they are not one; never more than size + 1 bytes.

    Raises:
        ValueError: the gzip file is cut off or damaged.
    """
    if not packed.startswith(b"\x1f\x8b"):
        return packed
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            return stream.read(
                size + 1
            )  # one more than expected, so that a bomb is neither unpacked nor taken for good
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"a damaged gzip file ({error})") from error


@dataclass(frozen=True)
class Published:
    """A file that others published, known by what is in it and not by how it is packed.

    Args:
        name: what messages call it.
        sha256: the sum of its unpacked bytes, 64 hexadecimal digits.
        size: its unpacked bytes.
        unpack: (packed, size) → unpacked; raises ValueError, with the reason, for bytes that it cannot unpack.
    """

    name: str
    sha256: str
    size: int
    unpack: Callable[[bytes, int], bytes] = gunzipped

    @property
    def limit(self) -> int:
        """The most bytes that it may have when packed: text, the wordiest packing, takes two or three for one."""
        return 3 * self.size + 4096

    def verified(self, packed: bytes) -> bytes:
        """Return the unpacked bytes.

        Raises:
            ValueError: they are not the published ones; the message completes "this file is …".
        """
        content = self.unpack(packed, self.size)
        if len(content) != self.size:
            some = "more" if len(content) > self.size else f"{len(content):,}"
            raise ValueError(f"not the published file: {some} unpacked bytes where {self.size:,} were expected")
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise ValueError(f"not the published file: sha256 {found[:12]}… where {self.sha256[:12]}… was expected")
        return content


@dataclass(frozen=True)
class Obtained:
    """A file's verified bytes.

    Args:
        content: the unpacked bytes.
        folder: the folder that it was read from, or downloaded to, or the URL's when it could not be kept.
        remarks: what should be said of it: damaged files passed over, a download that could not be kept.
    """

    content: bytes
    folder: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wait:
    """The bounds of one download, in seconds.

    Args:
        connect: until the server's answer, looking up its name included.
        progress: between one piece and the next.
        total: for all of it.
    """

    connect: float = 5.0
    progress: float = 20.0
    total: float = 600.0


def obtain(
    published: Published, places: Sequence[Path], urls: Sequence[str], destination: Path, wait: Wait | None = None
) -> Obtained:
    """Return a file from the first place that has it undamaged, else from the first URL that does.

    Args:
        published: the file.
        places: where it may lie.
        urls: where it may be downloaded from.
        destination: where a download is kept.
        wait: the bounds of each download; those of `Wait()` unless told.

    Raises:
        DataError: it is nowhere to be had; the message names every place and URL, with the reason.
    """
    content, place, damaged = find(published, places)
    if place is not None:
        return Obtained(content, str(place.parent), damaged)
    folders = " or ".join(dict.fromkeys(str(place.parent) for place in places))
    reasons = damaged or (f"{published.name} is not in {folders}",)
    try:
        fetched = fetch(published, urls, destination, wait or Wait())
    except DataError as error:
        raise DataError("; ".join((*reasons, str(error)))) from error
    return Obtained(fetched.content, fetched.folder, damaged + fetched.remarks)


def find(published: Published, places: Iterable[Path]) -> tuple[bytes, Path | None, tuple[str, ...]]:
    """Look for a file on this machine.

    Returns:
        Its unpacked bytes and its path, or b"" and None; and a sentence for each damaged file that was passed over.
    """
    damaged: list[str] = []
    for place in places:
        try:
            if place.stat().st_size > published.limit:
                raise ValueError(f"not the published file: it has {place.stat().st_size:,} bytes")
            return published.verified(place.read_bytes()), place, tuple(damaged)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            damaged.append(f"{place} cannot be read ({error.strerror or error})")
        except ValueError as error:
            damaged.append(f"{place} is {error}")
    return b"", None, tuple(damaged)


def fetch(published: Published, urls: Sequence[str], destination: Path, wait: Wait) -> Obtained:
    """Download a file from the first URL that gives it undamaged, and keep it.

    A destination that exists is somebody's file, though not the right one: it is left alone.

    Raises:
        DataError: no URL gives it; the message names each, with the reason.
    """
    reasons = []
    for url in urls:
        try:
            packed = _download(url, published.limit, wait)
            content = published.verified(packed)
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = f"is {error}" if isinstance(error, ValueError) else f"failed ({_reason(error)})"
            reasons.append(f"{url} {said}")
            continue
        obstacle = _keep(published, packed, destination)
        if not obstacle:
            return Obtained(content, str(destination.parent))
        return Obtained(content, url.rpartition("/")[0], (f"{url} was downloaded and could not be kept: {obstacle}",))
    raise DataError("; ".join(reasons))


def _keep(published: Published, packed: bytes, destination: Path) -> str:
    """Store a download; return what stood in the way, or ""."""
    try:
        if not destination.exists():
            destination.parent.mkdir(parents=True, exist_ok=True)
            with atomic(destination) as file:
                file.write(packed)
        elif find(published, [destination])[1] is None:  # and not one that another process has just downloaded
            return f"{destination} is in the way: remove it"
    except OSError as error:
        return f"{destination.parent} cannot be written ({error.strerror or error})"
    return ""


def _download(url: str, limit: int, wait: Wait) -> bytes:
    """Return what a URL gives.

    The reading is done in a thread that is left behind when it is late: a socket's own timeout bounds neither the
    look-up of a name nor a server that sends one byte at a time.

    Raises:
        OSError, HTTPException: it gives nothing in time, or only a part.
    """
    pieces: queue.Queue[bytes | Exception | None] = queue.Queue()
    abandoned = threading.Event()
    threading.Thread(target=_read, args=(url, limit, wait, pieces, abandoned), daemon=True).start()
    content = bytearray()
    answered, deadline = False, time.monotonic() + wait.total
    try:
        while True:
            patience = wait.progress if answered else wait.connect
            piece = pieces.get(timeout=max(0.0, min(patience, deadline - time.monotonic())))
            if piece is None:
                return bytes(content)
            if isinstance(piece, Exception):
                raise piece
            answered = True
            content += piece
    except queue.Empty:
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not finished in {wait.total:g} s: {len(content):,} bytes") from None
        if answered:
            raise TimeoutError(f"nothing more in {wait.progress:g} s after {len(content):,} bytes") from None
        raise TimeoutError(f"no answer in {wait.connect:g} s") from None
    finally:
        abandoned.set()


def _read(
    url: str, limit: int, wait: Wait, pieces: queue.Queue[bytes | Exception | None], abandoned: threading.Event
) -> None:
    """Queue the pieces of what a URL gives: an empty one at the server's answer; at the end None, or an error."""
    request = urllib.request.Request(url, headers={"User-Agent": "fw"})  # some servers refuse urllib's own
    received = 0
    try:
        # The socket's timeout only ends a thread that was left behind; it is longer than the waits that end a download.
        with urllib.request.urlopen(request, timeout=wait.connect + wait.progress) as response:
            expected = response.headers.get("Content-Length")
            pieces.put(b"")
            while piece := response.read1(1 << 16):
                received += len(piece)
                if received > limit:
                    raise OSError(f"more than {limit:,} bytes")
                if abandoned.is_set():
                    return
                pieces.put(piece)
        # http.client takes a connection that closes early for the end of the file.
        if expected is not None and received != int(expected):
            raise OSError(f"cut off after {received:,} of {int(expected):,} bytes")
        pieces.put(None)
    except urllib.error.HTTPError as error:
        error.close()
        pieces.put(OSError(f"HTTP {error.code} {error.reason}"))
    except (OSError, http.client.HTTPException, ValueError) as error:
        pieces.put(error)


def _reason(error: Exception) -> str:
    """Return an error in a few words: "Connection refused"."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(error).__name__
