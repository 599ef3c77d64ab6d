"""Which token comes next: logits to token ids, each row by its own parameters, all rows at once.

    token = sample(logits, [parameters], [0.37])[0]

The distribution is that of transformers' `generate`: repetition penalty, then temperature, then top-k, then
top-p. Only as much of the vocabulary is sorted as a row needs, and what a row draws depends on that row alone.
A row with a watermark (watermark.py) chooses by the noise of its secret instead of a drawn number.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from serve.engine import watermark
from serve.engine.parameters import Parameters

_NUCLEUS = 512  # tokens that hold top_p's share nearly always; where they do not, the whole row is sorted


def sample(
    logits: Tensor, parameters: Sequence[Parameters], draws: Sequence[float], noise_seeds: Sequence[int | None] = ()
) -> list[int]:
    """One token for each row of logits [rows, vocabulary], float32.

    `draws` in [0, 1) decide, or a watermark's noise seed in the rows that have one.
    """
    noise_seeds = noise_seeds or [None] * len(draws)
    vocabulary = logits.shape[1]
    rows_by_limit: dict[int, list[int]] = {}  # by how many of the likeliest tokens they choose from; 0: from all
    for row, one in enumerate(parameters):
        limit = one.top_k if 0 < one.top_k < vocabulary else 0
        rows_by_limit.setdefault(limit if one.do_sample else 1, []).append(row)
    tokens = [0] * len(parameters)
    for limit, rows in rows_by_limit.items():
        chosen = logits if len(rows) == len(tokens) else logits[rows]
        own, own_draws = [parameters[row] for row in rows], [draws[row] for row in rows]
        own_seeds = [noise_seeds[row] for row in rows]
        if limit == 1:
            ids = chosen.argmax(-1).tolist()
        elif limit:
            ids = _from_best(chosen, limit, own, own_draws, own_seeds)
        else:
            ids = [_from_all(*each) for each in zip(chosen, own, own_draws, own_seeds, strict=True)]
        for row, token in zip(rows, ids, strict=True):
            tokens[row] = token
    return tokens


def _from_best(
    logits: Tensor, limit: int, parameters: list[Parameters], draws: list[float], noise_seeds: list[int | None]
) -> list[int]:
    """Rows that share a top_k: only their `limit` best tokens are looked at."""
    best, ids = logits.topk(limit)
    temperature = _column([one.temperature for one in parameters], logits)
    probabilities = torch.softmax(best.double() / temperature, dim=-1)
    kept = _kept(probabilities, _column([one.top_p for one in parameters], logits))
    chosen = _draw(kept, _column(draws, logits))
    marked = {row: seed for row, seed in enumerate(noise_seeds) if seed is not None}
    if rows := list(marked):
        chosen[rows, 0] = watermark.choose(kept[rows], ids[rows], list(marked.values()))
    return ids.gather(1, chosen).flatten().tolist()


def _from_all(logits: Tensor, parameters: Parameters, draw: float, noise_seed: int | None) -> int:
    """A row [vocabulary] without a top_k: sorted as far as its top_p reaches, and not at all without one."""
    probabilities = torch.softmax(logits.double() / parameters.temperature, dim=-1)
    if parameters.top_p == 1:
        ids = torch.arange(len(probabilities), device=logits.device)
    else:
        best, ids = probabilities.topk(min(_NUCLEUS, len(probabilities)))
        if float(best.sum()) < parameters.top_p:
            best, ids = probabilities.sort(descending=True)
        probabilities = best
    kept = _kept(probabilities, parameters.top_p)
    if noise_seed is None:
        return int(ids[int(_draw(kept, kept.new_tensor([draw])))])
    return int(ids[int(watermark.choose(kept[None], ids[None], [noise_seed]))])


def _kept(probabilities: Tensor, top_p: Tensor | float) -> Tensor:
    """Probabilities [..., n], sorted, with zero for those after the first that reach top_p."""
    return torch.where(probabilities.cumsum(-1) - probabilities < top_p, probabilities, 0.0)


def _draw(kept: Tensor, draws: Tensor) -> Tensor:
    """Indices into probabilities [..., n], which need not sum to one, by their share."""
    up_to = kept.cumsum(-1)
    return torch.searchsorted(up_to, draws * up_to[..., -1:], right=True).clamp(max=kept.shape[-1] - 1)


def _column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]


def penalise(logits: Tensor, penalty: float, used: Iterable[int]) -> None:
    """Makes tokens that the text already has less likely, in place (CTRL's rule; penalty over 1)."""
    ids = torch.tensor(sorted(set(used)), device=logits.device)
    values = logits[ids]
    logits[ids] = torch.where(values > 0, values / penalty, values * penalty)
