"""A Hugging Face hub on loopback, with the part of its HTTP API that publishing a model folder uses."""

import base64
import hashlib
import json
import re
from typing import Any

from tests.support.fake_server import FakeHandler, FakeServer


class Hub(FakeServer):
    """`repos[name]` is {"private", "files": {path: bytes}, "tags": {tag: commit}, "commits": [message]}."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.repos: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.failures: list[int] = []  # status codes of the next answers, in order


class _Handler(FakeHandler):
    server: Hub

    def handle_any(self) -> None:
        body = self.body()
        path = self.path.partition("?")[0]
        if path.startswith("/blobs/"):
            self.server.blobs[path.removeprefix("/blobs/")] = body
            return self.answer_json(200, {})
        if self.headers.get("Authorization") != "Bearer hf_good":
            return self.answer_json(401, {"error": "Invalid token"})
        if self.server.failures:
            return self.answer_json(self.server.failures.pop(0), {"error": "busy"})
        for pattern, method in _ROUTES:
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match:
                return getattr(self, method)(*match.groups(), body)
        return self.answer_json(404, {"error": f"not played here: {self.command} {path}"})

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.repos:
            return self.answer_json(409, {"error": "exists", "url": f"{self.server.address}/{name}"})
        self.server.repos[name] = {
            "private": asked.get("visibility") == "private",
            "files": {},
            "tags": {},
            "commits": [],
        }
        return self.answer_json(200, {"url": f"{self.server.address}/{name}", "name": name})

    def delete(self, body: bytes) -> None:
        asked = json.loads(body)
        gone = self.server.repos.pop(f"{asked['organization']}/{asked['name']}", None)
        if gone:
            return self.answer_json(200, {})
        return self.answer_json(404, {"error": "no such repository"}, X_Error_Code="RepoNotFound")

    def validate(self, body: bytes) -> None:
        self.answer_json(200, {"errors": [], "warnings": []})

    def preupload(self, repo: str, body: bytes) -> None:
        files = json.loads(body)["files"]
        lfs = {".safetensors", ".png"}
        modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
        for mode in modes:
            if any(mode["path"].endswith(suffix) for suffix in lfs):
                mode["uploadMode"] = "lfs"
        self.answer_json(200, {"files": modes})

    def batch(self, repo: str, body: bytes) -> None:
        asked = json.loads(body)["objects"]
        objects = [
            item | {"actions": {"upload": {"href": f"{self.server.address}/blobs/{item['oid']}"}}} for item in asked
        ]
        self.answer_json(200, {"transfer": "basic", "objects": objects})

    def commit(self, repo: str, body: bytes) -> None:
        here = self.server.repos[repo]
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                here["commits"].append(value["summary"])
            elif entry["key"] == "file":
                here["files"][value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                here["files"][value["path"]] = self.server.blobs[value["oid"]]
            elif entry["key"] == "deletedFile":
                del here["files"][value["path"]]
        oid = hashlib.sha1(body).hexdigest()
        here["head"] = oid
        self.answer_json(200, {"commitUrl": f"{self.server.address}/{repo}/commit/{oid}", "commitOid": oid})

    def tag(self, repo: str, revision: str, body: bytes) -> None:
        here = self.server.repos[repo]
        here["tags"][json.loads(body)["tag"]] = here["head"]
        self.answer_json(200, {})

    def info(self, repo: str, revision: str, body: bytes) -> None:
        self.answer_json(200, {"id": repo, "sha": self.server.repos[repo].get("head", "0" * 40)})

    def tree(self, repo: str, body: bytes) -> None:
        files = self.server.repos[repo]["files"].items()
        tree = [{"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in files]
        self.answer_json(200, tree)


_REPO = "([^/]+/[^/]+)"
_ROUTES = [
    ("POST /api/repos/create", "create"),
    ("DELETE /api/repos/delete", "delete"),
    ("POST /api/validate-yaml", "validate"),
    (f"POST /api/models/{_REPO}/preupload/main", "preupload"),
    (f"POST /{_REPO}\\.git/info/lfs/objects/batch", "batch"),
    (f"POST /api/models/{_REPO}/commit/main", "commit"),
    (f"POST /api/models/{_REPO}/tag/([^/]+)", "tag"),
    (f"GET /api/models/{_REPO}/tree/main", "tree"),
    (f"GET /api/models/{_REPO}/revision/([^/]+)", "info"),
]
