"""`make fuzz`: the long form of tests/tweets/test_fuzz.py."""

from hypothesis import settings

settings.register_profile("fuzz", max_examples=10_000)
