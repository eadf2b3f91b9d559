"""The README says what is there: its tree, its commands, its numbers."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import tables
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
    line.split("#")[0].strip() for block in code_blocks("sh") for line in block.splitlines() if re.match(r"gptladder \w", line)
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


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_every_measured_table_is_the_one_that_its_report_gives(page):
    assert tables.filled(page.read_text()) == page.read_text()


def test_a_table_follows_its_report():
    page = "before\n<!-- table: ladder -->\nold\n<!-- end -->\nafter"
    filled = tables.filled(page)
    assert "old" not in filled
    for row in json.loads((ROOT / "docs" / "ladder.json").read_text())["rungs"]:
        assert f"| `{row['rung']}` | {row['adds']} | {row['parameters']:,} | {row['seconds']:.0f} |" in filled
    assert filled.startswith("before\n")
    assert filled.endswith("\nafter")


def test_every_table_of_benchmarks_is_shown_somewhere():
    shown = {name.split()[0] for page in tables.PAGES for name in re.findall(r"<!-- table: ([^>]+?) -->", page.read_text())}
    assert shown == set(tables.TABLES)


def test_every_report_is_used_and_every_kind_of_processor_has_its_tables():
    text = (ROOT / "docs" / "measurements.md").read_text()
    for host in tables.hosts():
        tables_of = {"machine", *(kind for kind in ("speed", "losses") if kind in tables.training(host))}
        tables_of |= {"writing"} if (ROOT / "docs" / host / "sample.json").exists() else set()
        for kind in tables_of:
            assert f"<!-- table: {kind} {host} -->" in text


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "measurements.md"):
        links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
        assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
