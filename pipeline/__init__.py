"""Tweets in, bots out: one package per stage, and imports that point one way.

cli -> operate -> run -> report -> evaluate -> publish, base -> train, track -> plan -> prepare -> tweets -> core

`run.py` has the steps in their order; README.md says what each package does.
"""
