"""W&B on loopback: as much of its GraphQL and its uploads as syncing runs with artifacts takes.

It can be slow (`delay` seconds a call), refuse everything (`failing`), or be gone after a number of calls.
"""

import base64
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbServer(ThreadingHTTPServer):
    """`runs[id]` is what UpsertBucket said of it; `uses` and `makes` are (run, artifact) pairs in order of arrival.

    `artifacts[(name, digest)]` is the first creation's input: the same content again makes no second one.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.artifacts: dict[tuple[str, str], dict[str, Any]] = {}
        self.ids: dict[str, dict[str, Any]] = {}
        self.uses: list[tuple[str, str]] = []
        self.makes: list[tuple[str, str]] = []
        self.files: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self.delay = 0.0
        self.failing = False
        self.calls_left: int | None = None  # until it is gone
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed leaves a cut connection; that is part of the game."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.delay)
        if self.server.calls_left is not None:
            self.server.calls_left -= 1
        if self.server.calls_left is not None and self.server.calls_left < 0:
            self.close_connection = True
        elif self.server.failing:
            self.say({"error": "out of order"}, 503)
        else:
            with self.server.lock:
                self._answer(body)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def _answer(self, body: bytes) -> None:
        stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if self.path.startswith("/upload/"):
            self.server.files[self.path.removeprefix("/upload/")] = body
            return self.say({})
        if stream:
            for name, part in (json.loads(body).get("files") or {}).items():
                if name == "wandb-history.jsonl":
                    lines = [json.loads(line) for line in part["content"]]
                    self.server.history.setdefault(stream[1], []).extend(lines)
            return self.say({"exitcode": None, "limits": {}})
        if self.path.startswith("/graphql"):
            asked = json.loads(body)
            match = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            name = match[1] if match else "?"
            self.server.operations.append(name)
            method = getattr(self, f"op_{name}", None)
            if method is None:
                self.server.unknown.append(asked["query"])
                return self.say({"data": {}, "errors": [{"message": f"not played here: {name}"}]})
            variables = asked.get("variables") or {}
            return self.say({"data": method(variables.get("input", variables))})
        return self.say({"error": f"not played here: {self.path}"}, 404)

    def op_Viewer(self, given: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "u1", "entity": "birds", "username": "wren", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer | {"email": "wren@example.org", "admin": False, "name": "Wren"}}

    def op_ServerFeaturesQuery(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def op_UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        new = given["name"] not in self.server.runs
        self.server.runs.setdefault(given["name"], {}).update({k: v for k, v in given.items() if v is not None})
        project = {"id": "p1", "name": given["project"], "entity": {"id": "e1", "name": "birds"}}
        bucket = {"id": given["name"], "name": given["name"], "displayName": given["displayName"], "project": project}
        rest = {"description": "", "config": "{}", "sweepName": None, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket | rest, "inserted": new}}

    def op_RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        return {
            "model": {"id": "p1", "name": given["project"], "entity": {"id": "e1", "name": "birds"}, "bucket": None}
        }

    def op_CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": self._upload(f"{given['run']}/{name}")} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def op_CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        key = (given["artifactCollectionNames"] or [given["artifactCollectionName"]])[0], given["digest"]
        known = self.server.artifacts.get(key)
        if known is None:
            known = self.server.artifacts[key] = given | {"id": f"a{len(self.server.artifacts)}", "name": key[0]}
            self.server.ids[known["id"]] = known | {"state": "PENDING"}
        self.server.makes.append((given["runName"], key[0]))
        sequence = {"id": key[0], "name": key[0], "latestArtifact": None}
        artifact = {"id": known["id"], "state": self.server.ids[known["id"]]["state"], "artifactSequence": sequence}
        return {"createArtifact": {"artifact": artifact}}

    def op_CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        file = {"id": "f1", "name": given["name"], "displayName": given["name"], "uploadHeaders": []}
        file["uploadUrl"] = self._upload(f"manifest/{given['artifactID']}")
        return {"createArtifactManifest": {"artifactManifest": {"id": f"m-{given['artifactID']}", "file": file}}}

    op_UpdateArtifactManifest = op_CreateArtifactManifest

    def op_CommitArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self.server.ids[given["artifactID"]]["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "x"}}}

    def op_UseArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self.server.uses.append((given["runName"], self.server.ids[given["artifactID"]]["name"]))
        return {"useArtifact": {"artifact": {"id": given["artifactID"], "digest": "x"}}}

    def _upload(self, name: str) -> str:
        return f"{self.server.address}/upload/{base64.urlsafe_b64encode(name.encode()).decode()}"

    def say(self, answer: dict[str, Any], code: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass
