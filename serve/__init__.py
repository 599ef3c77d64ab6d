"""Bots in, HTTP out: serves published bots on Ray Serve.

deploy.py turns a fleet into Serve applications; service.py is what a Kubernetes RayService imports. Below them:
deployments (Serve's actors), http (routes, limits, keys, the page) and engine (batched decoding without Ray or HTTP).
Of `pipeline`, only `pipeline.core` is imported here.
"""
