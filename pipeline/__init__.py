"""Tweets in, bots out: one module per step, in the order the data flows.

fleet (the YAML) -> tweets (readers) -> clean -> prepare (Ray Data) -> finetune -> train (Ray Train)
-> evaluate -> publish; store says where things live, track keeps W&B, cli holds the commands.
"""
