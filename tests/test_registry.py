"""Names, import paths, entry points, and what is said about wrong ones."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from importlib import import_module
from importlib.metadata import EntryPoint

import pytest

from prunekit import registry as registry_module
from prunekit.commands.parts import KINDS
from prunekit.described import described, shipped_schema
from prunekit.errors import RecipeError
from prunekit.recipes import json_schema
from prunekit.registry import Registry
from prunekit.schedulers import Scheduler
from prunekit.schedulers import registry as schedulers


class Late(Scheduler):
    """Everything at the end."""

    def __init__(self, hold: float = 0.5) -> None:
        self.hold = hold

    def fraction(self, step, steps):
        return float(step == steps)


def test_names_mappings_instances_and_import_paths():
    assert type(schedulers.build("linear")).__name__ == "Linear"
    late = schedulers.build({"name": f"{__name__}:Late", "hold": 0.1})
    assert isinstance(late, Late)
    assert late.hold == 0.1
    assert schedulers.build(late) is late


def test_wrong_names_and_arguments_say_what_was_meant():
    with pytest.raises(RecipeError, match="did you mean 'linear'"):
        schedulers.build("liner")
    with pytest.raises(RecipeError, match="did you mean 'hold'"):
        schedulers.build({"name": f"{__name__}:Late", "hodl": 0.1})
    with pytest.raises(RecipeError, match="does not derive"):
        schedulers.build("collections:OrderedDict")
    with pytest.raises(RecipeError, match="cannot import"):
        schedulers.build("no_such_package:Thing")
    with pytest.raises(RecipeError, match="mapping with 'name'"):
        schedulers.build({"nam": "linear"})


def test_two_parts_cannot_share_a_name():
    registry = Registry("scheduler", Scheduler, "prunekit.schedulers")
    registry.register("late")(Late)
    registry.register("late")(Late)
    with pytest.raises(ValueError, match="already registered"):
        registry.register("late")(type("Other", (Late,), {}))


def test_a_script_that_names_its_own_part_by_import_path(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "from prunekit.schedulers import Scheduler, register, registry\n"
        "@register('mine')\n"
        "class Mine(Scheduler):\n"
        "    def fraction(self, step, steps):\n"
        "        return 1.0\n"
        "if __name__ == '__main__':\n"
        "    print(type(registry.build('mine:Mine')).__module__, type(registry.build('mine')).__module__)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout == "mine mine\n", done.stderr


def test_entry_points_of_other_packages(monkeypatch):
    point = EntryPoint("late", f"{__name__}:Late", "prunekit.schedulers")
    monkeypatch.setattr(
        registry_module, "entry_points", lambda group: [point] if group == point.group else []
    )
    registry = Registry("scheduler", Scheduler, "prunekit.schedulers")
    assert isinstance(registry.build("late"), Late)
    assert [e.summary for e in registry.entries() if e.name == "late"] == ["Everything at the end."]


def installed(folder, name, points, **modules):
    """A package as an installer leaves it: modules, and metadata with entry points."""
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8"
    )
    lines = [f"{point} = {value}" for point, value in points.items()]
    (metadata / "entry_points.txt").write_text("[prunekit.schedulers]\n" + "\n".join(lines), encoding="utf-8")


def test_broken_entry_points_are_named_once_and_left_out(tmp_path, monkeypatch):
    good = (
        "from prunekit.schedulers import Scheduler\nclass Good(Scheduler):\n"
        "    def fraction(self, step, steps):\n        return step / steps\n"
    )
    installed(
        tmp_path,
        "bad-schedules",
        {
            "gone": "bad_gone:Thing",
            "raising": "bad_raising:Thing",
            "leaving": "bad_leaving:Thing",
            "other": "collections:OrderedDict",
            "useful": "bad_useful:Good",
            "linear": "bad_raising:Thing",  # a name that is taken is not looked at
        },
        bad_raising="raise RuntimeError('no\\x1b[2J luck')",
        bad_leaving="raise SystemExit(3)",
        bad_useful=good,
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("scheduler", Scheduler, "prunekit.schedulers")
    schedulers.names()  # the modules of built-in parts register themselves once
    registry._parts.update(schedulers._parts)
    with pytest.warns(UserWarning) as told:
        assert registry.build("useful").fraction(1, 2) == 0.5
    messages = sorted(str(w.message) for w in told)
    assert [m.split(" is left out")[0] for m in messages] == [
        f"the scheduler '{name}' of package 'bad-schedules'"
        for name in ("gone", "leaving", "other", "raising")
    ]
    assert "bad_gone:Thing" in messages[0] and "ModuleNotFoundError" in messages[0]
    assert "SystemExit" in messages[1]
    assert "does not derive from prunekit.schedulers.base.Scheduler" in messages[2]
    assert "RuntimeError: no\\x1b[2J luck" in messages[3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "linear" in registry.names() and "gone" not in registry.names()
        with pytest.raises(RecipeError, match="unknown scheduler 'gone'"):
            registry.build("gone")


def run(code, argv):
    script = f"import sys; sys.argv = {argv!r}; {code}"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_auto_classes_know_the_models_in_either_order():
    known = "; assert A.for_model('prunekit_multi_exit') and A.for_model('prunekit_slim')"
    run("import prunekit; from transformers import AutoConfig as A" + known, ["script.py"])
    run("from transformers import AutoConfig as A; import prunekit" + known, ["script.py"])
    run("from transformers import BertModel; import prunekit", ["script.py"])
    run("import prunekit; from transformers import BertModel", ["script.py"])


def test_the_command_line_does_not_wait_for_torch():
    light = "import prunekit.cli; assert not {'torch', 'transformers'} & set(sys.modules)"
    run(light, ["/usr/bin/prunekit", "--help"])


@pytest.mark.parametrize("package", KINDS.values())
def test_what_is_listed_is_what_is_registered(package):
    registered = import_module(package).registry.entries()
    # Other tests of this process may have registered parts of their own.
    assert described(package) == [entry for entry in registered if entry.origin.startswith("prunekit.")]


def test_the_shipped_schema_is_that_of_the_parts_there_are():
    made = json.dumps(json_schema(), indent=2) + "\n"
    assert shipped_schema() == made, (
        "write prunekit/recipes/schema.json again: json.dumps(prunekit.recipes.json_schema(), indent=2)"
    )


def test_parts_of_another_package_are_listed_from_their_source(monkeypatch, tmp_path):
    package = tmp_path / "others"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "mine.py").write_text('class Mine:\n    """Scores by chance.\n\n    More.\n    """\n')
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint(name, value, "prunekit.scorers")
        for name, value in (("mine", "others.mine:Mine"), ("gone", "others.none:Gone"))
    ]
    monkeypatch.setattr("prunekit.described.entry_points", lambda group: points)
    with pytest.warns(UserWarning, match="'gone' of an unknown package is left out"):
        found = {entry.name: entry for entry in described("prunekit.scorers")}
    assert (found["mine"].summary, found["mine"].origin) == ("Scores by chance.", "others.mine")
    assert "gone" not in found
    assert "magnitude" in found


def test_importing_prunekit_or_listing_does_not_import_torch():
    code = "import prunekit, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    for command in (["list"], ["schema"], ["--help"]):
        code = (
            "import sys; from prunekit.cli import run; "
            f"assert run({command}) == 0; assert not {{'torch', 'transformers'}} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "module",
    ["architectures", "checkpoints", "exits.heads", "granularities", "loading", "runtime.exporting", "sizes"],
)
def test_whatever_is_imported_first_the_models_are_known_afterwards(module):
    code = (
        f"import prunekit.{module}\n"
        "from transformers.models.auto.configuration_auto import CONFIG_MAPPING\n"
        "from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING\n"
        "assert {'prunekit_multi_exit', 'prunekit_slim'} <= set(CONFIG_MAPPING)\n"
        "assert 'prunekit' in AUTO_QUANTIZER_MAPPING"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
