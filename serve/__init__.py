"""Bots in, HTTP out: engine (batched decoding), schema (requests and replies), endpoint (Serve
deployments), gateway (HTTP routes), deploy (a fleet becomes Serve applications)."""
