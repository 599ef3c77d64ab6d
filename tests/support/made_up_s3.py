"""An S3 server on loopback for benchmarks: it holds any number of published bots in no memory, and waits in each reply.

    with serving(versions={"bot_1": "0123456789ab"}, seconds=0.03) as (address, requests): ...

The bots' folders in the store `s3://fleets/all/many` are made up when they are asked for: `current`, and in the version
the files of `FILES`. What is written is kept, until it is deleted. It knows the requests that pyarrow makes.
"""

import io
import json
import multiprocessing
import re
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from pipeline.evaluate.measurer import MEASURED
from tests.support.published import counts, metrics

ROOT = "fleets/all/many"
_PAGE = 1000
_BOT = re.compile(rf"{ROOT}/bots/([a-z0-9_]+)/(?:current|([0-9a-f]{{12}})/(.+))")
_LONG_AGO = "2026-01-01T00:00:00.000Z"
_NO_KEY = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"


def measured(bot: str) -> dict[str, Any]:
    """A metrics.json of 4 KB, as a bot of GPT-2 has it."""
    texts = [
        f"My dream is to see a whale from the kitchen window, as {bot} does, twice a day or {i} times"
        for i in range(20)
    ]
    more = {
        "voice": metrics()["voice"] | {"real_top1": 0.7, "base_top1": 0.1, "samples": 20},
        "authorship": {"people": 1000, "value": 0.5, "standard_error": 0.1, "base_value": 0.1},
        "real_or_bot": {"accuracy": 0.8, "standard_error": 0.05, "base_accuracy": 0.95},
        "copying": {"long_runs": 0.02, "exact": 0.0},
        "variety": {"distinct_2": 0.6},
        "safety": {"mentions": 0.1},
    }
    return (
        {measure: {} for measure in sorted(MEASURED)}
        | metrics()
        | more
        | {"samples": {"My dream is": texts, "": texts}}
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    versions: Mapping[str, str]
    names: list[str]
    seconds: float
    requests: Any
    objects: dict[str, bytes]
    lock = threading.Lock()

    def log_message(self, *arguments: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._wait()
        body = self._object()
        self._reply(404 if body is None else 200, body or b"", send=False)

    def do_GET(self) -> None:
        self._wait()
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "list-type" in query or "prefix" in query:
            self._reply(200, self._listing({key: value[0] for key, value in query.items()}))
            return
        body = self._object()
        if body is None:
            self._reply(404, _NO_KEY)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            body = body[int(asked[1]) : int(asked[2]) + 1 if asked[2] else None]
        self._reply(206 if asked else 200, body)

    def do_PUT(self) -> None:
        self._wait()
        query = parse_qs(urlsplit(self.path).query)
        number = f"?{int(query['partNumber'][0]):06d}" if "partNumber" in query else ""
        body = self._body()
        with self.lock:
            self.objects[self._key() + number] = body
        self._reply(200, b"", {"ETag": '"0"'})

    def do_POST(self) -> None:
        self._wait()
        self._body()
        key, query = self._key(), urlsplit(self.path).query
        if query.startswith("delete"):
            raise NotImplementedError("deletes of several keys")
        if query.startswith("uploads"):
            self._reply(200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
            return
        with self.lock:
            parts = sorted(name for name in self.objects if name.startswith(f"{key}?"))
            self.objects[key] = b"".join(self.objects.pop(part) for part in parts)
        self._reply(200, b"<CompleteMultipartUploadResult><ETag>0</ETag></CompleteMultipartUploadResult>")

    def do_DELETE(self) -> None:
        self._wait()
        with self.lock:
            self.objects.pop(self._key(), None)
        self._reply(204, b"")

    def _wait(self) -> None:
        with self.requests.get_lock():
            self.requests.value += 1
        time.sleep(self.seconds)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b"".join(_chunks(self.rfile))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # Amazon's clients put chunks with checksums into the body
        is_chunked = "aws-chunked" in self.headers.get("Content-Encoding", "")
        return b"".join(_chunks(io.BytesIO(body))) if is_chunked else body

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).strip("/")

    def _object(self) -> bytes | None:
        key = self._key()
        if key in self.objects:
            return self.objects[key]
        made_up = _BOT.fullmatch(key)
        if made_up is None or made_up[1] not in self.versions:
            return b"" if key == "fleets" else None  # the bucket
        bot, version, name = made_up.groups()
        if version is None:
            return self.versions[bot].encode()
        content = {
            "metrics.json": measured(bot),
            "stats.json": {"handles": [bot], "tweets": {bot: counts()}},
        }
        return json.dumps(content[name]).encode() if version == self.versions[bot] and name in content else None

    def _listing(self, query: dict[str, str]) -> bytes:
        prefix, after, limit = (
            query.get("prefix", ""),
            query.get("continuation-token", ""),
            int(query.get("max-keys", _PAGE)),
        )
        keys = sorted(key.partition("/")[2] for key in list(self.objects))
        names = {
            f"{key[: key.index('/', len(prefix)) + 1]}" if "/" in key[len(prefix) :] else key
            for key in keys
            if key.startswith(prefix)
        }
        bots = f"{ROOT.partition('/')[2]}/bots/"
        if prefix == bots:
            start = bisect_right(self.names, after.removeprefix(bots).rstrip("/")) if after else 0
            names |= {f"{bots}{name}/" for name in self.names[start : start + limit + 1]}
        elif bots.startswith(prefix):
            names.add(prefix + bots[len(prefix) :].partition("/")[0] + "/")
        elif prefix.startswith(bots) and (bot := prefix[len(bots) :].partition("/")[0]) in self.versions:
            inside = {f"{bots}{bot}/current", f"{bots}{bot}/{self.versions[bot]}/"}
            names |= {name for name in inside if name.startswith(prefix) and name != prefix}
        page = sorted(name for name in names if name > after)
        more, page = len(page) > limit, page[:limit]
        entries = "".join(
            f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
            if name.endswith("/") and "delimiter" in query
            else f"<Contents><Key>{name}</Key><Size>1</Size><LastModified>{_LONG_AGO}</LastModified></Contents>"
            for name in map(escape, page)
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{entries}</ListBucketResult>"
        ).encode()

    def _reply(self, code: int, body: bytes, headers: Mapping[str, str] | None = None, send: bool = True) -> None:
        self.send_response(code)
        for name, value in {
            "Last-Modified": formatdate(usegmt=True),
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if send:
            self.wfile.write(body)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The chunks of a body in HTTP's chunked form; reads what follows them, too."""
    while size := int(stream.readline().partition(b";")[0], 16):
        yield stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass


def _serve(versions: Mapping[str, str], seconds: float, requests: Any, port: Any) -> None:
    made_up = {"versions": versions, "names": sorted(versions), "seconds": seconds, "requests": requests, "objects": {}}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), made_up))
    port.value = server.server_port
    server.serve_forever()


@contextmanager
def serving(versions: Mapping[str, str], seconds: float) -> Iterator[tuple[str, Any]]:
    """Serves these bots, in a process of its own; yields the server's address and a counter of its requests.

    Each reply waits for so many `seconds`.
    """
    context = multiprocessing.get_context("spawn")
    requests, port = context.Value("q", 0), context.Value("i", 0)
    process = context.Process(target=_serve, args=(versions, seconds, requests, port), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.1)
    try:
        yield f"http://127.0.0.1:{port.value}", requests
    finally:
        process.kill()
