"""Optimizers over a cut: an optimizer of the cut model, made by hand, must go on to the same numbers."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref

import pytest
import torch
from families import backbone, batch, task_model
from pruning_toys import images, small_cnn
from torch import nn
from torch.nn.functional import cross_entropy

from prunekit.errors import PrunekitError
from prunekit.groups import Group
from prunekit.pruner import Pruner

LABELS = torch.tensor([0, 2, 1, 1, 0])
OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.01),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
}


def bert():
    model = task_model("bert", num_labels=3)
    return model, lambda model: model(**batch(), labels=LABELS).loss


def train(model, loss, optimizer, times=3):
    for _ in range(times):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()


def rows_and_columns(kept, model):
    """By hand, for BERT: parameter name -> (dimension, positions) of what heads and neurons own."""
    config, found = model.config, {}
    width = config.hidden_size // config.num_attention_heads
    for layer in range(config.num_hidden_layers):
        place = f"bert.encoder.layer.{layer}"
        heads = kept[f"layers.{layer}.heads"].tolist()
        wide = torch.tensor([head * width + i for head in heads for i in range(width)])
        for part in ("query", "key", "value"):
            found[f"{place}.attention.self.{part}.weight"] = (0, wide)
            found[f"{place}.attention.self.{part}.bias"] = (0, wide)
        found[f"{place}.attention.output.dense.weight"] = (1, wide)
        neurons = kept[f"layers.{layer}.neurons"]
        found[f"{place}.intermediate.dense.weight"] = (0, neurons)
        found[f"{place}.intermediate.dense.bias"] = (0, neurons)
        found[f"{place}.output.dense.weight"] = (1, neurons)
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_cut_at_the_positions_of_the_weights(name):
    model, loss = bert()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = OPTIMIZERS[name]([{"params": decayed, "lr": 0.02}, {"params": others}])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    train(model, loss, optimizer)
    scheduler.step()
    # The state as it was, by name, to be cut by hand.
    before = {
        n: copy.deepcopy(optimizer.state[p]) for n, p in model.named_parameters() if p in optimizer.state
    }
    order = [
        [n for p in g["params"] for n, q in model.named_parameters() if q is p]
        for g in optimizer.param_groups
    ]
    pruner = Pruner(model, ["heads", "neurons"], "random", budget={"name": "ratio", "keep": 0.5})
    places = rows_and_columns(kept := pruner.step(optimizer=optimizer), model)
    assert len(kept) == 6
    after = dict(model.named_parameters())
    assert [[id(p) for p in g["params"]] for g in optimizer.param_groups] == [
        [id(after[n]) for n in names] for names in order
    ]
    assert [g["lr"] for g in optimizer.param_groups] == scheduler.get_last_lr()
    assert {id(p) for p in optimizer.state} == {id(after[n]) for n in before}
    for parameter, state in before.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.dim() and parameter in places:
                value = value.index_select(*places[parameter])
            found = optimizer.state[after[parameter]][key]
            assert torch.equal(torch.as_tensor(found), torch.as_tensor(value)), (parameter, key)
    # And it goes on: as an optimizer of the cut model that was given this state.
    twin = copy.deepcopy(model)
    names = dict(twin.named_parameters())
    other = OPTIMIZERS[name]([{"params": [names[n] for n in group]} for group in order])
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, loss, optimizer)
    train(twin, loss, other)
    assert all(torch.equal(p, names[n]) for n, p in model.named_parameters())
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 / 3)


def test_channels_by_hand():
    """Rows of a convolution, its norm, columns of the next; and a linear layer over pixels."""
    model = small_cnn().train()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=0.01)
    train(model, lambda model: cross_entropy(model(images(5)), LABELS), optimizer)
    before = {n: optimizer.state[p]["exp_avg"].clone() for n, p in model.named_parameters()}
    names = list(optimizer.param_groups[0]["param_names"])
    channels = {"name": "channels", "example_inputs": images(2)}
    pruner = Pruner(model, channels, "random", budget={"name": "ratio", "keep": 0.5}, steps=2)
    first, second = pruner.step(optimizer=[optimizer]), pruner.step(optimizer=[optimizer])
    stem, inner, hidden = (first[name][second[name]] for name in ("stem", "inner", "hidden"))
    pixels = (stem[:, None] * 16 + torch.arange(16)).flatten()
    expected = {
        "stem.weight": before["stem.weight"][stem],
        "stem_norm.bias": before["stem_norm.bias"][stem],
        "inner.weight": before["inner.weight"][inner][:, stem],
        "inner_norm.weight": before["inner_norm.weight"][inner],
        "outer.weight": before["outer.weight"][stem][:, inner],
        "outer.bias": before["outer.bias"][stem],
        "hidden.weight": before["hidden.weight"][hidden][:, pixels],
        "head.weight": before["head.weight"][:, hidden],
        "head.bias": before["head.bias"],
    }
    found = {n: optimizer.state[p]["exp_avg"] for n, p in model.named_parameters()}
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert optimizer.param_groups[0]["param_names"] == names
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]


def test_adafactor_keeps_rows_and_columns():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs = torch.randn(5, 8)
    transformers = pytest.importorskip("transformers.optimization")
    for make, row, column in (
        (lambda p: torch.optim.Adafactor(p, lr=0.01), "row_var", "col_var"),
        (
            lambda p: transformers.Adafactor(p, lr=0.01, relative_step=False),
            "exp_avg_sq_row",
            "exp_avg_sq_col",
        ),
    ):
        net = copy.deepcopy(model)
        optimizer = make(net.parameters())
        train(net, lambda net: cross_entropy(net(inputs), LABELS), optimizer)
        rows, columns = (optimizer.state[net[2].weight][key].flatten() for key in (row, column))
        channels = {"name": "channels", "example_inputs": inputs}
        kept = Pruner(net, channels, "random", budget={"name": "ratio", "keep": 0.5}).step(
            optimizer=optimizer
        )
        state = optimizer.state[net[2].weight]
        assert torch.equal(state[row].flatten(), rows[kept["2"]])
        assert torch.equal(state[column].flatten(), columns[kept["0"]])
        train(net, lambda net: cross_entropy(net(inputs), LABELS), optimizer)


def test_state_that_cannot_be_cut_begins_anew_with_a_warning():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs, channels = torch.randn(5, 4), {"name": "channels", "example_inputs": torch.randn(2, 4)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, lambda model: cross_entropy(model(inputs), LABELS), optimizer)
    optimizer.state[model[0].weight]["preconditioner"] = torch.eye(8)
    optimizer.state[model[2].weight]["quantized"] = torch.zeros(3, 8, dtype=torch.uint8)
    pruner = Pruner(model, channels, "magnitude", budget={"name": "ratio", "keep": 0.5})
    with pytest.warns(UserWarning, match=r"SGD: .*anew: 0\.weight: preconditioner .*\(8, 8\).* and 1 more"):
        pruner.step(optimizer=optimizer)
    assert model[0].weight not in optimizer.state and model[2].weight not in optimizer.state
    assert optimizer.state[model[0].bias]["momentum_buffer"].shape == (4,)


def test_lbfgs_begins_anew():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs = torch.randn(5, 4)
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), LABELS)
        loss.backward()
        return loss

    optimizer.step(closure)
    channels = {"name": "channels", "example_inputs": inputs}
    pruner = Pruner(model, channels, "magnitude", budget={"name": "ratio", "keep": 0.5})
    with pytest.warns(UserWarning, match="LBFGS: .* its history"):
        pruner.step(optimizer=optimizer)
    optimizer.step(closure)


def test_an_embedding_in_factors_stands_where_the_matrix_stood():
    model = backbone("bert")
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "lr": 0.01}])
    train(model, lambda model: model(**batch()).last_hidden_state.square().mean(), optimizer)
    pruner = Pruner(model, ["rank"], budget={"name": "sizes", "rank": 8}, steps=2)
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pruner.step(optimizer=optimizer)
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]
        words = model.embeddings.word_embeddings
        assert all(p not in optimizer.state for p in words.parameters())
        before = [p.detach().clone() for p in words.parameters()]
        train(model, lambda model: model(**batch()).last_hidden_state.square().mean(), optimizer)
        assert all(not torch.equal(p, b) for p, b in zip(words.parameters(), before, strict=True))


def test_frozen_parameters_stay_out_of_the_optimizer():
    model, _ = bert()
    model.bert.encoder.layer[0].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    Pruner(model, "neurons", "magnitude", budget={"name": "ratio", "keep": 0.5}).step(optimizer=optimizer)
    held = optimizer.param_groups[0]["params"]
    assert [id(p) for p in held] == [id(p) for p in model.parameters() if p.requires_grad]


def test_a_stale_optimizer_is_warned_of_once():
    model, loss = bert()
    stale, other = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))
    pruner = Pruner(model, "neurons", "magnitude", budget={"name": "sizes", "neurons": 8}, steps=2)
    pruner.step(optimizer=other)
    with pytest.warns(
        UserWarning, match=r"SGD: 9 of its \d+ parameters are no longer in the model.*optimizer="
    ):
        stale.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stale.step()
        train(model, loss, other)
    pruner.step()
    with pytest.warns(UserWarning, match="9 of its"):
        other.step()
    fresh = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, loss, fresh)


def test_what_was_pruned_away_is_not_kept_in_memory():
    model, _ = bert()
    old = weakref.ref(model.bert.encoder.layer[0].output.dense.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = Pruner(model, "neurons", "magnitude", budget={"name": "ratio", "keep": 0.5})
    pruner.step(optimizer=optimizer)
    gc.collect()
    assert old() is None


def test_what_is_no_optimizer_is_refused():
    model, _ = bert()
    pruner = Pruner(model, "neurons", "magnitude", budget={"name": "ratio", "keep": 0.5})
    with pytest.raises(PrunekitError, match="SmallThing is no torch optimizer"):
        pruner.step(optimizer=[type("SmallThing", (), {})()])
    assert not pruner.done


class Breaking(Group):
    """A group that cannot be slimmed."""

    def __init__(self, error):
        super().__init__("breaking", "breaking", 4)
        self.error, self.notes = error, {"seen": []}

    def keep(self, indices):
        self.notes["seen"].append(len(indices))
        self.size = len(indices)
        raise self.error


def remembered(model, pruner, optimizer):
    """All that a step may change, tensors by their identity and by what is in them."""
    modules = {
        name: [{k: v for k, v in vars(m).items() if isinstance(v, int | str | tuple)}, dict(m._parameters)]
        for name, m in model.named_modules()
    }
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    weights = {n: (id(p), p.requires_grad, p.detach().clone()) for n, p in model.named_parameters()}
    groups = [
        (g.name, g.size, g.initial_size, [s.positions(torch.arange(g.size)) for s in g.slices])
        for g in pruner.groups
        if g.name != "breaking"
    ]
    held = [[id(p) for p in options["params"]] for options in optimizer.param_groups]
    return (
        modules,
        buffers,
        weights,
        groups,
        held,
        dict(optimizer.state),
        dict(pruner.scores),
        pruner.steps_done,
    )


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one is other or torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", ["bert", "cnn"])
def test_a_step_that_fails_changes_nothing(kind, error):
    if kind == "bert":
        model, loss = bert()
        granularities = ["heads", "neurons", "rank"]
        model.bert.embeddings.word_embeddings.requires_grad_(False)
    else:
        model, loss = small_cnn().train(), lambda model: cross_entropy(model(images(5)), LABELS)
        granularities = [{"name": "channels", "example_inputs": images(2)}]
        model.inner.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    train(model, loss, optimizer)
    pruner = Pruner(model, granularities, "random", budget={"name": "ratio", "keep": 0.5}, steps=2)
    pruner.step(optimizer=optimizer)
    breaking = Breaking(error)
    pruner.groups.append(breaking)
    pruner.scores = {g.name: torch.rand(g.size) for g in pruner.groups}
    outputs = loss(model.eval())
    before = remembered(model.train(), pruner, optimizer)
    with pytest.raises(type(error)):
        pruner.step(optimizer=optimizer)
    assert same(before, remembered(model, pruner, optimizer))
    assert breaking.size == 4 and breaking.notes == {"seen": []}
    assert torch.equal(loss(model.eval()), outputs)
    model.train()
    pruner.groups.remove(breaking)
    pruner.step(optimizer=optimizer)
    assert pruner.done
    train(model, loss, optimizer)
