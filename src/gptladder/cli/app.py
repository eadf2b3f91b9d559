"""The program: its verbs in groups, its standard streams, Ctrl-C, and every error as one line.

Each verb imports what it needs when it is called, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from itertools import groupby
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from .. import __version__, cpu
from ..errors import InputError, did_you_mean
from . import learn, teach, train
from .commands import as_typed

STOPPED, BROKEN_PIPE = 130, 141  # exit codes as shells know them: 128 + SIGINT, 128 + SIGPIPE
MEANT = {  # verbs of other programs, and ours that do the same
    **dict.fromkeys(("generate", "write", "predict", "complete"), "sample"),
    **dict.fromkeys(("eval", "validate"), "evaluate"),
    **dict.fromkeys(("continue", "restart", "finetune"), "resume"),
    **dict.fromkeys(("fit", "run", "pretrain"), "train"),
    **dict.fromkeys(("init", "create", "start", "setup"), "new"),
    **dict.fromkeys(("test", "verify"), "check"),
    **dict.fromkeys(("status", "next"), "progress"),
    "ablation": "ablate",
    "answer": "solution",
    "help": "--help",
}
TRAINS_WITH_LESS = "use less of it: --set batch_size=..., n_embd=..., n_layer=... or block_size=..."
NEEDS_LESS = {  # what to do about too little memory, by verb
    "train": TRAINS_WITH_LESS,
    "sample": "write less at once: fewer --samples, or --weights bfloat16",
    "evaluate": "evaluate on a shorter text: --corpus",
}


class Verbs(TyperGroup):
    """The program's verbs: a help page in groups, and errors that say which verb was probably meant."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  typer's own types have no public name
        """Write one section per group, in the order of definition."""
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        for group, members in groupby(commands, key=lambda pair: getattr(pair[1], "rich_help_panel", None)):
            with formatter.section(str(group)):
                formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in members])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """Find the verb. InputError if there is none of that name, or if an option that takes one value is given twice."""
        name, *words = args
        command = self.commands.get(name)
        if command is None:
            if name.startswith("-"):
                return super().resolve_command(ctx, args)
            meant = f"did you mean {MEANT[name]!r}? " if name in MEANT else did_you_mean(name, self.commands)
            raise InputError(f"no verb {name!r}; {meant}gptladder --help lists the verbs")
        for option in command.params:
            given = [word for word in words if word.partition("=")[0] in option.opts and word.startswith("-")]
            if len(given) > 1 and not (option.multiple or getattr(option, "is_flag", False)):
                cure = "; to train on several texts, put them into a folder and give that" if "--corpus" in option.opts else ""
                raise InputError(f"{option.opts[0]} is given {len(given)} times; give it once{cure}")
        return name, command, words


app = typer.Typer(
    cls=Verbs,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Understand a GPT by building it, rung by rung, from a bigram table to one that writes Shakespeare.",
)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Handle what comes before a verb, and note when the command began."""
    context.obj = time.perf_counter()
    if version:
        print(f"gptladder {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        if not learn.show_standing():
            print(context.get_help())
        raise typer.Exit


app.add_typer(train.app)
app.add_typer(learn.app)
app.add_typer(teach.app)
app.add_typer(teach.course_app, name="course", rich_help_panel=teach.TEACH)


def main() -> None:
    """Run the program: exit code 0 done, 2 a mistake in what was given (said in one line), 130 stopped by Ctrl-C."""
    prepare_streams()
    cpu.wait_without_spinning()
    with stoppable():
        try:
            code = run(sys.argv[1:])
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has seen enough: `gptladder sample | head`
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
            code = BROKEN_PIPE
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run the command that these words make and return the program's exit code; errors are printed as one line."""
    command = typer.main.get_command(app)
    context: Any = None
    try:
        with command.make_context("gptladder", words) as context:
            command.invoke(context)
    except typer.Exit as exit:
        return exit.exit_code
    except TyperException as error:
        return _failed(f"{error.format_message().rstrip('.')}{_cure(error)}", error.exit_code)
    except InputError as error:
        return _failed(str(error))
    except ImportError as error:
        return _failed(f"a library that gptladder needs does not load ({error}); to see which, run: gptladder doctor")
    except (KeyboardInterrupt, typer.Abort):
        return STOPPED
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in ("out of memory", "allocate memory")):
            raise
        advice = NEEDS_LESS.get(context.invoked_subcommand, "end other programs and try again")
        return _failed(f"that does not fit into the memory; {advice}")
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _failed(f"{error.strerror or error}{where}; {'make room' if full else 'look at that path, or give another'}")
    return 0


def _cure(error: TyperException) -> str:
    """Return what to do about a word too many (often the text to train on) or too few."""
    context, message = getattr(error, "ctx", None), error.format_message()
    if context is None or not message.startswith(("Got unexpected extra argument", "Missing argument")):
        return ""
    is_text = message.startswith("Got") and any("--corpus" in option.opts for option in context.command.params)
    return f"; {'a text is given by --corpus; ' if is_text else ''}see: gptladder {context.info_name} --help"


def _failed(message: str, code: int = 2) -> int:
    verbs = typer.main.get_group(app).commands
    print(f"error: {as_typed(' '.join(message.split()), verbs)}", file=sys.stderr)
    return code


def prepare_streams() -> None:
    """Make files and pipes UTF-8, whatever the locale says; a console shows what it can, and escapes the rest.

    A program that was started without a standard stream (`>&-`, a daemon) gets one that leads nowhere.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in this order, for file descriptors 0, 1, 2
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  open until the end
        elif isinstance(stream, TextIOWrapper):
            errors = "replace" if mode == "r" else "backslashreplace"
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors=errors)


@contextmanager
def stoppable() -> Iterator[None]:
    """Handle Ctrl-C inside the block: the first raises KeyboardInterrupt and says so at once, the next ends the process."""
    before = signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"stopped\n")  # not by print, which may be what was interrupted
    if _is_importing(frame):
        os._exit(STOPPED)  # an import may swallow the exception, and has nothing to save
    signal.signal(signal.SIGINT, lambda *_: os._exit(STOPPED))
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
