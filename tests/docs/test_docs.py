"""What the documentation says holds: code runs, commands parse, recipes validate, links lead somewhere.

Every ``python`` block runs, those of a page one after another in one namespace, unless the line before it is
``<!-- not run: why -->``. Every ``prunekit`` line of a ``bash`` block is parsed by the command line itself,
its recipe loaded with its overrides. Every ``yaml`` block is a recipe, or a part of one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import recipe_reference
import torch
import typer
from transformers import AutoModelForSequenceClassification, BertConfig, TrainingArguments

from prunekit.cli import app
from prunekit.recipes import expand, load_recipe, shipped_recipes

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RESULTS = sorted(
    page for pattern in ("*.md", "*/report.md") for page in (ROOT / "docs/results").glob(pattern)
)
OTHERS = ("make", "pip", "git", "cat", "python", ".", "for", "done")
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: its first line's number, its language, and the line before it."""

    page: Path
    line: int
    language: str
    text: str
    before: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        body = "\n".join(lines[start + 1 : number]) + "\n"
        yield Block(page, start + 1, lines[start][3:].strip(), body, lines[start - 1] if start else "")
        start = None
    assert start is None, f"{page.name}:{start}: a block that does not end"


def blocks_in(*languages: str, pages: Sequence[Path] = PAGES) -> list[Block]:
    return [block for page in pages for block in blocks(page) if block.language in languages]


def commands() -> list[tuple[Block, list[str]]]:
    """Every command of the bash blocks, lines that end in a backslash joined, comments left out."""
    found = []
    for block in blocks_in("bash", "sh", "console", pages=[*PAGES, *RESULTS]):
        line = ""
        for part in block.text.replace("\\\n", " ").splitlines():
            line += part
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # a quotation that goes on
                line += " "
                continue
            if words:
                found.append((block, [word.replace("$seed", "1") for word in words]))
            line = ""
        assert not line, str(block)
    return found


def model() -> torch.nn.Module:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return AutoModelForSequenceClassification.from_config(
        BertConfig(vocab_size=1000, max_position_embeddings=32, **sizes)
    )


def batch() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.arange(40).reshape(4, 10), "labels": torch.tensor([0, 1, 1, 0])}


def test_every_block_says_its_language():
    for page in PAGES:
        for block in blocks(page):
            assert block.language in ("python", "bash", "yaml", "toml", "text"), str(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    if page.name == "README.md":  # what its reader has: a model, data, a loop
        net, data = model(), batch()
        namespace |= {
            "model": net,
            "batches": [data],
            "optimizer": torch.optim.AdamW(net.parameters()),
            "train": lambda model, optimizer: None,
            "examples": [{name: values[i] for name, values in data.items()} for i in range(4)],
            "arguments": TrainingArguments("trained", max_steps=4, use_cpu=True, report_to=[]),
        }
    for block in blocks(page):
        if block.language != "python" or NOT_RUN.fullmatch(block.before):
            continue
        # Line numbers of a traceback are the page's.
        code = compile("\n" * block.line + block.text, str(page), "exec")
        exec(code, namespace)


def test_commands_parse(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    group = typer.main.get_command(app)
    seen = set()
    for block, words in commands():
        if words[:3] == ["accelerate", "launch", "-m"]:
            words = words[3:]
        if words[0] != "prunekit":
            assert words[0] in OTHERS, f"{block}: {words}"
            continue
        words = words[1 : words.index("|")] if "|" in words else words[1:]
        words = words[: words.index(">")] if ">" in words else words
        command = group.commands.get(words[0])
        assert command is not None, f"{block}: there is no command {words[0]!r}"
        context = command.make_context(words[0], words[1:])
        seen.add(words[0])
        if words[0] in ("plan", "apply"):
            recipe, overrides = context.params["recipe"], context.params["overrides"] or []
            load_recipe(recipe, overrides)
    assert {"plan", "apply", "report", "predict", "list"} <= seen


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [words[1] for _, words in commands() if words[0] == "make"]
    assert {"quickstart", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_readme_goes_on_with_the_run_that_quickstart_makes():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^RECIPE \?= (\S+)$", makefile, re.MULTILINE)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    name = load_recipe(ROOT / recipe).name
    runs = set(re.findall(r"\bruns/(\w+)", readme)) - {"mine"}
    assert runs == {name}


def test_recipes_page_names_every_shipped_recipe():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name in shipped_recipes():
        assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", page, re.MULTILINE), name


@pytest.mark.parametrize("block", blocks_in("yaml"), ids=str)
def test_yaml_is_a_recipe(block, tmp_path):
    file = tmp_path / "block.yaml"
    whole = re.search(r"^(extends|stages):", block.text, re.MULTILINE)
    file.write_text(block.text if whole else f"extends: costeff\n{block.text}", encoding="utf-8")
    recipe = load_recipe(file)
    assert recipe.notes == []
    for run in expand(recipe):
        assert all(candidate.recipe.notes == [] for candidate in run.candidates)


def test_recipe_reference_is_the_schemas():
    page = recipe_reference.PAGE.read_text(encoding="utf-8")
    assert page == recipe_reference.rewritten(page), "run: python tests/docs/recipe_reference.py"


def test_parts_page_names_every_part():
    from prunekit.commands.parts import KINDS

    page = (ROOT / "docs" / "parts.md").read_text(encoding="utf-8")
    for package in KINDS.values():
        registry = __import__(package, fromlist=["registry"]).registry
        assert f"`{package}`" in page
        for entry in registry.entries():
            if entry.origin.startswith("prunekit."):
                assert re.search(rf"^\| `{entry.name}` \|", page, re.MULTILINE), f"{package}: {entry.name}"


def test_troubleshooting_quotes_real_messages():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    source = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "prunekit").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # strings that go on in the next line
    quoted = re.findall(r"^\| (`.*?) \| ", page, re.MULTILINE)
    assert len(quoted) > 5
    for cell in quoted:
        for message in re.findall(r"`([^`]+)`", cell):
            for piece in filter(None, map(str.strip, message.split("..."))):
                assert piece in source, piece


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *RESULTS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href|srcset)="([^"]+)"', text)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_linked():
    linked = set()
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", page.read_text(encoding="utf-8")):
            linked.add((page.parent / link).resolve())
    assert set(PAGES) - linked == {ROOT / "README.md"}
