"""How fast a fleet trains, and how that is shown: "2 lanes, 5 bots left, 3,120 tokens/s, 1:20 to go".

pace = Pace(window_seconds=60)
rate = pace.tokens_per_second(time.monotonic(), tokens=250_000)
progress_text(lanes=2, bots_left=5, failed=0, rate=rate, tokens_left=1e6)
"""

from dataclasses import dataclass, field


@dataclass
class Pace:
    """Tokens per second over the last `window_seconds`."""

    window_seconds: float = 60.0
    samples: list[tuple[float, float]] = field(default_factory=list)  # (time, tokens so far)

    def tokens_per_second(self, now: float, tokens: float) -> float:
        """The pace now that so many tokens are trained in all; `now` in seconds of any clock."""
        # the count falls where a bot starts over: the samples before that say nothing about the pace
        self.samples = [one for one in self.samples if now - one[0] < self.window_seconds and one[1] <= tokens]
        self.samples.append((now, tokens))
        then, before = self.samples[0]
        return (tokens - before) / (now - then) if now > then else 0.0


def progress_text(lanes: int, bots_left: int, failed: int, rate: float, tokens_left: float) -> str:
    """One line on how far the fleet is; `rate` in tokens per second, 0 where it is not known yet."""
    parts = [f"{lanes} lanes", f"{bots_left:,} bots left", f"{rate:,.0f} tokens/s"]
    if rate:
        parts.append(f"{_clock(tokens_left / rate)} to go")
    if failed:
        parts.append(f"{failed} failed")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
