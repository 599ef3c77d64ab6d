"""Losses of next-token prediction, in nats per predicted token: of blocks, and of a stream of tokens of any length.

    loss = next_token_loss(network, blocks)                                 # to train on
    mean = stream_loss(loss_of_blocks, stream, block_size=256, device=device)
    nats = token_losses(network, stream, block_size=256, device=device)     # of each token but the first

A stream longer than a block is cut into blocks that share their border token, so that each token but the first is
predicted once. torch is imported late: commands that train nothing import this module too.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.bot_files import HeldOut

if TYPE_CHECKING:
    import torch

_IGNORED = -100  # the label of a position that predicts nothing
_BLOCKS_PER_BATCH = 4  # in the mean loss of a stream
_LOGITS_PER_BATCH = 2**25  # there, on a CPU: 128 MB, as much again for their softmax


def next_token_loss(network: "torch.nn.Module", blocks: "torch.Tensor") -> "torch.Tensor":
    """The mean loss, a scalar, of the [batch, block - 1] predictions in blocks, int64 [batch, block]."""
    import torch

    logits = network(input_ids=blocks, use_cache=False).logits
    # the last token has nothing to predict; a label that is ignored saves a copy of all the other logits
    labels = torch.nn.functional.pad(blocks[:, 1:], (0, 1), value=_IGNORED)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=_IGNORED)


def stream_loss(
    loss: "Callable[[torch.Tensor], torch.Tensor]",
    stream: np.ndarray,
    block_size: int,
    device: "torch.device",
    vocabulary: int = 0,
) -> float:
    """The mean of `loss` over a stream, int64 [n]; `loss` is called with several blocks at a time, [batch, block].

    On a CPU they are fewer where the logits of a large `vocabulary` would take much memory.
    """
    import torch

    at_once = _BLOCKS_PER_BATCH
    if device.type == "cpu" and vocabulary:
        at_once = min(at_once, max(1, _LOGITS_PER_BATCH // (vocabulary * block_size)))
    total, count = torch.zeros((), device=device), 0
    with torch.no_grad():
        for blocks in _overlapping_blocks(stream, block_size, at_once):
            predictions = blocks.shape[0] * (blocks.shape[1] - 1)
            total += loss(torch.from_numpy(blocks).to(device)) * predictions
            count += predictions
    return float(total) / max(1, count)


def token_losses(network: "torch.nn.Module", stream: np.ndarray, block_size: int, device: "torch.device") -> np.ndarray:
    """The loss of each token but the first of a stream, int64 [n]: float64 [n - 1]."""
    import torch

    losses = []
    with torch.inference_mode():
        # one block at a time: the results must not depend on how many there are
        for blocks in _overlapping_blocks(stream, block_size, batch_size=1):
            block = torch.from_numpy(blocks).to(device)
            logits = network(input_ids=block, use_cache=False).logits[0, :-1].float()
            losses.append(torch.nn.functional.cross_entropy(logits, block[0, 1:], reduction="none").cpu())
    return torch.cat(losses).double().numpy()


def perplexity(loss: float) -> float:
    """e to the power of the loss, capped at what fits into a JSON number."""
    return math.exp(min(loss, 700.0))


def held_out_metrics(loss: float, base_loss: float, tokens: int) -> HeldOut:
    """The entry `held_out` of metrics.json; losses in nats per token, over `tokens` predicted tokens."""
    return {
        "loss": loss,
        "perplexity": perplexity(loss),
        "base_loss": base_loss,
        "base_perplexity": perplexity(base_loss),
        "tokens": tokens,
    }


def _overlapping_blocks(stream: np.ndarray, block_size: int, batch_size: int) -> Iterator[np.ndarray]:
    """The stream as blocks that share their border token: whole ones by the batch, [batch, block], then the rest."""
    stride = block_size - 1
    starts = np.arange(max(0, (len(stream) - 1) // stride)) * stride
    for first in range(0, len(starts), batch_size):
        yield stream[starts[first : first + batch_size, None] + np.arange(block_size)]
    rest = stream[len(starts) * stride :]
    if len(rest) > 1:
        yield rest[None]
