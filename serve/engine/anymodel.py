"""Any causal language model that transformers loads, run by its own forward pass over our cache."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.cache_utils import Cache, CacheLayerMixin

from pipeline.core import model_folder, onednn
from pipeline.core.weights import load_weights
from serve.engine.kv import ROWS, KVCache, Span


class AnyModel:
    """A `Network` for models that network.py does not write out."""

    recordable = False

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype):
        self.module: Any = model_folder.load_model(folder).eval().to(device, dtype)
        if device.type == "cpu" and dtype == torch.float32:
            # MKL, PyTorch's choice, adds up a row in an order that depends on the number of rows beside it
            onednn.patch_linear_layers(self.module)
        config = self.module.config.get_text_config()
        self.layers = config.num_hidden_layers
        self.tokens: int = config.vocab_size
        self.positions = model_folder.positions(config.to_dict())
        if window := getattr(config, "sliding_window", None):  # within the window every layer sees everything
            self.positions = min(window, self.positions or window)

    @property
    def bytes(self) -> int:
        """The memory that the weights take."""
        return sum(tensor.nbytes for tensor in {*self.module.parameters(), *self.module.buffers()})

    def load(self, path: Path) -> None:
        """Loads weights of the same shapes from a safetensors file. Raises ValueError if they are not."""
        load_weights(self.module, path)

    def __call__(self, tokens: Tensor, positions: Tensor, last: Tensor, span: Span, cache: KVCache) -> Tensor:
        wanted, place = last.unique(return_inverse=True)
        wanted = F.pad(wanted, (0, -len(wanted) % ROWS))
        logits = self.module(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=span.mask(),
            past_key_values=Cache(layers=[_Layer(number, cache, span) for number in range(self.layers)]),
            use_cache=True,
            logits_to_keep=wanted,
        ).logits
        return logits[torch.arange(len(tokens), device=tokens.device), place]


class _Layer(CacheLayerMixin):
    """One layer of our cache during one pass, as transformers sees it."""

    is_sliding = False

    def __init__(self, number: int, cache: KVCache, span: Span):
        super().__init__()
        self.number, self.cache, self.span, self.is_initialized = number, cache, span, True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the cache allocates its memory itself."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        kept = self.cache.write(self.number, key_states.transpose(1, 2), value_states.transpose(1, 2), self.span)
        return kept[0].transpose(1, 2), kept[1].transpose(1, 2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.span.length, 0

    def get_seq_length(self) -> int:
        return 0  # positions are always given

    def get_max_length(self) -> int:
        return self.span.length
