"""A transformer with a classifier on several layers: one forward for training and for serving."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel, PreTrainedModel
from transformers.utils.generic import ModelOutput

from ..architectures import (
    Context,
    ModelShape,
    architecture_of,
    backbone_of,
    first_token,
    last_token,
    longest_input,
    reshape,
    select_rows,
    take_poolers,
)
from ..errors import CheckpointError, UnsupportedModelError
from ..registry import registered_alone
from ..sizes import KEY, record, recorded
from .certainty import ExitCertainty
from .config import MultiExitConfig
from .equilibrium import scale_gradient
from .heads import ExitHead, Reads
from .heads import registry as heads
from .heads.pooled import PooledHead
from .policies import ExitPolicy
from .policies import registry as policies

logger = logging.getLogger(__name__)


@dataclass
class MultiExitOutput(ModelOutput):
    """What a multi-exit model returns.

    Attributes:
        loss: with labels, the mean over the exits of the cross-entropy.
        logits: ``[B, C]``, of the exit each example took.
        exit_logits: ``[E, B, C]`` where every exit was computed, else ``None``.
        exit_layer: int64 ``[B]``, layer (from 1) at which each example left.
        hidden_states: embedding output and every layer's, ``L + 1`` tensors ``[B, T, H]``, if asked for.
        exit_certainty: how sure each exit is that it is right, 0 to 1, ``[E, B]``, where every exit was
            computed and the model says so.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    exit_logits: Tensor | None = None
    exit_layer: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    exit_certainty: Tensor | None = None


class MultiExitForSequenceClassification(PreTrainedModel):
    """A transformer that classifies at several layers; easy inputs leave early (COST-EFF, section 3.3).

    In training, without a policy, or with ``all_exits=True``, every exit is computed. In evaluation with a
    policy, each example leaves at its own exit and the batch shrinks; what leaves, and with which answer,
    is the same as one example at a time.

    Attributes:
        gradient_equilibrium: while true, the gradient reaching a layer is the mean, not the sum, over the
            exits behind it (COST-EFF, Eq. 3): scaled identities, one backward pass.
    """

    config_class = MultiExitConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    _supports_sdpa = True
    _supports_attention_backend = True
    # The backbone's layers see to it, where the family can.
    supports_gradient_checkpointing = True
    _cuts_are_known = False  # it was said that texts are cut
    # Its loss is a mean: whoever accumulates gradients divides by the number of batches.
    accepts_loss_kwargs = False

    def __init__(self, config: MultiExitConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        config.check()
        if recorded(config.backbone) is not None:
            delattr(config.backbone, KEY)
        self.num_labels: int = int(config.num_labels or 2)
        self.backbone = _fresh_backbone(config) if backbone is None else backbone
        self._architecture = architecture_of(self.backbone)
        self._longest = longest_input(self.backbone)
        depth = len(self._architecture.layers(self.backbone))
        if config.exit_layers[-1] != depth:
            raise CheckpointError(
                f"config.json: exit_layers is {config.exit_layers}, and the model has {depth} layers",
                "the last exit stands on the last layer",
            )
        with registered_alone():  # the configuration may come from a folder
            kind = heads.get(config.exit_head)
        self.exits = nn.ModuleList(
            kind(
                config.hidden_size,
                self.num_labels,
                reads=config.exit_reads,
                dropout=config.exit_dropout,
                initializer_range=getattr(config.backbone, "initializer_range", 0.02),
            )
            for _ in config.exit_layers
        )
        self.certainty = ExitCertainty(config.hidden_size) if config.exit_certainty else None
        self.gradient_equilibrium = False
        with registered_alone():
            self.set_exit_policy(config.exit_policy)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Draw a head's weights, where a checkpoint lacks it; the backbone has drawn its own."""
        if isinstance(module, (ExitHead, ExitCertainty)):
            module.reset_parameters()

    @classmethod
    def from_backbone(
        cls,
        backbone: PreTrainedModel,
        *,
        num_labels: int = 2,
        exit_layers: Literal["all", "last"] | Sequence[int] = "all",
        head: str = "linear",
        reads: Reads | None = None,
        dropout: float = 0.1,
        label_names: Sequence[str] | None = None,
    ) -> MultiExitForSequenceClassification:
        """Put exits on a bare encoder or decoder (``AutoModel``), which becomes part of the new model.

        Layers behind the last exit are dropped, and the backbone's own pooler is taken off: a pooled exit on
        the last layer that reads the first token begins with it, as BERT's own classifier does. Poolers that
        came with a multi-exit checkpoint (ElasticBERT's, one a layer) are what pooled exits begin with. Exits
        of a family with a final norm read the hidden states through it, on every layer.

        Args:
            backbone: without a task's head.
            num_labels: C, at least 2 for a classifier; ``label_names`` give it too.
            exit_layers: ``"all"``, ``"last"`` or numbers from 1.
            head: name of an exit head.
            reads: see :class:`~prunekit.exits.heads.ExitHead`; by default the first token, and the last one
                of a causal model, whose first token sees no other.
            dropout: before an exit's classifier.
            label_names: of the classes.

        Raises:
            UnsupportedModelError: the backbone's structure is not understood, it does not encode texts, or it
                is a task's model.
            ValueError: ``exit_layers`` names a layer that is not there.
        """
        if backbone_of(backbone) is not backbone:
            raise UnsupportedModelError(
                f"{type(backbone).__name__} is a backbone with a task's head, and exits go on a bare one",
                "give its backbone: model.base_model, or load it with AutoModel.from_pretrained",
            )
        architecture = architecture_of(backbone)
        architecture.check_text(backbone)
        causal = architecture_of(architecture.encoder(backbone)).causal
        if reads is None:
            reads = "last" if causal else "first"
        elif reads == "first" and causal:
            warnings.warn(
                f"exits that read the first token of {type(backbone).__name__} answer every text alike: it "
                "is causal, and its first token sees no other. Give reads='last' or 'mean'",
                stacklevel=2,
            )
        depth = len(architecture.layers(backbone))
        layers = exit_layer_numbers(exit_layers, depth)
        poolers = take_poolers(backbone)
        if issubclass(heads.get(head), PooledHead) and reads == "first":
            poolers = poolers or _own_pooler(backbone, depth)
        backbone = architecture.prepare(backbone)
        architecture = architecture_of(backbone)
        if layers[-1] < depth:
            architecture.truncate(backbone, layers[-1])
        names = list(label_names) if label_names is not None else [f"LABEL_{i}" for i in range(num_labels)]
        config = MultiExitConfig(
            backbone=backbone.config,
            # Must be given: a configuration hands its attention down, and would reset the backbone's.
            attn_implementation=backbone.config._attn_implementation,
            exit_layers=layers,
            exit_head=head,
            exit_reads=reads,
            exit_dropout=dropout,
            exit_norm=architecture.finishes(backbone),
            num_labels=len(names),
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
        )
        model = cls(config, backbone)
        if poolers:
            model._start_poolers(poolers)
        model.refresh_config()
        return model

    def _start_poolers(self, poolers: dict[int, dict[str, Tensor]]) -> None:
        """Begin pooled exits with poolers that were trained with the backbone: layer -> state."""
        started = []
        for number, head in zip(self.config.exit_layers, self.exits, strict=True):
            if number in poolers and isinstance(head, PooledHead):
                head.dense.load_state_dict(poolers[number])
                started.append(str(number))
        if started:
            logger.info("exits on layers %s begin with the checkpoint's poolers", ", ".join(started))
        else:
            logger.info("the checkpoint's poolers are dropped: these exits have no use for them")

    def set_exit_policy(self, spec: str | dict[str, Any] | None) -> None:
        """Use a policy at inference, and store it in the configuration; ``None``: all layers, always.

        A guarantee that the configuration holds is one of its policy, and goes with it.

        Raises:
            ValueError: the policy reads certainty, and the exits do not say how sure they are.
        """
        policy = None if spec is None else policies.build(spec)
        if policy is not None and policy.needs_certainty and self.certainty is None:
            raise ValueError(
                f"the exit policy {spec!r} reads how sure exits are that they are right, and these do not "
                "say it: train them with the stage learn_to_exit, or call add_exit_certainty"
            )
        self._policy: ExitPolicy | None = policy
        stored = {"name": spec} if isinstance(spec, str) else spec
        if stored != self.config.exit_policy:
            self.config.exit_guarantee = None
        self.config.exit_policy = stored

    def add_exit_certainty(self) -> ExitCertainty:
        """Let the exits say how sure they are that they are right; the layer is there to be trained."""
        if self.certainty is None:
            like = next(self.exits.parameters())
            self.certainty = ExitCertainty(self.config.hidden_size).to(like.device, like.dtype)
            self.config.exit_certainty = True
        return self.certainty

    def refresh_config(self) -> None:
        """Write the backbone's present sizes into the configuration; saving does it by itself."""
        self.config.shape = None
        record(self)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As in transformers, with the present sizes in ``config.json``."""
        self.refresh_config()
        super().save_pretrained(save_directory, *args, **kwargs)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; the backbone's configuration follows."""
        resized = super().resize_token_embeddings(*args, **kwargs)
        self.config.backbone.vocab_size = resized.num_embeddings
        return resized

    def get_input_embeddings(self) -> nn.Module:
        """The word embedding."""
        return self.backbone.get_input_embeddings()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        all_exits: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> Any:
        """Classify.

        Texts longer than the model takes are cut: their first tokens and, unless the model is causal, the
        last one, which ends a text.

        Args:
            input_ids: int64 ``[B, T]``.
            attention_mask: 1 for tokens, 0 for padding on either side, ``[B, T]``; default: padding tokens at
                the ends of a batch's rows are padding; a single row has none.
            token_type_ids: int64 ``[B, T]``, for families that have segments.
            labels: int64 ``[B]``; gives a loss, for which every exit is computed.
            all_exits: compute every exit (``True``) or let examples leave (``False``); default: leave in
                evaluation where there is a policy and no labels.
            output_hidden_states: also return hidden states; every exit is computed.
            return_dict: ``False`` gives a plain tuple of what is not ``None``.
            others: keywords of other models may be ``None`` or ``False``.

        Returns:
            :class:`MultiExitOutput`.

        Raises:
            TypeError: a keyword that would have no effect.
            ValueError: the model is no classifier: it has one class, or says that several may be right.
        """
        for name, value in others.items():
            if value is not None and value is not False:
                raise TypeError(f"{type(self).__name__}.forward() does not take {name!r}")
        self._require_classes(labels)
        if attention_mask is None:
            attention_mask = self._mask_of(input_ids)
        if self._longest is not None and input_ids.shape[1] > self._longest:
            input_ids, attention_mask, token_type_ids = self._cut(input_ids, attention_mask, token_type_ids)
        if all_exits is None:
            all_exits = self.training or self._policy is None or labels is not None
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        hidden, contexts = self._architecture.embed(self.backbone, inputs)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if all_exits or output_hidden_states:
            output = self._classified(hidden, contexts, mask, labels, bool(output_hidden_states))
        else:
            output = self._leave_early(hidden, contexts, mask)
        return output.to_tuple() if return_dict is False else output

    def _require_classes(self, labels: Tensor | None) -> None:
        kind = self.config.problem_type
        if self.num_labels < 2 or kind not in (None, "single_label_classification"):
            what = "has one class" if self.num_labels < 2 else f"has the problem_type {kind!r}"
            raise ValueError(
                f"the model {what}, and prunekit classifies: one of two or more classes is right"
            )
        if labels is not None and (labels.is_floating_point() or labels.dim() != 1):
            raise ValueError(
                f"labels are int64 [B], the numbers of classes, not {labels.dtype} {labels.dim()}d"
            )

    def _mask_of(self, input_ids: Tensor) -> Tensor | None:
        """Without a mask: 0 for padding tokens at the ends of rows; ``None`` where nothing can be padding."""
        padding = self.config.backbone.pad_token_id
        if padding is None or input_ids.shape[0] == 1:
            return None
        is_padding = (input_ids == padding).to(torch.int64)
        ends = is_padding.cumprod(1) + is_padding.flip(1).cumprod(1).flip(1)
        return (ends == 0).to(torch.int64)

    def _cut(
        self, input_ids: Tensor, mask: Tensor | None, types: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As many tokens of every row as the model takes, those that are padding last."""
        assert self._longest is not None
        if not self._cuts_are_known:
            self._cuts_are_known = True
            logger.warning(
                "texts longer than %d tokens, which the model takes at most, are cut", self._longest
            )
        mask = torch.ones_like(input_ids) if mask is None else mask
        first, last = first_token(mask)[:, None], last_token(mask)[:, None]
        places = first + torch.arange(self._longest, device=input_ids.device)
        if not self._architecture.causal:
            places[:, -1:] = torch.where(last > places[:, -1:], last, places[:, -1:])
        inside = (places <= last).to(mask.dtype)
        places = places.clamp_max(input_ids.shape[1] - 1)
        kept = None if types is None else types.gather(1, places)
        return input_ids.gather(1, places), mask.gather(1, places) * inside, kept

    def _classified(
        self, hidden: Tensor, contexts: list[Context], mask: Tensor, labels: Tensor | None, with_states: bool
    ) -> MultiExitOutput:
        """Every exit's answer."""
        exit_logits, states, certainty = self._all_exits(hidden, contexts, mask)
        loss = None
        if labels is not None:
            loss = torch.stack([cross_entropy(logits.float(), labels) for logits in exit_logits]).mean()
        return MultiExitOutput(
            loss=loss,
            logits=exit_logits[-1],
            exit_logits=exit_logits,
            exit_layer=torch.full_like(mask[:, 0], self.config.exit_layers[-1], dtype=torch.int64),
            hidden_states=tuple(states) if with_states else None,
            exit_certainty=certainty,
        )

    def _all_exits(
        self, hidden: Tensor, contexts: list[Context], mask: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        numbers = self.config.exit_layers
        heads = dict(zip(numbers, self.exits, strict=True))
        # behind[k]: exits on layer k or deeper, whose gradients meet in layer k.
        behind = [sum(n >= k for n in numbers) for k in range(numbers[-1] + 1)]
        states, logits, certainty = [hidden], [], []
        for k, layer in enumerate(self._architecture.layers(self.backbone), 1):
            if self.gradient_equilibrium and k > 1:
                hidden = scale_gradient(hidden, behind[k])
            hidden = self._architecture.run_layer(layer, hidden, contexts[k - 1])
            states.append(hidden)
            if self.gradient_equilibrium:
                hidden = scale_gradient(hidden, 1 / behind[k])
            if k in heads:
                said, read = heads[k](self.finished(hidden), mask)
                logits.append(said)
                if self.certainty is not None:
                    certainty.append(self.certainty(read))
        return torch.stack(logits), states, torch.stack(certainty) if certainty else None

    def finished(self, hidden: Tensor) -> Tensor:
        """What exits read of a layer."""
        return self._architecture.finish(self.backbone, hidden) if self.config.exit_norm else hidden

    def _leave_early(self, hidden: Tensor, contexts: list[Context], mask: Tensor) -> MultiExitOutput:
        if self._policy is None:
            raise ValueError("examples leave early only with an exit policy: call set_exit_policy first")
        numbers = self.config.exit_layers
        size = hidden.shape[0]
        alive = torch.arange(size, device=hidden.device)
        # Of the exits passed, for the examples that are still there: logits, and certainty if it is read.
        passed: list[Tensor] = []
        sure: list[Tensor] = []
        taken = torch.full((size,), numbers[-1], dtype=torch.int64, device=hidden.device)
        answers = hidden.new_full((size, self.num_labels), torch.nan)
        index = 0
        for number, layer in enumerate(self._architecture.layers(self.backbone), 1):
            hidden = self._architecture.run_layer(layer, hidden, contexts[number - 1])
            if number != numbers[index]:
                continue
            logits, read = self.exits[index](self.finished(hidden), mask)
            answers = answers.to(logits.dtype)
            answers[alive] = logits
            if number == numbers[-1]:
                break
            passed.append(logits)
            if self._policy.needs_certainty and self.certainty is not None:
                sure.append(self.certainty(read))
            leaving = self._policy.decide(torch.stack(passed), index, torch.stack(sure) if sure else None)
            taken[alive[leaving]] = number
            index += 1
            if bool(leaving.any()):
                stay = (~leaving).nonzero().flatten()
                if stay.numel() == 0:
                    break
                contexts = select_rows(contexts, stay, alive.numel())
                hidden, mask, alive = hidden[stay], mask[stay], alive[stay]
                passed, sure = [p[stay] for p in passed], [s[stay] for s in sure]
        return MultiExitOutput(logits=answers, exit_layer=taken)


def exit_layer_numbers(layers: Literal["all", "last"] | Sequence[int], depth: int) -> list[int]:
    """Layers with an exit, counted from 1, ascending.

    Raises:
        ValueError: a layer outside ``1..depth``, none, or one twice.
    """
    if layers == "all":
        return list(range(1, depth + 1))
    if layers == "last":
        return [depth]
    numbers = sorted(int(n) for n in layers)
    if not numbers or numbers[0] < 1 or numbers[-1] > depth or len(set(numbers)) < len(numbers):
        raise ValueError(f"exit layers {list(layers)} are not distinct layers in 1..{depth}")
    return numbers


def _own_pooler(backbone: Any, depth: int) -> dict[int, dict[str, Tensor]]:
    """The pooler that the backbone's family puts on its last layer, if it does: layer -> state."""
    dense = getattr(getattr(backbone, "pooler", None), "dense", None)
    if not isinstance(dense, nn.Linear) or dense.weight.is_meta:
        return {}
    return {depth: dense.state_dict()}


def _fresh_backbone(config: MultiExitConfig) -> PreTrainedModel:
    """As its configuration builds it; what was pruned of it is recorded in the outer configuration."""
    backbone = AutoModel.from_config(config.backbone, trust_remote_code=False)
    backbone = architecture_of(backbone).prepare(backbone)
    if config.shape is not None:  # folders of earlier versions
        reshape(backbone, ModelShape.from_dict(config.shape))
    return backbone
