"""A watermark in the choice of tokens (`serve.watermark`): its secret tells texts of marked bots from other texts.

    mark = Watermark(secret, seed=7, index=0)                   # of one text
    noise_seed = mark.noise_seed([0], [52, 8])                  # for the token after these, or None
    token = sample(logits, [parameters], [0.37], [noise_seed])[0]

Sampling can give each candidate token a random number, and choose by probability and number together (the Gumbel-max
trick). Here the numbers are made from the secret, the three tokens before, and the text's salt, one of 16,384 values
that follows from the request's seed (S. Aaronson's scheme of 2022, with a salt). So over all secrets each token is as
likely as without a watermark. With the secret, the numbers of the chosen tokens turn out to be larger than chance
allows: watermark_search.py looks for that, with every salt. The first token of a text is drawn without the secret, so
that texts with the same salt differ. Greedy decoding makes no choice, so it leaves no watermark.
"""

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SALTS = 2**14
CONTEXT = 3  # tokens before the one that is chosen

Words = NDArray[np.uint64]


class Watermark:
    """The watermark of one text while it is generated: `index` is the text's number within its request."""

    def __init__(self, secret: bytes, seed: int, index: int):
        first = hashlib.blake2b(struct.pack("<q", seed), key=secret, person=b"salt", digest_size=8).digest()
        salt = (int.from_bytes(first, "little") + index) % SALTS  # texts of one request have different salts
        self.secret, self.offset = secret, int(salt_offsets(salt, salt + 1)[0])
        self._contexts: set[tuple[int, ...]] = set()

    def noise_seed(self, prompt: Sequence[int], generated: Sequence[int]) -> int | None:
        """The seed, 64 bits, of the random numbers for the next token; called once for each token.

        None for the first token, and where the same tokens stood before an earlier one: the same numbers would come
        again and repeat the text. Such a token is drawn as without a watermark.
        """
        context = (*prompt[-CONTEXT:], *generated[-CONTEXT:])[-CONTEXT:]
        if not generated or context in self._contexts:
            return None
        self._contexts.add(context)
        return context_number(self.secret, context) ^ self.offset


def choose(probabilities: Tensor, ids: Tensor, noise_seeds: Sequence[int]) -> Tensor:
    """Which of its tokens each row chooses, as a place in the row; by probability over all noise seeds.

    `probabilities` [rows, n], which need not sum to one, and `ids` [rows, n] of the tokens; a noise seed for each row.
    """
    numbers = uniform(np.array(noise_seeds, np.uint64)[:, None], ids.cpu().numpy())
    with np.errstate(divide="ignore"):  # a token that is excluded has probability 0
        arrivals = -np.log(numbers) / probabilities.cpu().numpy()
    return torch.from_numpy(arrivals.argmin(axis=1)).to(ids.device)


def context_number(secret: bytes, context: Sequence[int]) -> int:
    """A number of 64 bits for the tokens before a token, which cannot be computed without the secret."""
    data = struct.pack(f"<{len(context)}q", *context)
    return int.from_bytes(hashlib.blake2b(data, key=secret, person=b"context", digest_size=8).digest(), "little")


def salt_offsets(start: int, stop: int) -> Words:
    """The numbers that salts `start` to `stop` - 1 add, by exclusive or, to the number of a context."""
    return mixed(np.arange(start, stop, dtype=np.uint64))


def uniform(noise_seeds: Words, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Numbers in (0, 1) for tokens, given noise seeds of a shape that fits."""
    bits = noise_bits(noise_seeds, tokens) >> np.uint64(12)  # 52, so that adding a half is exact
    return np.asarray((bits + 0.5) * 2.0**-52, np.float64)


def noise_bits(noise_seeds: Words, tokens: NDArray[np.int64]) -> Words:
    """64 random bits for tokens, given noise seeds of a shape that fits."""
    return mixed(mixed(noise_seeds) ^ mixed(tokens.astype(np.uint64)))


def mixed(numbers: Words) -> Words:
    """Each number as another one that looks random: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed
