"""The text to learn from: TinyShakespeare by name, the user's own file or folder, or the stand-in that the package ships."""

from __future__ import annotations

import codecs
import hashlib
import http.client
import lzma
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
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
    files: int = 1  # how many were read
    passed_over: tuple[str, ...] = ()  # what else lies in a folder of texts, and why it was not read, for people

    @property
    def sha256(self) -> str:
        """The hash of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load(name: str = TINYSHAKESPEARE) -> Corpus:
    """Return the corpus of that name: `tinyshakespeare`, `stand-in`, or the path of a text file or of a folder of them.

    Without TinyShakespeare and without a network, return the stand-in with a note that says so.
    InputError if nothing of that name exists, or if it is not a text.
    """
    if name == STAND_IN:
        return stand_in()
    if name == TINYSHAKESPEARE:
        return tinyshakespeare()
    path = _path(name)
    if path.is_dir():
        return _read_folder(path)
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
    return _decoded(path, data).replace("\r\n", "\n").replace("\r", "\n")  # line ends of Windows, and of old Macs


def _decoded(path: Path, data: bytes) -> str:
    """Return the bytes decoded: UTF-8, or UTF-16 if they begin with its mark. InputError says how to mend others."""
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not data.startswith(codecs.BOM_UTF32_LE)
    if b"\0" in data and not marked:
        fewer, more = sorted((data[::2].count(0), data[1::2].count(0)))
        if more > len(data) / 4 and fewer * 10 < more:  # an ASCII letter in UTF-16 is its own byte and a zero
            raise InputError(f"{path} seems to be UTF-16 without its mark; save it as UTF-8 and try again")
        raise InputError(f"{path} is binary (it holds zero bytes); give a UTF-8 text file")
    encoding, name = ("utf-16", "UTF-16") if marked else ("utf-8-sig", "UTF-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not {name} (byte {error.start}); save it as UTF-8 and try again") from error


def _read_folder(folder: Path) -> Corpus:
    """Return one text of all text files below a folder, in the order of their paths. Hidden files and folders do not count."""
    files = [file for file in sorted(_files_below(folder)) if file.suffix.lower() in SUFFIXES]
    empty = [file for file in files if file.stat().st_size == 0]
    texts = [_read_text(file) for file in files if file not in empty or empty == files]  # one of them says that it is empty
    if not texts:
        raise InputError(f"{folder} holds no text; put {' or '.join(SUFFIXES)} files into it")
    passed_over = [f"{file.relative_to(folder)} (empty)" for file in empty]
    others = sum(1 for _ in _files_below(folder)) - len(files)
    if others:
        passed_over.append(f"{others:,} {'file that is' if others == 1 else 'files that are'} not {' or '.join(SUFFIXES)}")
    return Corpus(str(folder.resolve()), "\n".join(texts), files=len(texts), passed_over=tuple(passed_over))


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder that are not hidden. Linked folders are entered, each folder once."""
    entered = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        entered.add(Path(here).resolve())
        folders[:] = [name for name in sorted(folders) if name[0] != "." and (Path(here) / name).resolve() not in entered]
        yield from (path for name in files if name[0] != "." and (path := Path(here) / name).is_file())


def stand_in(note: str = "asked for by name") -> Corpus:
    """Return the stand-in: about a megabyte that this project's own GPT wrote; `stand_in/README.md` says how."""
    file = resources.files(__package__).joinpath("stand_in", "stand_in.txt.xz")
    if not file.is_file():
        raise InputError(f"the stand-in text {file} is missing from this installation; install gptladder again")
    packed = file.read_bytes()
    return Corpus(STAND_IN, lzma.decompress(packed).decode(), stand_in=True, note=note)


def cache_folder() -> Path | None:
    """Return where a downloaded text is kept; None for a user without a home."""
    try:
        folder = platformdirs.user_cache_path("gptladder")
    except RuntimeError:  # older versions return ~/.cache instead, which is a path below the present folder
        return None
    return folder if folder.is_absolute() else None


def local_tinyshakespeare() -> Corpus | None:
    """Return TinyShakespeare from $GPTLADDER_DATA (a folder, or the file itself) or from the cache, None if it is in neither.

    InputError if the file that $GPTLADDER_DATA leads to is not TinyShakespeare.
    """
    given = os.environ.get("GPTLADDER_DATA")
    if given:
        file = _path(given) if _path(given).is_file() else _path(given) / FILE
        if file.is_file():
            data = file.read_bytes()
            _verify(data, f"{file} (found by $GPTLADDER_DATA)", "put the real file there or unset the variable")
            return Corpus(TINYSHAKESPEARE, data.decode())
    cache = cache_folder()
    if cache and (cache / FILE).is_file() and hashlib.sha256(data := (cache / FILE).read_bytes()).hexdigest() == SHA256:
        return Corpus(TINYSHAKESPEARE, data.decode())
    return None


def tinyshakespeare() -> Corpus:
    """Return TinyShakespeare from this machine, or from its public home (then it is kept in the cache).

    If neither has it, return the stand-in with a note that says why.
    """
    if (local := local_tinyshakespeare()) is not None:
        return local
    try:
        data = download(URL)
    except OSError as error:
        given = os.environ.get("GPTLADDER_DATA")
        missing = f"GPTLADDER_DATA={given} holds no {FILE}, and " if given else ""
        return stand_in(f"{missing}TinyShakespeare could not be downloaded ({getattr(error, 'reason', error)})")
    _verify(data, f"the download from {URL}", "nothing was kept; try another network, or use --corpus stand-in")
    if cache := cache_folder():
        with suppress(OSError):  # a cache that cannot be written costs a download each time, no more
            cache.mkdir(parents=True, exist_ok=True)
            write_atomically(cache / FILE, data)
    return Corpus(TINYSHAKESPEARE, data.decode())


def _verify(data: bytes, what: str, cure: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise InputError(f"{what} is not TinyShakespeare: sha256 {found[:12]}..., expected {SHA256[:12]}...; {cure}")


def download(url: str) -> bytes:
    """Return what lies at an address, in one try: at most 20 s in all and 5 s for a connection or a silence.

    OSError if it does not come. A thread of its own does it, since looking up a name may hang without any limit.
    """
    result: queue.SimpleQueue[bytes | OSError] = queue.SimpleQueue()
    deadline = time.monotonic() + TOTAL_SECONDS

    def fetch() -> None:
        try:
            with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as response:
                data = b""
                while chunk := response.read1(1 << 16):
                    if time.monotonic() > deadline:
                        return  # nobody waits any more, and half a text is of no use
                    data += chunk
            result.put(data)
        except urllib.error.HTTPError as error:  # 404 and the like: an answer, still open
            error.close()
            result.put(error)
        except OSError as error:
            result.put(error)
        except http.client.HTTPException as error:  # raised by an answer that is not HTTP; not an OSError
            result.put(OSError(f"no web server there: {error!r}"))

    threading.Thread(target=fetch, daemon=True).start()
    try:
        outcome = result.get(timeout=TOTAL_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"nothing came within {TOTAL_SECONDS:.0f} s") from None
    if isinstance(outcome, OSError):
        raise outcome
    return outcome
