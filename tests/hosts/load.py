"""Sends requests to bots until its input ends, then prints how they were answered.

python load.py http://10.78.0.12:8000 3 ada,ben        # three questions at a time: {"200": 812, …}, the longest in s
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter

import httpx


async def main(address: str, width: int, bots: list[str]) -> None:
    asked, failed, longest = Counter[str](), [], 0.0
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    turns = itertools.cycle(bots)

    async def ask(client: httpx.AsyncClient) -> None:
        nonlocal longest
        while not ended.done():
            body = {"inputs": "Engine", "parameters": {"max_new_tokens": 40, "min_new_tokens": 40}}
            began = time.monotonic()
            try:
                answer = await client.post(f"/bots/{next(turns)}", json=body)
                status, text = str(answer.status_code), answer.text[:200]
            except httpx.HTTPError as error:
                status, text = type(error).__name__, str(error)
            asked[status] += 1
            longest = max(longest, time.monotonic() - began)
            if status != "200":
                failed.append(f"{status}: {text}")

    async with httpx.AsyncClient(base_url=address, timeout=180) as client:
        await asyncio.gather(*(ask(client) for _ in range(width)))
    print(json.dumps({"asked": asked, "failed": failed[:5], "longest": round(longest, 1)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")))
