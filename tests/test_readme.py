"""The README says what is there: its tree, its commands, its numbers."""

from __future__ import annotations

import json
import re
import shlex
import statistics
from pathlib import Path

import pytest

from gptladder.cli import app as cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def tree_paths() -> set[str]:
    """The paths in the README's tree: indentation by two spaces, several to a line, folders end in a slash."""
    block = next(block for block in code_blocks("text") if block.startswith("src/gptladder/"))
    paths, folders = set(), []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.split(r"\s{2,}", line.strip())[0].split()
        for name in names:
            paths.add("".join([*folders[:depth], name]))
        folders = [*folders[:depth], names[-1]]
    return paths


def test_the_tree_names_every_file_on_top_and_every_folder():
    """By folder: a file is named where its folder holds others like it only by chance, at the top and in course/."""
    package = ROOT / "src" / "gptladder"
    folders = {path.parent for path in package.rglob("*.py") if path.parent.name != "templates"} | {package / "stand_in"}
    there = {f"{folder.relative_to(ROOT)}/" for folder in folders if folder.name != "draws"}
    there |= {str(path.relative_to(ROOT)) for folder in (package, package / "course") for path in folder.glob("[!_]*.py")}
    assert {path for path in tree_paths() if path.startswith("src/")} == there


def test_everything_in_the_tree_exists():
    assert all((ROOT / path).exists() for path in tree_paths())


COMMANDS = [
    line.split("#")[0].strip() for block in code_blocks("sh") for line in block.splitlines() if line.startswith("gptladder ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_is_understood(line, monkeypatch):
    """Parsed by the real command line, each verb's work replaced, so that an unknown verb or option would fail."""
    verb, *words = shlex.split(line)[1:]
    command = cli_command(verb)
    context = command.make_context(verb, list(words))
    assert context.command.name == verb


def cli_command(verb):
    from typer.main import get_command

    commands = get_command(cli.app).commands
    assert verb in commands, f"the README names a verb {verb!r} that there is not"
    return commands[verb]


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {line.split()[1] for block in code_blocks("sh") for line in block.splitlines() if line.startswith("make ")}
    assert named
    assert named <= targets


def test_the_lines_of_the_small_rungs_are_the_ones_that_climb_wrote():
    block = next(block for block in code_blocks("text") if block.startswith("bigram"))
    parts = re.split(r"^=== (\w+): ([\d.]+) ===\n", (ROOT / "docs" / "samples.txt").read_text(), flags=re.MULTILINE)[1:]
    written = {name: (loss, text) for name, loss, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}
    shown = [line.split(maxsplit=2) for line in block.splitlines() if not line.startswith("modern ")]
    assert len(shown) >= 5
    for name, loss, line in shown:
        assert loss == written[name][0]
        assert line in written[name][1]


def test_the_table_is_the_one_that_climb_wrote():
    """Each row of the README's table agrees with docs/ladder.json, which `gptladder climb` wrote."""
    rows = json.loads((ROOT / "docs" / "ladder.json").read_text())["rungs"]
    table = {cells[0]: cells for line in README.splitlines() if (cells := [c.strip(" `") for c in line.strip("|").split("|")])}
    for row in rows:
        cells = table[row["rung"]]
        published = "" if row["published_loss"] is None else f"{row['published_loss']:.2f}"
        assert cells[1:] == [
            row["adds"],
            f"{row['parameters']:,}",
            f"{row['seconds']:.0f}",
            f"{row['validation_loss']:.3f}",
            published,
            row["verdict"],
        ]


def numbers_of(row_begins: str) -> list[str]:
    """The numbers of the table row that begins so, as they are printed."""
    row = next(line for line in README.splitlines() if line.startswith(f"| {row_begins}"))
    return re.findall(r"\d[\d,]*\.?\d*", row.replace("*", "").split("|", 2)[2])


def report(name: str):
    return json.loads((ROOT / "docs" / f"{name}.json").read_text())


def test_the_seconds_beside_others_are_the_measured_ones():
    losses = report("train-losses")["losses"]
    rows = {"`gptladder train --recipe sprint`": "sprint", "`gptladder train` (": "laptop", "nanoGPT's `train.py`": "nanogpt"}
    for begins, who in rows.items():
        ends = [run["loss"] if who == "nanogpt" else run["losses"][-1] for run in losses[who]]
        seconds, loss = numbers_of(begins)
        assert seconds == f"{statistics.median(run['seconds'] for run in losses[who]):.0f}"
        assert float(loss) == pytest.approx(statistics.median(ends), abs=0.005)


def test_the_rates_beside_others_are_the_measured_ones():
    for name, measured in report("sample")["writing"].items():
        rates = measured["tokens_per_second"]
        assert f"| {name} | ours, one text | {rates['float32, 1']:,.0f} |" in README
        assert measured["same_text_as_nanogpt"] is not False
    shapes = report("train-speed")["speed"]["published, 64 x 256"]
    assert f"| 64 x 256, 6 layers of 384 | ours | {shapes['ours']['tokens_per_second']:,.0f} | 1.00 |" in README


def test_the_ablation_is_the_measured_one():
    for row in report("ablation")["rows"]:
        assert f"| {row['adds']} | {row['parameters']:,} | {row['validation_loss']:.3f} | {row['gain']:+.3f} |" in README


def test_the_waits_of_the_course_are_the_measured_ones():
    found = report("course")
    cold, warm = (statistics.median(found["check"][name]) for name in ("cold", "warm"))
    text = " ".join(README.split())
    assert f"a check takes {cold:.1f} seconds, on the next save {warm:.2f};" in text
    assert f"one eats memory, {found['grade']['seconds']:.0f}; `course verify` {found['verify']:.0f} (" in text
