"""Reading configurations, tokenizers and weights of others through ``transformers``.

Every such read of the package goes through here. No code of a model folder or of a hub repository is run, no
question is asked, and what lies in a folder is read without any network.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from .errors import CheckpointError, PrunekitError, UnsupportedModelError, first_line, system_error
from .text import shown

logger = logging.getLogger(__name__)

# For whatever of transformers reads a folder: without it a prompt asks, and a "y" runs the folder's code.
NO_CODE: dict[str, Any] = {"trust_remote_code": False}

# More layers or classes than any model has, and numbers that no memory holds: making them would never end.
_MOST_LAYERS, _MOST_CLASSES, _MOST = 300, 1_000_000, 2**40
_LAYERS = ("layers", "layer", "experts", "depth", "depths", "stages", "blocks")
_MOST_BYTES = 64 << 20
_MOST_WORDS = 300
_COPY = "the file is damaged or of another kind: copy the model folder again"


def is_path(name: str) -> bool:
    """Whether a model's name can only be meant as a folder: the hub's are ``name`` or ``owner/name``."""
    path = Path(name)
    return path.is_absolute() or name.startswith((".", "~")) or len(path.parts) > 2


@contextmanager
def reading(source: str | os.PathLike[str]) -> Iterator[None]:
    """Read something of a folder, or of the hub: what goes wrong becomes one message that names it.

    While a folder is read, the hub cannot be reached.

    Raises:
        CheckpointError: it is not there, or cannot be read.
    """
    name = os.fspath(source)
    _refuse_missing(name)
    try:
        if _is_folder(name):
            with _offline():
                yield
        else:
            yield
    except PrunekitError:
        raise
    except RecursionError as error:
        raise CheckpointError(f"cannot read the model {shown(name)!r}: it is nested too deeply") from error
    except MemoryError:
        raise
    except Exception as error:  # transformers passes on whatever its parsers raise
        raise _unreadable(name, error) from error


def described(source: str | os.PathLike[str], revision: str | None = None) -> dict[str, Any]:
    """``config.json`` of a folder, or of a repository of the hub, as it is.

    Raises:
        CheckpointError: there is none, it is not a JSON object, or it holds sizes that no machine can serve.
    """
    folder = Path(source)
    if _is_folder(os.fspath(source)):
        _refuse_adapter(folder)
        found = json_object(folder / "config.json")
    else:
        with reading(source):
            found, _ = PretrainedConfig.get_config_dict(os.fspath(source), revision=revision, **NO_CODE)
    check_sizes(found, f"{shown(os.fspath(source))}: config.json")
    return dict(found)


def read_config(
    source: str | os.PathLike[str], revision: str | None = None, found: Mapping[str, Any] | None = None
) -> Any:
    """The configuration of a folder, or of a repository of the hub, as its class in ``transformers``.

    Args:
        source: the folder or the name.
        revision: on the hub.
        found: what :func:`described` gave of it, where that was asked already.

    Raises:
        CheckpointError: it cannot be read, or needs code that is not in ``transformers``.
    """
    if found is None:
        described(source, revision)
    with reading(source):
        return AutoConfig.from_pretrained(source, revision=revision, **NO_CODE)


def read_tokenizer(
    source: str | os.PathLike[str], revision: str | None = None, **known: Any
) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, or of a repository of the hub. It gives a mask of what is no padding.

    Args:
        source: the folder or the name.
        revision: on the hub.
        known: passed on, e.g. ``config``.

    Raises:
        CheckpointError: there is none, or it contradicts itself.
    """
    if _is_folder(os.fspath(source)):
        _refuse_adapter(Path(source))
        for name in ("tokenizer_config.json", "tokenizer.json", "config.json"):
            if (Path(source) / name).is_file():
                json_object(Path(source) / name)
    with reading(source):
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, **NO_CODE, **known)
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise CheckpointError(f"{shown(os.fspath(source))} has no tokenizer that transformers can make")
        _check_tokenizer(tokenizer, os.fspath(source))
    with_mask(tokenizer)
    return tokenizer


def with_mask(tokenizer: PreTrainedTokenizerBase) -> None:
    """Have a tokenizer give ``attention_mask``, also once it is saved and read again."""
    names = list(tokenizer.model_input_names)
    if "attention_mask" not in names:
        tokenizer.model_input_names = [*names, "attention_mask"]
        tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names


def refuse_not_finite(model: nn.Module, place: str) -> None:
    """Refuse weights that are no numbers: whatever such a model says is no answer.

    Raises:
        CheckpointError: naming the first tensor with a NaN or an infinity.
    """
    for name, tensor in model.named_parameters():
        if not tensor.is_meta and tensor.numel() and not _is_finite(tensor.detach()):
            raise CheckpointError(
                f"the weights in {place} are not finite numbers: {name} holds NaN or infinity",
                "the model was trained into that, or the file is damaged: take another checkpoint of it",
            )


def _is_finite(tensor: torch.Tensor) -> bool:
    least, most = (tensor.float() if tensor.element_size() < 2 else tensor).aminmax()
    return bool(torch.isfinite(least) & torch.isfinite(most))


def with_padding(
    tokenizer: PreTrainedTokenizerBase, source: str | os.PathLike[str]
) -> PreTrainedTokenizerBase:
    """The tokenizer itself, which pads with its end-of-text token where it has no padding token.

    Raises:
        CheckpointError: it has neither.
    """
    if tokenizer.pad_token_id is None:
        place = shown(os.fspath(source))
        if tokenizer.eos_token is None:
            raise CheckpointError(
                f"the tokenizer of {place} has no padding token, and no end-of-text token",
                "set one and save it: tokenizer.pad_token = ...; tokenizer.save_pretrained(FOLDER)",
            )
        tokenizer.pad_token = tokenizer.eos_token
        logger.warning(
            "the tokenizer of %s has no padding token: it pads with %s, its end-of-text token",
            place, shown(str(tokenizer.eos_token)),
        )  # fmt: skip
    return tokenizer


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids that are no words; an unknown word is still a word."""
    return {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}


def json_object(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        CheckpointError: naming the file, and the line where it is not JSON.
    """
    place = shown(str(file))
    try:
        if file.stat().st_size > _MOST_BYTES and file.name != "tokenizer.json":
            raise CheckpointError(f"{place} has more than {_MOST_BYTES >> 20} MiB: it is no configuration")
        value = json.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no {place}", "give a run's folder, a model folder (with config.json), or a hub name"
        ) from None
    except OSError as error:
        raise CheckpointError(f"cannot read {place}: {error.strerror}", "check its permissions") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{place} is not UTF-8 text (byte {error.start})", _COPY) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{place} is not JSON: {shown(first_line(error))}", _COPY) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{place} holds no JSON object ({{...}})", _COPY)
    return value


def check_sizes(values: Mapping[str, Any], place: str) -> None:
    """Refuse sizes in a configuration that no machine can serve, before anything is made of them.

    Raises:
        CheckpointError: naming the key.
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            check_sizes(value, f"{place}: {shown(str(key))}")
            continue
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, Mapping):
                check_sizes(number, f"{place}: {shown(str(key))}")
            elif isinstance(number, int) and not -_MOST <= number <= _most(str(key)):
                raise CheckpointError(
                    f"{place}: {shown(str(key))} is {number}: more than any machine can serve",
                    f"give at most {_most(str(key)):,}",
                )


def _most(key: str) -> int:
    if key == "num_labels":
        return _MOST_CLASSES
    return _MOST_LAYERS if key.rpartition("_")[2] in _LAYERS else _MOST


def _refuse_missing(name: str) -> None:
    if "\x00" in name or not name:
        raise CheckpointError(f"{shown(name)!r} cannot name a model", "give a folder, or a name on the hub")
    if is_path(name) and not Path(name).exists():
        raise CheckpointError(
            f"cannot load the model {shown(name)!r}: there is no such folder",
            "give the path of a model folder, or a name on the hub: model.name=NAME",
        )


def _is_folder(name: str) -> bool:
    return "\x00" not in name and len(name) < 4096 and Path(name).is_dir()


def _refuse_adapter(folder: Path) -> None:
    """With PEFT installed, transformers would go on to the model that an adapter names, on the hub."""
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{shown(str(folder))} holds a PEFT adapter, not a whole model",
            "merge it first: PeftModel.from_pretrained(...).merge_and_unload().save_pretrained(FOLDER)",
        )


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    longest: Any = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, (int, float)) or not longest >= 1:
        raise CheckpointError(
            f"{shown(name)}: tokenizer_config.json: model_max_length is {longest!r}",
            "it is a number of tokens, at least 1",
        )
    tokenizer.model_max_length = int(longest)
    # What it makes of a text is tried: some lies show only then.
    tokenizer("a", "b")


@contextmanager
def _offline() -> Iterator[None]:
    """No call to the hub for a block of code, whatever a configuration names."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _unreadable(name: str, error: Exception) -> PrunekitError:
    refused = system_error(error)
    if refused is not None:
        return CheckpointError(f"cannot read the model in {shown(name)}: {refused.message}", refused.mend)
    told = " ".join(str(error).split()) or repr(error)
    words, folder, name = shown(told[:_MOST_WORDS]), _is_folder(name), shown(name)
    if "custom code" in str(error) or "trust_remote_code" in str(error):
        return UnsupportedModelError(
            f"the model {name} needs code of its own, which prunekit does not run",
            "give a model whose family is part of transformers",
        )
    if folder:
        return CheckpointError(
            f"cannot read the model in {name}: {words}",
            "it is damaged or not complete (config.json, model.safetensors, tokenizer): copy it again",
        )
    return CheckpointError(
        f"cannot load the model {name!r}: there is no such folder, and the hub did not give it ({words})",
        "check the name and the network, or give the path of a model folder: model.name=PATH",
    )
