"""A stand-in for the Hugging Face hub: its HTTP interface, on this machine and in memory.

It answers what huggingface_hub asks to create a repository, to commit to it and to download from
it, with commits, branches, private repositories and Git LFS, as the documentation of the hub's API
and the client itself describe them. The real hub was never asked.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from morex.models import hub as models_on_hub

TOKEN = "hf_of_somebody"
LICENSES = {"mit", "apache-2.0", "cc-by-4.0", "other", "unknown"}
Files = dict[str, bytes]


@dataclass
class Repository:
    """The commits of a repository, the newest last: identifier, message and files of each."""

    private: bool = False
    commits: list[tuple[str, str, Files]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, message: str, files: Files) -> str:
        """Add a commit with these files and no others; return its identifier."""
        content = repr((len(self.commits), message, sorted(files.items())))
        sha = hashlib.sha1(content.encode()).hexdigest()
        self.commits.append((sha, message, files))
        return sha

    def at(self, revision: str) -> tuple[str, Files] | None:
        """Return the commit of a revision and its files; None if there is none."""
        sha = self.commits[-1][0] if revision == "main" else self.tags.get(revision, revision)
        return next(((s, files) for s, _, files in self.commits if s == sha), None)


@dataclass
class StandInHub:
    """What the stand-in knows.

    Attributes:
        address: where it answers.
        repositories: by name.
        objects: what was uploaded to Git LFS, by its SHA-256.
        requests: the method and the path of all requests.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def put(self, name: str, folder: Path, message: str = "files") -> str:
        """Commit the files of a folder; return the commit."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        return self.repositories.setdefault(name, Repository()).commit(message, files)


def stored_in_lfs(path: str) -> bool:
    """Return whether .gitattributes of a new repository sends a file to Git LFS."""
    return path.endswith((".safetensors", ".npz"))


def metadata_errors(card: str) -> list[str]:
    """Return what the hub has against the metadata of a card."""
    match = re.match(r"---\n(.*?)\n---\n", card, re.S)
    if not match:
        return ["no metadata"]
    found = yaml.safe_load(match[1])
    errors = []
    if found.get("license") not in LICENSES:
        errors.append(f'"license" must be one of {sorted(LICENSES)}')
    for model in found.get("model-index", []):
        for result in model["results"]:
            needed = {"task": ["type"], "dataset": ["type", "name"]}
            errors += [
                f'"{part}.{key}" is required'
                for part, keys in needed.items()
                for key in keys
                if key not in result.get(part, {})
            ]
            errors += ["a metric" for m in result["metrics"] if {"type", "value"} - m.keys()]
    return errors


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self._path()
        if match := re.fullmatch(r"/lfs/(\w{64})", path):
            return self._send(self.hub.objects[match[1]])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self._repository(match[1], unquote(match[2] or "main"))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            return self._tree(match[1], unquote(match[2]))
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(match[1], unquote(match[2]), unquote(match[3]))
        return self._send({"error": "not found"}, 404)

    def do_PUT(self) -> None:
        name, content = self._path().removeprefix("/lfs/"), self._body()
        if hashlib.sha256(content).hexdigest() != name:
            return self._send({"error": "wrong checksum"}, 400)
        self.hub.objects[name] = content
        return self._send(b"")

    def do_POST(self) -> None:
        path, body = self._path(), self._body()
        if path == "/api/validate-yaml":
            errors = [{"message": text} for text in metadata_errors(json.loads(body)["content"])]
            return self._send({"errors": errors, "warnings": []}, 400 if errors else 200)
        if not self._knows_user():
            return self._send({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            return self._preupload(match[1], json.loads(body))
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            return self._commit(match[1], [json.loads(line) for line in body.splitlines()])
        return self._send({"error": "not found"}, 404)

    def _path(self) -> str:
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        return path

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _knows_user(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _found(self, name: str, revision: str) -> tuple[str, Files] | None:
        """Return a commit and its files, or answer that there is none."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._knows_user()):
            self._send({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return None
        if (found := repository.at(revision)) is None:
            code = {"X-Error-Code": "RevisionNotFound"}
            self._send({"error": f"Invalid rev id: {revision}"}, 404, code)
        return found

    def _repository(self, name: str, revision: str) -> None:
        if found := self._found(name, revision):
            sha, files = found
            about = {"private": self.hub.repositories[name].private, "tags": []}
            siblings = [{"rfilename": path} for path in files]
            self._send({"id": name, "modelId": name, "sha": sha, "siblings": siblings, **about})

    def _tree(self, name: str, revision: str) -> None:
        if found := self._found(name, revision):
            self._send([_entry(path, content) for path, content in found[1].items()])

    def _file(self, name: str, revision: str, path: str) -> None:
        if not (found := self._found(name, revision)):
            return
        sha, files = found
        if path not in files:
            code = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha}
            self._send({"error": "Entry not found"}, 404, code)
            return
        entry = _entry(path, files[path])
        headers = {"X-Repo-Commit": sha, "ETag": f'"{entry["oid"]}"'}
        if "lfs" not in entry:
            self._send(files[path], 200, headers)
            return
        digest = entry["lfs"]["oid"]
        self.hub.objects[digest] = files[path]
        headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(entry["size"])}
        # another host, as on the hub: the client takes the headers of the last answer of this one
        elsewhere = self.hub.address.replace("127.0.0.1", "localhost")
        self._send(b"", 302, headers | {"Location": f"{elsewhere}/lfs/{digest}"})

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization'] or 'somebody'}/{wanted['name']}"
        url = {"url": f"{self.hub.address}/{name}"}
        if name.startswith("others/"):
            self._send({"error": "You don't have the rights to create a model there"}, 403)
        elif name in self.hub.repositories:
            self._send({"error": "You already created this model repo", **url}, 409)
        else:
            private = wanted.get("visibility") == "private" or wanted.get("private") is True
            made = self.hub.repositories[name] = Repository(private)
            made.commit("initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})
            self._send(url)

    def _preupload(self, name: str, wanted: dict[str, Any]) -> None:
        if not (found := self._found(name, "main")):
            return
        there = {path: _entry(path, content) for path, content in found[1].items()}
        files = [
            {
                "path": (path := file["path"]),
                "uploadMode": "lfs" if stored_in_lfs(path) else "regular",
                "shouldIgnore": False,
                "oid": (there[path].get("lfs") or there[path])["oid"] if path in there else None,
            }
            for file in wanted["files"]
        ]
        self._send({"files": files})

    def _batch(self, wanted: dict[str, Any]) -> None:
        objects = [
            {**one}
            if one["oid"] in self.hub.objects
            else {**one, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}}
            for one in wanted["objects"]
        ]
        self._send({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        if not (found := self._found(name, "main")):
            return
        files, message = dict(found[1]), ""
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    message = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        sha = self.hub.repositories[name].commit(message, files)
        url = f"{self.hub.address}/{name}/commit/{sha}"
        self._send({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def _send(
        self, content: bytes | object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """Return what the hub says about a file."""
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "oid": oid, "size": len(content)}
    if stored_in_lfs(path):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    return entry


@contextmanager
def stand_in_hub(cache: Path, patch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """Let the hub's client talk to a stand-in, as its owner, and keep its cache in a folder."""
    hub = StandInHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (_Handler,), {"hub": hub}))
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    point_client_at(hub.address, patch)
    patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    patch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(cache / "no-token"))
    patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    patch.setenv("HF_TOKEN", TOKEN)
    models_on_hub._snapshot.cache_clear()
    yield hub
    models_on_hub._snapshot.cache_clear()
    server.shutdown()
    server.server_close()


def point_client_at(address: str, patch: pytest.MonkeyPatch) -> None:
    """Let the hub's client ask another server, as HF_ENDPOINT does before it is imported."""
    patch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    models_on_hub._snapshot.cache_clear()
