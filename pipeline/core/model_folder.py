"""Model folders as transformers loads them: the base a fleet starts from, and what a bot's folder holds.

folder = fetch_base("mini")                 # or a local folder, or a Hugging Face id
model, tokenizer = load(folder)
files = bot_files(folder, state)            # {"config.json": b"…", "model.safetensors": b"…", …}
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError, one_line
from pipeline.core.json_file import json_bytes
from pipeline.core.own_code import ASSETS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SEPARATOR = "<|endoftext|>"
WEIGHTS = "model.safetensors"
DEFAULTS = "train_defaults.json"  # in a base's folder: the `train` settings it wants
_PATTERNS = ["*.json", "*.safetensors", "merges.txt", "vocab.txt", "*.model"]

# The original's sampling, as generation_config.json; lengths count tokens, the prompt among them.
SAMPLING = {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 50, "min_length": 10, "max_length": 160}


def fetch_base(name: str) -> Path:
    """The folder of a base model: "mini" (bundled), a local folder, or a Hugging Face id (downloaded).

    Raises UserError where there is none, or none with safetensors weights.
    """
    if name == "mini":
        folder = ASSETS / "mini"
    elif Path(name).is_dir():
        folder = Path(name)
    elif name.startswith(("/", ".", "~")):
        raise UserError(f"base_model {name}: no such folder")
    else:
        folder = _download(name)
    for needed in ("config.json", WEIGHTS):
        if not (folder / needed).is_file():
            raise UserError(f"base_model {name}: {folder} holds no {needed}")
    return folder


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_PATTERNS, ignore_patterns=["*/*"]))
    except Exception as error:
        raise UserError(
            f"base_model {name}: neither a folder here nor to be had from the Hugging Face hub "
            f"({one_line(error)}); `base_model: mini` needs no network"
        ) from error


def read_files(folder: Path) -> dict[str, bytes]:
    """The files of a model folder, by name: what travels to the nodes of a cluster."""
    names = sorted({path.name for pattern in _PATTERNS for path in folder.glob(pattern)})
    return {name: (folder / name).read_bytes() for name in names}


def content_hash(files: dict[str, bytes]) -> str:
    """A hash of what a model computes: its weights, its configuration and its tokenizer."""
    digest = hashlib.sha256()
    for name in sorted(files):
        if name not in (DEFAULTS, "generation_config.json"):
            digest.update(f"{name}:{len(files[name])}:".encode())
            digest.update(hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


def write_files(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def load(folder: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerFast]":
    """A causal language model in float32 and its tokenizer. Raises UserError naming the folder."""
    try:
        return load_model(folder), load_tokenizer(folder)
    except Exception as error:
        raise UserError(f"the base model does not load: {one_line(error)}") from error


def load_model(folder: Path) -> "PreTrainedModel":
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, attn_implementation="sdpa"
    )


def load_weights(network: "torch.nn.Module", path: Path) -> None:
    """Puts a safetensors file's weights into a live model of the same shapes, in place, in its own dtype."""
    from safetensors.torch import load_file

    try:
        load_state(network, load_file(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def load_state(network: "torch.nn.Module", state: "dict[str, torch.Tensor]") -> None:
    """Puts weights into a live model, in place; of tied ones one is enough. Raises ValueError where they do not fit."""
    missing, unexpected = network.load_state_dict(state, strict=False)
    tied = set(getattr(network, "_tied_weights_keys", None) or ())
    if unexpected or set(missing) - tied:
        raise ValueError(f"weights of another model: {(unexpected + missing)[0]} does not fit")


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)  # type: ignore[return-value]


def tokenizer_json(folder: Path) -> str:
    """The folder's tokenizer as one tokenizer.json, made from older files where it has none.

    Raises UserError naming the folder.
    """
    try:
        if (folder / "tokenizer.json").is_file():
            return (folder / "tokenizer.json").read_text(encoding="utf-8")
        return load_tokenizer(folder).backend_tokenizer.to_str()
    except Exception as error:
        raise UserError(f"base model {folder}: its tokenizer does not load: {one_line(error)}") from error


def separator_id(tokenizer: "PreTrainedTokenizerFast") -> int:
    """The id of the token that stands between tweets. Raises UserError where the tokenizer has none."""
    ids = tokenizer.encode(SEPARATOR, add_special_tokens=False)
    if len(ids) == 1:
        return ids[0]
    if tokenizer.eos_token_id is None:
        raise UserError("the base model's tokenizer has no end-of-text token to put between tweets")
    return tokenizer.eos_token_id


def positions(config: dict[str, Any]) -> int | None:
    """How many tokens a model's config.json says it can look at, or None where it does not say."""
    return config.get("n_positions") or config.get("max_position_embeddings")


def blocks(config: dict[str, Any]) -> int | None:
    """How many blocks a model's config.json says it has, or None where it does not say."""
    return config.get("n_layer") or config.get("num_hidden_layers")


def snapshot(state: "dict[str, torch.Tensor]", dtype: str) -> "dict[str, torch.Tensor]":
    """A copy of a state dict, floating-point weights in `dtype`; of tied weights one."""
    import torch

    seen: set[int] = set()
    kept = {}
    for name in sorted(state, key=lambda name: (name.startswith("lm_head"), name)):
        tensor = state[name]
        if tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        to = getattr(torch, dtype) if tensor.is_floating_point() else tensor.dtype
        kept[name] = tensor.detach().to(to, copy=True)
    return kept


def weight_bytes(state: "dict[str, torch.Tensor]", dtype: str) -> bytes:
    """A state dict as safetensors, floating-point weights in `dtype`; tied weights are stored once."""
    return saved(snapshot(state, dtype))


def saved(weights: "dict[str, torch.Tensor]") -> bytes:
    """Weights as safetensors."""
    from safetensors.torch import save

    return save({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, metadata={"format": "pt"})


def bot_files(base: dict[str, bytes], weights: bytes, separator: int) -> dict[str, bytes]:
    """The files of a bot's model folder: the base's, with these weights and the original's sampling.

    `dtype: float32` in config.json makes half-precision weights be computed with in full; `prefix` is
    what transformers' pipeline puts before a prompt.
    """
    config = json.loads(base["config.json"])
    config.pop("torch_dtype", None)
    config.pop("task_specific_params", None)
    config |= {"dtype": "float32", "prefix": SEPARATOR}
    longest = positions(config)
    sampling = SAMPLING | {"max_length": min(160, longest or 160)}
    tokens = {"bos_token_id": separator, "eos_token_id": separator, "pad_token_id": separator}
    other = (".safetensors", ".safetensors.index.json")  # weights of the base's, in one file or in shards
    files = {name: data for name, data in base.items() if name != DEFAULTS and not name.endswith(other)}
    files["config.json"] = json_bytes(config)
    files["generation_config.json"] = json_bytes(sampling | tokens)
    files[WEIGHTS] = weights
    return files
