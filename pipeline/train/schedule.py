"""The learning rate of each step.

rates = [learning_rate_at(step, steps=300, peak=1e-3) for step in range(300)]
"""

import math


def learning_rate_at(step: int, steps: int, peak: float, schedule: str = "cosine", warmup: int = 0) -> float:
    """The rate of one of `steps` steps, counted from 0.

    It rises in a line to `peak` over the first `warmup` steps. Then it falls to zero along half a cosine ("cosine") or
    a line ("linear"), or stays ("constant").
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    passed = (step - warmup) / max(1, steps - warmup)
    factors = {"cosine": 0.5 * (1 + math.cos(math.pi * passed)), "linear": 1 - passed, "constant": 1.0}
    return peak * factors[schedule]
