"""Where the text comes from, in which order, and what is refused."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import platformdirs
import pytest

from gptladder import corpus
from gptladder.corpus import Corpus
from gptladder.errors import InputError

FOLDER_OF_THE_CACHE = corpus.cache_folder  # before conftest.py replaces it
TEXT = "First Citizen:\nSpeak, speak.\n"
ALPHABET = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # TinyShakespeare's 65 characters


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's cache folder, not made yet; TEXT plays TinyShakespeare, and no $GPTLADDER_DATA is set."""
    monkeypatch.setattr(corpus, "cache_folder", lambda: tmp_path / "cache" / "gptladder")
    monkeypatch.setattr(corpus, "SHA256", hashlib.sha256(TEXT.encode()).hexdigest())
    monkeypatch.setattr(corpus, "stand_in", lambda note="": Corpus(corpus.STAND_IN, "other", stand_in=True, note=note))
    monkeypatch.delenv("GPTLADDER_DATA", raising=False)
    return tmp_path / "cache" / "gptladder"


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/input.txt", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sends(text: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The public home, serving TEXT: the paths it was asked for."""
    with serving(sends(TEXT)) as (url, asked):
        monkeypatch.setattr(corpus, "URL", url)
        yield asked


# --- TinyShakespeare: $GPTLADDER_DATA, cache, download, stand-in ---


def test_gptladder_data_comes_first(cache: Path, home: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / corpus.FILE).write_text(TEXT)
    monkeypatch.setenv("GPTLADDER_DATA", str(tmp_path))
    assert corpus.load() == Corpus(corpus.TINYSHAKESPEARE, TEXT)
    assert not home
    assert not cache.exists()


def test_gptladder_data_may_name_the_file_itself(cache: Path, home: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "input.txt").write_text(TEXT)
    monkeypatch.setenv("GPTLADDER_DATA", str(tmp_path / "input.txt"))
    assert corpus.load() == Corpus(corpus.TINYSHAKESPEARE, TEXT)
    assert not home


def test_a_user_without_a_home_has_no_cache_and_downloads(cache: Path, home: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "cache_folder", FOLDER_OF_THE_CACHE)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: Path("~/.cache/gptladder"))
    assert corpus.cache_folder() is None

    def no_home(_: str) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(platformdirs, "user_cache_path", no_home)
    assert corpus.cache_folder() is None
    assert corpus.load().text == TEXT
    assert len(home) == 1


def test_then_the_cache(cache: Path, home: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    cache.mkdir(parents=True)
    (cache / corpus.FILE).write_text(TEXT)
    monkeypatch.setenv("GPTLADDER_DATA", str(tmp_path))  # a folder without the file
    assert corpus.load() == Corpus(corpus.TINYSHAKESPEARE, TEXT)
    assert not home


def test_then_the_download_once(cache: Path, home: list[str]):
    assert corpus.load() == corpus.load() == Corpus(corpus.TINYSHAKESPEARE, TEXT)
    assert len(home) == 1
    assert [file.name for file in cache.iterdir()] == [corpus.FILE]
    assert (cache / corpus.FILE).read_text() == TEXT


def test_then_the_stand_in_which_says_why(cache: Path):
    found = corpus.load()
    assert (found.name, found.stand_in) == (corpus.STAND_IN, True)
    assert "could not be downloaded" in found.note
    assert "refused" in found.note
    assert not cache.exists()


def test_the_note_names_a_gptladder_data_that_leads_nowhere(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GPTLADDER_DATA", str(tmp_path / "nowhere"))
    assert f"GPTLADDER_DATA={tmp_path / 'nowhere'} holds no {corpus.FILE}" in corpus.load().note


def test_a_wrong_text_in_gptladder_data_is_refused(
    cache: Path, home: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / corpus.FILE).write_text(TEXT + "!")
    monkeypatch.setenv("GPTLADDER_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"GPTLADDER_DATA.* is not TinyShakespeare: sha256"):
        corpus.load()
    assert not home


def test_a_download_that_does_not_match_is_refused_and_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(sends("<html>Please log in to this hotel</html>")) as (url, _):
        monkeypatch.setattr(corpus, "URL", url)
        with pytest.raises(InputError, match=r"is not TinyShakespeare: sha256 .* expected .* nothing was kept"):
            corpus.load()
    assert not cache.exists()


def test_a_corrupt_cache_is_downloaded_again(cache: Path, home: list[str]):
    cache.mkdir(parents=True)
    (cache / corpus.FILE).write_text(TEXT[:-5])
    assert corpus.load().text == TEXT
    assert len(home) == 1
    assert (cache / corpus.FILE).read_text() == TEXT


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_next_download(cache: Path, home: list[str], tmp_path: Path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert corpus.load().text == corpus.load().text == TEXT
    assert len(home) == 2


def test_a_missing_page_is_one_try_and_then_the_stand_in(cache: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(lambda handler: handler.send_error(404)) as (url, asked):
        monkeypatch.setattr(corpus, "URL", url)
        assert "Not Found" in corpus.load().note
    assert len(asked) == 1


def test_a_server_that_talks_nonsense_means_the_stand_in_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(lambda handler: handler.wfile.write(b"what?\r\n\r\n")) as (url, _):
        monkeypatch.setattr(corpus, "URL", url)
        began = time.monotonic()
        assert corpus.load().stand_in
    assert time.monotonic() - began < 2


def test_a_server_that_says_nothing_means_the_stand_in_after_the_time_limit(cache: Path, monkeypatch: pytest.MonkeyPatch):
    over = threading.Event()
    monkeypatch.setattr(corpus, "TOTAL_SECONDS", 0.3)
    with serving(lambda _: over.wait(10) and None) as (url, _):
        monkeypatch.setattr(corpus, "URL", url)
        began = time.monotonic()
        found = corpus.load()
        assert time.monotonic() - began < 2
        over.set()
    assert found.stand_in
    assert "nothing came within" in found.note


def test_a_server_that_never_ends_means_the_stand_in_after_the_time_limit(cache: Path, monkeypatch: pytest.MonkeyPatch):
    def dribble(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.02):
            handler.wfile.write(b"x")

    over = threading.Event()
    monkeypatch.setattr(corpus, "TOTAL_SECONDS", 0.3)
    with serving(dribble) as (url, _):
        monkeypatch.setattr(corpus, "URL", url)
        began = time.monotonic()
        assert corpus.load().stand_in
        assert time.monotonic() - began < 2
        over.set()


def test_a_connection_that_is_not_taken_means_the_stand_in(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "CONNECT_SECONDS", 0.2)
    with socket.socket() as silent:  # listens, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(corpus, "URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        began = time.monotonic()
        assert "timed out" in corpus.load().note
    assert time.monotonic() - began < 2


def test_the_time_limits_are_five_and_twenty_seconds():
    assert (corpus.CONNECT_SECONDS, corpus.TOTAL_SECONDS) == (5, 20)


def test_the_real_text_is_what_its_hash_says(tinyshakespeare: Corpus):
    assert tinyshakespeare.sha256 == corpus.SHA256
    assert len(tinyshakespeare.text) == 1_115_394
    assert "".join(sorted(set(tinyshakespeare.text))) == ALPHABET


# --- one's own text ---


def test_a_file_of_ones_own(tmp_path: Path):
    file = tmp_path / "mine.txt"
    file.write_text("Grüße, Welt: 你好\n", encoding="utf-8")
    assert corpus.load(str(file)) == Corpus(str(file), "Grüße, Welt: 你好\n")


def test_a_name_stays_good_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    name = corpus.load("mine.txt").name
    monkeypatch.chdir("/")
    assert corpus.load(name).text == "text"


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.txt").write_text("text")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert corpus.load("~/mine.txt").text == "text"


def test_the_byte_order_mark_and_carriage_returns_are_no_characters_of_the_text(tmp_path: Path):
    (tmp_path / "windows.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert corpus.load(str(tmp_path / "windows.txt")).text == "one\ntwo\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_an_editor_saves_as_unicode_is_read(encoding: str, tmp_path: Path):
    (tmp_path / "mine.txt").write_bytes("naïve 你好\r\n".encode(encoding))
    assert corpus.load(str(tmp_path / "mine.txt")).text == "naïve 你好\n"


def test_line_ends_of_old_macs_are_line_ends(tmp_path: Path):
    (tmp_path / "mac.txt").write_bytes(b"one\rtwo\r\rthree\r\nfour\n")
    assert corpus.load(str(tmp_path / "mac.txt")).text == "one\ntwo\n\nthree\nfour\n"


def test_in_a_folder_hidden_files_do_not_count_and_the_rest_is_said(tmp_path: Path):
    hidden = ("._a.txt", ".venv/lib/licence.txt", ".git/description.md", "b/.cache/c.txt")
    for name in hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b" / "d.TXT").write_text("second")
    (tmp_path / "b" / "empty.md").touch()
    (tmp_path / "picture.png").write_bytes(b"png")
    found = corpus.load(str(tmp_path))
    assert (found.text, found.files) == ("first\nsecond", 2)
    assert found.passed_over == (f"{Path('b') / 'empty.md'} (empty)", "1 file that is not .txt or .md")


def test_linked_folders_are_read_once(tmp_path: Path):
    (tmp_path / "texts" / "inner").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "texts" / "inner" / "a.txt").write_text("a")
    (tmp_path / "other" / "b.txt").write_text("b")
    (tmp_path / "texts" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "texts" / "loop").symlink_to(tmp_path / "texts")
    (tmp_path / "linked").symlink_to(tmp_path / "texts")
    for name in ("texts", "linked"):
        found = corpus.load(str(tmp_path / name))
        assert (found.name, found.text, found.files) == (str(tmp_path / "texts"), "a\nb", 2)


def test_a_folder_is_its_texts_in_the_order_of_their_names(tmp_path: Path):
    for name, text in {"b.txt": "second", "a/z.md": "first", "c.txt": "third", "a.py": "code", "d.png": "picture"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert corpus.load(str(tmp_path)).text == "first\nsecond\nthird"


def test_the_sha256_is_that_of_the_text_in_utf_8(tmp_path: Path):
    assert Corpus("any", "abc").sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert Corpus("any", "é").sha256 == hashlib.sha256(b"\xc3\xa9").hexdigest()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"text\0text", "is binary"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is binary"),
        ("naïve".encode("latin-1"), r"is not UTF-8 \(byte 2\)"),
        (b"\0t\0e\0x\0t", "seems to be UTF-16 without its mark; save it as UTF-8"),
        ("naïve".encode("utf-16-le"), "seems to be UTF-16 without its mark; save it as UTF-8"),
        (b"\xff\xfet", r"is not UTF-16 \(byte 2\); save it as UTF-8"),
        ("naïve".encode("utf-32"), "is binary"),
    ],
)
def test_what_is_no_text_is_refused_by_name(data: bytes, said: str, tmp_path: Path):
    (tmp_path / "mine.txt").write_bytes(data)
    for name in (tmp_path / "mine.txt", tmp_path):  # alone, and as part of a folder
        with pytest.raises(InputError, match=f"mine.txt {said}"):
            corpus.load(str(name))


@pytest.mark.parametrize("name", ["no/such.txt", "tinyshakespear", "~no-such-user-here/text.txt"])
def test_an_unknown_name_is_refused_with_those_that_there_are(name: str):
    with pytest.raises(InputError, match=f"no corpus {name!r}; give tinyshakespeare, stand-in, or the path"):
        corpus.load(name)


def test_a_folder_without_text_is_refused(tmp_path: Path):
    (tmp_path / "picture.png").write_bytes(b"png")
    with pytest.raises(InputError, match=r"holds no text; put \.txt or \.md files into it"):
        corpus.load(str(tmp_path))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mine.txt").write_text("secret")
    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InputError, match=r"mine\.txt cannot be read \(Permission denied\)"):
        corpus.load(str(tmp_path / "mine.txt"))


# --- the stand-in ---


@pytest.fixture(scope="module")
def stand_in() -> Corpus:
    return corpus.load(corpus.STAND_IN)


def test_the_stand_in_says_what_it_is(stand_in: Corpus):
    assert (stand_in.name, stand_in.stand_in) == (corpus.STAND_IN, True)
    assert stand_in.note


def test_the_stand_in_has_all_characters_of_the_real_text_and_no_other(stand_in: Corpus):
    assert len(ALPHABET) == 65
    assert "".join(sorted(set(stand_in.text))) == ALPHABET


def test_the_stand_in_is_as_long_as_the_real_text(stand_in: Corpus):
    assert 900_000 <= len(stand_in.text) <= 1_200_000


def layout(text: str) -> dict[str, float]:
    """What a page looks like: shares of lines, and how long they are."""
    lines, speeches = text.split("\n"), text.strip().split("\n\n")
    return {
        "lines that end in a colon": sum(line.endswith(":") for line in lines) / len(lines),
        "empty lines": lines.count("") / len(lines),
        "speeches that begin with a speaker": sum(speech.split("\n")[0].endswith(":") for speech in speeches) / len(speeches),
        "characters in a line": sum(map(len, lines)) / len(lines),
    }


REAL_LAYOUT = {  # measured on TinyShakespeare; the test below keeps it true
    "lines that end in a colon": 0.219,
    "empty lines": 0.181,
    "speeches that begin with a speaker": 0.9997,
    "characters in a line": 26.9,
}


def test_the_figures_of_the_real_layout(tinyshakespeare: Corpus):
    assert layout(tinyshakespeare.text) == pytest.approx(REAL_LAYOUT, rel=0.005)


def test_the_stand_in_is_laid_out_like_the_real_text(stand_in: Corpus):
    assert layout(stand_in.text) == pytest.approx(REAL_LAYOUT, rel=0.2)


def test_the_stand_in_is_no_copy(stand_in: Corpus, tinyshakespeare: Corpus):
    """A shared run of 200 characters would hold, whole, one of the blocks of 100 that the real text is cut into."""
    size = 100
    blocks = {tinyshakespeare.text[start : start + size] for start in range(0, len(tinyshakespeare.text), size)}
    shared = [place for place in range(len(stand_in.text) - size) if stand_in.text[place : place + size] in blocks]
    assert not shared, stand_in.text[shared[0] : shared[0] + size]
