"""W&B on loopback, with the part of its GraphQL API and uploads that syncing runs with artifacts uses.

It can be slow (`delay` seconds a call), refuse everything (`failing`), or go away after `calls_left` calls.
"""

import base64
import json
import re
import threading
import time
from typing import Any

from tests.support.fake_server import FakeHandler, FakeServer


class WandbServer(FakeServer):
    """`runs[id]` is what UpsertBucket received; `uses` and `makes` are (run, artifact) pairs in order of arrival.

    `artifacts[(name, digest)]` is the first creation's input: the same content again makes no second one.
    """

    def __init__(self) -> None:
        super().__init__(_Handler)
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


class _Handler(FakeHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.body()
        time.sleep(self.server.delay)
        if self.server.calls_left is not None:
            self.server.calls_left -= 1
        if self.server.calls_left is not None and self.server.calls_left < 0:
            self.close_connection = True
        elif self.server.failing:
            self.answer_json(503, {"error": "out of order"})
        else:
            with self.server.lock:
                self._answer(body)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def _answer(self, body: bytes) -> None:
        stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if self.path.startswith("/upload/"):
            self.server.files[self.path.removeprefix("/upload/")] = body
            return self.answer_json(200, {})
        if stream:
            for name, part in (json.loads(body).get("files") or {}).items():
                if name == "wandb-history.jsonl":
                    lines = [json.loads(line) for line in part["content"]]
                    self.server.history.setdefault(stream[1], []).extend(lines)
            return self.answer_json(200, {"exitcode": None, "limits": {}})
        if self.path.startswith("/graphql"):
            asked = json.loads(body)
            match = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            name = match[1] if match else "?"
            self.server.operations.append(name)
            method = getattr(self, f"op_{name}", None)
            if method is None:
                self.server.unknown.append(asked["query"])
                return self.answer_json(200, {"data": {}, "errors": [{"message": f"not played here: {name}"}]})
            variables = asked.get("variables") or {}
            return self.answer_json(200, {"data": method(variables.get("input", variables))})
        return self.answer_json(404, {"error": f"not played here: {self.path}"})

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
