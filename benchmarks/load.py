"""Traffic for benchmarks/endpoints.py, made by locust: many bots, a few of them popular; streams, some cut by clients.

locust -f benchmarks/load.py --headless -H http://127.0.0.1:8000 -u 16 -t 1m
"""

import http.client
import json
import random
import time
from typing import ClassVar
from urllib.parse import urlsplit

from locust import FastHttpUser, between, task

PROMPTS = ("My dream is", "Today I", "The best thing about", "Nobody told me that", "I think", "")
BY_DESIGN = (429, 503)  # with Retry-After: the bot is busy


class Reader(FastHttpUser):
    wait_time = between(0.05, 0.3)
    connection_timeout, network_timeout = 70.0, 70.0
    bots: ClassVar[list[str]] = []
    weights: ClassVar[list[float]] = []

    def on_start(self) -> None:
        if not Reader.bots:
            cursor = ""
            while cursor is not None:
                page = self.client.get(f"/bots?limit=1000&cursor={cursor}", name="/bots").json()
                Reader.bots += [bot["name"] for bot in page["bots"]]
                cursor = page["next"]
            random.Random(0).shuffle(Reader.bots)
            Reader.weights = [1 / rank for rank in range(1, len(Reader.bots) + 1)]  # Zipf's law

    def bot(self) -> str:
        return random.choices(Reader.bots, Reader.weights)[0]

    def post(self, path: str, name: str, body: dict[str, object]) -> None:
        with self.client.post(path, json=body, name=name, catch_response=True) as reply:
            if reply.status_code in BY_DESIGN and "Retry-After" in reply.headers:
                reply.success()

    @task(6)
    def whole(self) -> None:
        body = {"inputs": random.choice(PROMPTS), "parameters": {"max_new_tokens": random.choice((8, 20, 40))}}
        self.post(f"/bots/{self.bot()}", "whole", body)

    @task(2)
    def streamed(self) -> None:
        body = {"inputs": random.choice(PROMPTS), "stream": True, "parameters": {"max_new_tokens": 40}}
        self.post(f"/bots/{self.bot()}", "streamed", body)

    @task(1)
    def openai(self) -> None:
        body = {"model": self.bot(), "prompt": random.choice(PROMPTS), "n": 3, "max_tokens": 20}
        self.post("/v1/completions", "openai", body)

    @task(1)
    def hangs_up(self) -> None:
        """Reads one or two pieces of a long stream, then closes the connection."""
        body = {"inputs": random.choice(PROMPTS), "stream": True, "parameters": {"max_new_tokens": 160}}
        began, where, problem = time.perf_counter(), urlsplit(self.host), None
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=70)
        try:
            connection.request("POST", f"/bots/{self.bot()}", json.dumps(body))
            reply = connection.getresponse()
            if reply.status == 200:
                reply.read1(64)
            elif reply.status not in BY_DESIGN or not reply.headers["Retry-After"]:
                problem = RuntimeError(f"status {reply.status}")
            reply.close()
        except (OSError, http.client.HTTPException) as error:
            problem = error
        finally:
            connection.close()
        self.environment.events.request.fire(
            request_type="POST",
            name="hangs up",
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=problem,
            context={},
        )

    @task(2)
    def looks(self) -> None:
        self.client.get(f"/bots/{self.bot()}", name="about")
