"""A small stand-in for the Hugging Face Hub on the loopback interface, for huggingface_hub's client.

It can create and describe repositories, choose the upload mode of files, receive git-lfs uploads (basic transfer, with
a check of sha256) and commits, and serve files with ETag, commit and byte ranges. It does not offer Xet: clients run
with ``HF_HUB_DISABLE_XET=1``. ::

    with Hub() as hub:
        subprocess.run([...], env=os.environ | hub.environment(cache))
"""

import base64
import hashlib
import json
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"
USER = "user"
LFS_SUFFIXES = (".safetensors", ".bin", ".pth")


def sha(kind: str, content: bytes) -> str:
    return hashlib.new(kind, content).hexdigest()


@dataclass
class Repo:
    """A repository: every commit with all its files. The newest commit is ``main``."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit({})

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, changes: dict[str, bytes | None]) -> str:
        """Add, replace or (None) delete files."""
        before = self.files if self.commits else {}
        files = {path: content for path, content in (before | changes).items() if content is not None}
        name = sha("sha1", repr((len(self.commits), sorted((p, sha("sha1", c)) for p, c in files.items()))).encode())
        self.commits[name] = files
        return name

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        name = self.head if revision == "main" else revision
        return (name, self.commits[name]) if name in self.commits else None


class Hub:
    """The server, its repositories, and the faults that tests ask for."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.uploads: dict[str, bytes] = {}  # git-lfs objects by sha256
        self.requests: list[str] = []
        self.cuts: dict[str, list[int]] = {}  # by path: after how many bytes each next download ends
        self.flips: dict[str, int] = {}  # by path: how many next downloads have a wrong last byte
        self.connections: set[socket.socket] = set()
        self.hidden: list[str] = []  # paths of files that are not there
        self.upload_cuts = 0  # how many next uploads end with a closed connection
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.hub = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, files: dict[str, bytes | None]) -> None:
        """Add a repository with these files, as if they had been pushed; None stands for no file."""
        self.repos[name] = Repo()
        self.repos[name].commit(files)

    def environment(self, home: Path, token: str = TOKEN) -> dict[str, str]:
        """Environment variables with which a new process uses this server and its own empty cache."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


class HubError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Code": code, "X-Error-Message": message} | headers


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def setup(self) -> None:
        super().setup()
        self.hub = self.server.hub  # type: ignore[attr-defined]
        self.hub.connections.add(self.connection)

    def log_message(self, *_: Any) -> None:
        pass

    def _dispatch(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        body = self._body()
        try:
            for method, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and self.command in method.split():
                    answer(self, body, **match.groupdict())
                    return
            raise HubError(404, message=f"nothing at {path}")
        except HubError as error:
            self._send(error.status, json.dumps({"error": str(error)}).encode(), error.headers)

    do_GET = do_HEAD = do_POST = do_PUT = _dispatch  # noqa: N815 - the names are http.server's

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _may_write(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise HubError(401, message="Invalid username or password.")

    def _repo(self, name: str) -> Repo:
        if name not in self.hub.repos:
            raise HubError(404, "RepoNotFound", "Repository not found")
        return self.hub.repos[name]

    def _revision(self, repo: str, revision: str | None) -> tuple[str, dict[str, bytes]]:
        found = self._repo(repo).at(revision or "main")
        if found is None:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def create(self, body: bytes) -> None:
        self._may_write()
        asked = json.loads(body)
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        exists = name in self.hub.repos
        self.hub.repos.setdefault(name, Repo())
        self._json({"url": f"{self.hub.url}/{name}", "name": name}, 409 if exists else 200)

    def validate_card(self, body: bytes) -> None:
        self._json({"errors": [], "warnings": []})

    def info(self, body: bytes, repo: str, revision: str | None = None) -> None:
        commit, files = self._revision(repo, revision)
        siblings = [{"rfilename": path} for path in sorted(files)]
        self._json({"_id": "0", "id": repo, "modelId": repo, "sha": commit, "private": False, "siblings": siblings})

    def upload_modes(self, body: bytes, repo: str, revision: str) -> None:
        self._may_write()
        _, files = self._revision(repo, revision)
        answers = []
        for asked in json.loads(body)["files"]:
            path = asked["path"]
            mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
            answers.append(
                {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": _oid(files.get(path), mode)}
            )
        self._json({"files": answers})

    def lfs_batch(self, body: bytes, repo: str) -> None:
        self._may_write()
        objects = json.loads(body)["objects"]
        for wanted in objects:
            if wanted["oid"] not in self.hub.uploads:
                href = {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}
                wanted["actions"] = {"upload": href, "verify": {"href": f"{self.hub.url}/lfs-verify"}}
        self._json({"transfer": "basic", "objects": objects})

    def faults(self, body: bytes) -> None:
        """Set faults from a client: ``{"upload_cuts": 9}``."""
        vars(self.hub).update(json.loads(body))
        self._json({})

    def stop(self, body: bytes) -> None:
        """Close the port and the connections that clients keep open: from now on there is none."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.hub.connections - {self.connection}:
            with suppress(OSError):  # the client has closed it
                connection.shutdown(socket.SHUT_RDWR)
        self._json({})

    def lfs_put(self, body: bytes, oid: str) -> None:
        if self.hub.upload_cuts:
            self.hub.upload_cuts -= 1
            self.close_connection = True
            return
        if sha("sha256", body) != oid:
            raise HubError(400, message="the content has another sha256")
        self.hub.uploads[oid] = body
        self._send(200, b"")

    def lfs_verify(self, body: bytes) -> None:
        asked = json.loads(body)
        if len(self.hub.uploads.get(asked["oid"], b"")) != asked["size"]:
            raise HubError(404, message="no such object")
        self._json({})

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        self._may_write()
        if revision != "main":
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        changes: dict[str, bytes | None] = {}
        for line in filter(None, body.split(b"\n")):
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.uploads:
                    raise HubError(400, message=f"{value['path']} was not uploaded")
                changes[value["path"]] = self.hub.uploads[value["oid"]]
            elif item["key"] == "deletedFile":
                changes[value["path"]] = None
            elif item["key"] != "header":
                raise HubError(400, message=f"unknown operation {item['key']}")
        name = self._repo(repo).commit(changes)
        self._json({"success": True, "commitOid": name, "commitUrl": f"{self.hub.url}/{repo}/commit/{name}"})

    def download(self, body: bytes, repo: str, revision: str, path: str) -> None:
        commit, files = self._revision(repo, revision)
        if path not in files or f"{repo}/{path}" in self.hub.hidden:
            raise HubError(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})
        content = files[path]
        if self.command == "GET" and self.hub.flips.get(f"{repo}/{path}"):
            self.hub.flips[f"{repo}/{path}"] -= 1
            sent = bytes([content[-1] ^ 1])
            self._send(200, content[:-1] + sent, self._headers(commit, files[path], path))
            return
        headers = self._headers(commit, content, path)
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cuts = self.hub.cuts.get(f"{repo}/{path}", []) if self.command == "GET" else []
        if not cuts:
            self._send(206 if start else 200, content[start:], headers)
            return
        self._send_part(206 if start else 200, content[start:], headers, cuts.pop(0))

    def _headers(self, commit: str, content: bytes, path: str) -> dict[str, str]:
        kind = "sha256" if path.endswith(LFS_SUFFIXES) else "sha1"
        return {"X-Repo-Commit": commit, "ETag": f'"{sha(kind, content)}"', "Accept-Ranges": "bytes"}

    def _send_part(self, status: int, content: bytes, headers: dict[str, str], sent: int) -> None:
        """Announce the whole content, send the first ``sent`` bytes and close the connection."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:sent])
        self.wfile.flush()
        self.close_connection = True


def _oid(content: bytes | None, mode: str) -> str | None:
    """git's object id of a file in the repository; with it, a client sees that the file has not changed."""
    if content is None:
        return None
    return sha("sha256", content) if mode == "lfs" else sha("sha1", b"blob %d\0" % len(content) + content)


NAME = r"(?P<repo>[^/]+/[^/]+)"
ROUTES = [
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate_card),
    ("GET", rf"/api/models/{NAME}", Handler.info),
    ("GET", rf"/api/models/{NAME}/revision/(?P<revision>.+)", Handler.info),
    ("POST", rf"/api/models/{NAME}/preupload/(?P<revision>.+)", Handler.upload_modes),
    ("POST", rf"/api/models/{NAME}/commit/(?P<revision>.+)", Handler.commit),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("POST", r"/faults", Handler.faults),
    ("POST", r"/stop", Handler.stop),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", Handler.lfs_put),
    ("POST", r"/lfs-verify", Handler.lfs_verify),
    ("GET HEAD", rf"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.download),
]
