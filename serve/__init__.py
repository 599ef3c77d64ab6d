"""Bots in, HTTP out.

engine (batched decoding) · endpoint and pool (the Serve deployments around it: a bot's own, a fleet's shared one;
residents: what a pool's worker holds, cache: what a node keeps of an object store) · gateway (the deployment that owns
HTTP; app: the routes, guard: keys, limits and logs before them, schema, tgi, openai: what is asked and replied) ·
registry (what is served; mover: where from) · deploy (a fleet becomes Serve applications; service: those of a config) ·
web (the page).
"""
