"""Which token comes next: logits to token ids, each row by its own parameters, all rows at once.

    token = sample(logits, [parameters], [0.37])[0]

The distribution is that of transformers' `generate`: repetition penalty, then temperature, then top-k, then
top-p. Only as much of the vocabulary is sorted as a row needs, and what a row draws depends on that row alone.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from serve.engine.parameters import Parameters

_NUCLEUS = 512  # tokens that hold top_p's share nearly always; where they do not, the whole row is sorted


def sample(logits: Tensor, parameters: Sequence[Parameters], draws: Sequence[float]) -> list[int]:
    """One token for each row of logits [rows, vocabulary], float32; `draws` in [0, 1) decide."""
    vocabulary = logits.shape[1]
    alike: dict[int, list[int]] = {}  # rows by how many of the best tokens they choose from
    for row, one in enumerate(parameters):
        limit = one.top_k if 0 < one.top_k < vocabulary else 0
        alike.setdefault(limit if one.do_sample else 1, []).append(row)
    tokens = [0] * len(parameters)
    for limit, rows in alike.items():
        chosen = logits if len(rows) == len(tokens) else logits[rows]
        ours, numbers = [parameters[row] for row in rows], [draws[row] for row in rows]
        if limit == 1:
            ids = chosen.argmax(-1).tolist()
        elif limit:
            ids = _from_best(chosen, limit, ours, numbers)
        else:
            ids = [_from_all(*each) for each in zip(chosen, ours, numbers, strict=True)]
        for row, token in zip(rows, ids, strict=True):
            tokens[row] = token
    return tokens


def _from_best(logits: Tensor, limit: int, parameters: list[Parameters], draws: list[float]) -> list[int]:
    """Rows that share a top_k: only their `limit` best tokens are looked at."""
    best, ids = logits.topk(limit)
    temperature = _column([one.temperature for one in parameters], logits)
    probabilities = torch.softmax(best.double() / temperature, dim=-1)
    chosen = _draw(probabilities, _column([one.top_p for one in parameters], logits), _column(draws, logits))
    return ids.gather(1, chosen).flatten().tolist()


def _from_all(logits: Tensor, parameters: Parameters, draw: float) -> int:
    """A row [vocabulary] without a top_k: sorted as far as its top_p reaches, and not at all without one."""
    probabilities = torch.softmax(logits.double() / parameters.temperature, dim=-1)
    if parameters.top_p == 1:
        ids = None
    else:
        best, ids = probabilities.topk(min(_NUCLEUS, len(probabilities)))
        if float(best.sum()) < parameters.top_p:
            best, ids = probabilities.sort(descending=True)
        probabilities = best
    chosen = int(_draw(probabilities, parameters.top_p, probabilities.new_tensor([draw])))
    return chosen if ids is None else int(ids[chosen])


def _draw(probabilities: Tensor, top_p: Tensor | float, draws: Tensor) -> Tensor:
    """Indices into probabilities [..., n], sorted: of the first that reach top_p, by their share."""
    up_to = probabilities.cumsum(-1)
    kept = torch.where(up_to - probabilities < top_p, probabilities, 0.0)
    up_to = kept.cumsum(-1)
    return torch.searchsorted(up_to, draws * up_to[..., -1:], right=True).clamp(max=kept.shape[-1] - 1)


def _column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]


def penalise(logits: Tensor, penalty: float, used: Iterable[int]) -> None:
    """Makes tokens that the text already has less likely, in place (CTRL's rule; penalty over 1)."""
    ids = torch.tensor(sorted(set(used)), device=logits.device)
    values = logits[ids]
    logits[ids] = torch.where(values > 0, values / penalty, values * penalty)
