"""Finds the text to learn from: TinyShakespeare by name, the user's own file or folder, or the stand-in shipped with us."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import platformdirs

from .errors import InputError
from .files import write_atomically

TINYSHAKESPEARE = "tinyshakespeare"
STAND_IN = "stand-in"
URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
FILE = "tinyshakespeare.txt"
CONNECT_SECONDS, TOTAL_SECONDS = 5.0, 20.0
SUFFIXES = (".txt", ".md")


@dataclass(frozen=True)
class Corpus:
    """A text, where it came from, and the hash that tells whether it is still the same."""

    name: str
    text: str
    stand_in: bool = False
    note: str = ""  # why the stand-in was taken, for people

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load(name: str = TINYSHAKESPEARE) -> Corpus:
    """The corpus of that name: `tinyshakespeare`, `stand-in`, or the path of a text file or of a folder of them.

    Without TinyShakespeare and without a network it is the stand-in, with a note that says so.
    InputError if there is no such text, or if it is no text.
    """
    if name == STAND_IN:
        return stand_in()
    if name == TINYSHAKESPEARE:
        return tinyshakespeare()
    path = _path(name)
    if path.is_dir():
        return Corpus(str(path.resolve()), _read_folder(path))
    if path.is_file():
        return Corpus(str(path.resolve()), _read_text(path))
    raise InputError(f"no corpus {name!r}; give {TINYSHAKESPEARE}, {STAND_IN}, or the path of a text file or folder")


def _path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # a ~ that is nobody's home
        return Path(name)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a readable text file") from error
    if not data:
        raise InputError(f"{path} is empty; give a text of at least a few thousand characters")
    if b"\0" in data:
        raise InputError(f"{path} is binary (it holds zero bytes); give a UTF-8 text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8 and try again") from error
    return text.replace("\r\n", "\n")


def _read_folder(folder: Path) -> str:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise InputError(f"{folder} holds no text; put {' or '.join(SUFFIXES)} files into it")
    return "\n".join(_read_text(file) for file in files)


def stand_in(note: str = "asked for by name") -> Corpus:
    """About a megabyte that this project's own GPT wrote; `stand_in/README.md` says how."""
    file = resources.files(__package__).joinpath("stand_in", "stand_in.txt.xz")
    if not file.is_file():
        raise InputError(f"the stand-in text {file} is missing from this installation; install gptladder again")
    packed = file.read_bytes()
    return Corpus(STAND_IN, lzma.decompress(packed).decode(), stand_in=True, note=note)


def cache_folder() -> Path:
    """Where a downloaded text is kept."""
    return platformdirs.user_cache_path("gptladder")


def local_tinyshakespeare() -> Corpus | None:
    """TinyShakespeare from $GPTLADDER_DATA, else from the cache, else None. InputError if the file found so is another."""
    given = os.environ.get("GPTLADDER_DATA")
    if given and (file := _path(given) / FILE).is_file():
        data = file.read_bytes()
        _verify(data, f"{file} (found by $GPTLADDER_DATA)", "put the real file there or unset the variable")
        return Corpus(TINYSHAKESPEARE, data.decode())
    cached = cache_folder() / FILE
    if cached.is_file() and hashlib.sha256(data := cached.read_bytes()).hexdigest() == SHA256:
        return Corpus(TINYSHAKESPEARE, data.decode())
    return None


def tinyshakespeare() -> Corpus:
    """From this machine, else from its public home (then kept in the cache), else the stand-in with a note that says why."""
    if (local := local_tinyshakespeare()) is not None:
        return local
    try:
        data = download(URL)
    except OSError as error:
        given = os.environ.get("GPTLADDER_DATA")
        missing = f"GPTLADDER_DATA={given} holds no {FILE}, and " if given else ""
        return stand_in(f"{missing}TinyShakespeare could not be downloaded ({getattr(error, 'reason', error)})")
    _verify(data, f"the download from {URL}", "nothing was kept; try another network, or use --corpus stand-in")
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_atomically(cache_folder() / FILE, data)
    except OSError:
        pass  # a cache that cannot be written costs a download each time, no more
    return Corpus(TINYSHAKESPEARE, data.decode())


def _verify(data: bytes, what: str, cure: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise InputError(f"{what} is not TinyShakespeare: sha256 {found[:12]}..., expected {SHA256[:12]}...; {cure}")


def download(url: str) -> bytes:
    """One try, at most 20 s in all and 5 s for a connection or a silence. OSError when it does not come.

    In a thread of its own, since looking up a name may hang without any limit.
    """
    result: queue.SimpleQueue[bytes | OSError] = queue.SimpleQueue()
    deadline = time.monotonic() + TOTAL_SECONDS

    def fetch() -> None:
        try:
            with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as response:
                data = b""
                while chunk := response.read1(1 << 16):
                    if time.monotonic() > deadline:
                        return  # nobody waits any more, and half a text is none
                    data += chunk
            result.put(data)
        except urllib.error.HTTPError as error:  # 404 and the like: an answer, still open
            error.close()
            result.put(error)
        except OSError as error:
            result.put(error)
        except http.client.HTTPException as error:  # an answer that is no HTTP is no OSError
            result.put(OSError(f"no web server there: {error!r}"))

    threading.Thread(target=fetch, daemon=True).start()
    try:
        outcome = result.get(timeout=TOTAL_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"nothing came within {TOTAL_SECONDS:.0f} s") from None
    if isinstance(outcome, OSError):
        raise outcome
    return outcome
