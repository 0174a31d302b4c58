"""A stand-in of the Hugging Face Hub's HTTP interface on this machine: repositories in memory, and faults."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_stand_in"
READ_TOKEN = "hf_may_only_read"
LARGE = (".h5", ".parquet", ".mp4", ".gif", ".safetensors", ".onnx")
"""Files that the Hub keeps in LFS, with their SHA-256."""


class Hub:
    """`with Hub() as hub`: `hub.url`, and `hub.repositories["dataset", "ann/runs"].files`."""

    def __init__(self):
        self.repositories = {}
        self.large = {}  # SHA-256 -> content that was uploaded
        self.requests = []  # "GET /api/..."
        self.answer = None  # (status, headers) that every request gets
        self.damage = None  # changes the content of every download

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Repository:
    """Files by name, their older versions by commit, and who may read them."""

    def __init__(self, path, private=False):
        self.path = path  # of its page
        self.private = private
        self.files = {}
        self.commits = {}
        self.tags = {}  # name -> commit
        self.commit("initial commit")

    def commit(self, message):
        """Keep the files as they are under a new commit. Returns its name."""
        content = repr((message, len(self.commits), sorted(self.files))).encode()
        self.sha = hashlib.sha1(content).hexdigest()
        self.commits[self.sha] = (message, dict(self.files))
        return self.sha

    def at(self, revision):
        """The files at a revision; None if there is no such revision."""
        if revision == "main":
            return self.files
        revision = self.tags.get(revision, revision)
        return self.commits[revision][1] if revision in self.commits else None


def _entry(name, content) -> dict:
    entry = {
        "type": "file",
        "path": name,
        "size": len(content),
        "oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
    }
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def __getattr__(self, name):
        if name.startswith("do_"):  # GET, HEAD, POST, PUT and DELETE
            return self._answer
        raise AttributeError(name)

    def _answer(self):
        hub, address = self.hub, urlsplit(self.path)
        path = unquote(address.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append(f"{self.command} {path}")
        if hub.answer is not None:
            self._send(hub.answer[0], b"", hub.answer[1])
            return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in ("", TOKEN, READ_TOKEN):
            message = "Invalid credentials in Authorization header"
            self._send(401, b"", {"X-Error-Message": message})
            return
        if path == "/api/repos/create":
            self._create(json.loads(body), token)
        elif path == "/api/validate-yaml":  # a card without a header is good
            self._send_json({"errors": [], "warnings": []})
        elif path.startswith("/lfs/"):
            digest = path.removeprefix("/lfs/")
            assert hashlib.sha256(body).hexdigest() == digest
            hub.large[digest] = body
            self._send(200)
        elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            if self._repository("dataset" if found[1] else "model", found[2], token, write=True):
                self._batch(json.loads(body))
        elif found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository = self._repository("dataset" if found[1] else "model", found[2], token)
            if repository:
                self._resolve(repository, found[3], found[4])
        elif found := re.fullmatch(r"/api/(dataset|model)s/([^/]+/[^/]+)(?:/([^/]+)/([^/]+))?", path):
            kind, name, verb, revision = found[1], found[2], found[3], found[4] or "main"
            writes = verb in ("preupload", "commit", "tag")
            repository = self._repository(kind, name, token, writes)
            if repository is None:
                return
            if repository.at(revision) is None:
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
                return
            getattr(self, f"_{(verb or 'revision').replace('-', '_')}")(repository, name, revision, body)
        else:
            self._send(404, b"")

    def _repository(self, kind, name, token, write=False):
        """The repository; None after an error was sent."""
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not token):
            self._send(404 if token else 401, b"", {"X-Error-Code": "RepoNotFound"})
        elif write and token != TOKEN:
            self._send(403 if token else 401, b"", {"X-Error-Message": "write access needed"})
        else:
            return repository
        return None

    def _create(self, wanted, token):
        if token != TOKEN:
            self._send(403 if token else 401, b"", {"X-Error-Message": "write access needed"})
            return
        kind, name = wanted.get("type") or "model", f"{wanted['organization']}/{wanted['name']}"
        path = f"/datasets/{name}" if kind == "dataset" else f"/{name}"
        exists = (kind, name) in self.hub.repositories
        if not exists:
            private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
            self.hub.repositories[kind, name] = Repository(path, private)
        self._send_json({"url": self.hub.url + path, "name": name}, 409 if exists else 200)

    def _revision(self, repository, name, revision, body):
        files = repository.at(revision)
        self._send_json(
            {
                "_id": "0",
                "id": name,
                "modelId": name,
                "private": repository.private,
                "sha": repository.sha if revision == "main" else revision,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": file} for file in files],
            }
        )

    def _tree(self, repository, name, revision, body):
        self._send_json([_entry(file, content) for file, content in repository.at(revision).items()])

    def _paths_info(self, repository, name, revision, body):
        if "json" in (self.headers.get("Content-Type") or ""):
            paths = json.loads(body)["paths"]
        else:
            paths = parse_qs(body.decode())["paths"]
        files = repository.at(revision)
        self._send_json([_entry(path, files[path]) for path in paths if path in files])

    def _tag(self, repository, name, revision, body):
        if self.command == "DELETE":  # the tag is what the address names
            del repository.tags[revision]
        else:
            repository.tags[json.loads(body)["tag"]] = repository.sha
        self._send_json({})

    def _preupload(self, repository, name, revision, body):
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(body)["files"]
        ]
        self._send_json({"files": files})

    def _batch(self, wanted):
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}", "header": {}}},
            }
            for item in wanted["objects"]
        ]
        self._send_json({"transfer": "basic", "objects": objects})

    def _commit(self, repository, name, revision, body):
        message = ""
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                del repository.files[value["path"]]
            else:
                raise AssertionError(entry["key"])
        sha = repository.commit(message)
        url = f"{self.hub.url}{repository.path}/commit/{sha}"
        self._send_json({"success": True, "commitOid": sha, "commitUrl": url})

    def _resolve(self, repository, revision, file):
        files = repository.at(revision)
        if files is None or file not in files:
            code = "RevisionNotFound" if files is None else "EntryNotFound"
            self._send(404, b"", {"X-Error-Code": code})
            return
        entry, content = _entry(file, files[file]), files[file]
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        if self.hub.damage is not None:
            content = self.hub.damage(content)
        commit = repository.sha if revision == "main" else revision
        self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def _send_json(self, value, status=200):
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status, content=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
