"""Weights & Biases: the runs of published bots, written offline and synced by a process of their own."""
