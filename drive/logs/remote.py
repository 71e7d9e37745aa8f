"""Logs on object storage or another host, read in place: what is asked for comes into a bounded local cache.

A log's files are fetched one by one when they are first needed (its tables are small; a lidar's payload only where its
sweeps are read), checked against the manifest's size and SHA-256, and mapped into memory from there. A log's folder in
the cache looks like a log that lacks files, with its address beside the manifest: `Log.open` of it gives a RemoteLog,
so that whatever works with paths of logs (training, scoring, verify) works with these. Addresses are
fsspec's (``s3://bucket/logs``, ``gs://``, ``sftp://``, ``memory://`` ...); a mounted NFS is a plain folder and needs
none of this.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from drive.errors import UserError
from drive.logs.files import check_manifest
from drive.logs.partial import owner
from drive.logs.schema import ADDRESS, MANIFEST
from drive.logs.store import Log
from drive.logs.tables import disk_full

_CHUNK = 4 << 20
_MEND = "check the address, its rights and the network"


@dataclass(frozen=True)
class Cache:
    """A folder of fetched files, shared by all processes of the machine.

    Attributes:
        folder: Where; None = ~/.cache/drivewright/logs.
        max_bytes: Files that were not asked for longest are removed beyond this. Maps of removed files stay valid.
    """

    folder: Path | None = None
    max_bytes: int = 100 << 30

    def root(self) -> Path:
        """The folder."""
        return self.folder or Path.home() / ".cache" / "drivewright" / "logs"

    def trim(self, keep: Path) -> None:
        """Remove files beyond `max_bytes`, oldest first, never `keep`."""
        found = []
        for path in self.root().rglob("*"):
            if path.name in (MANIFEST, ADDRESS) or path.name.startswith("."):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process trims too
                if path.is_file():
                    found.append((path.stat().st_atime_ns, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.max_bytes:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size


DEFAULT_CACHE = Cache()


def is_url(path: str | Path) -> bool:
    """Whether a place is an address of fsspec's and not a path."""
    return "://" in str(path)


def _file_system(url: str) -> tuple[Any, str]:
    """(fsspec file system, path in it)."""
    try:
        import fsspec
    except ImportError as error:
        raise UserError(url, "reading it needs fsspec", "pip install fsspec") from error
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # an unknown protocol, or one whose package is not installed
        raise UserError(url, f"cannot be opened ({error})", "install what this protocol needs, e.g. s3fs") from error


@contextlib.contextmanager
def _network(url: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(url, "is not there", _MEND) from error
    except Exception as error:  # every file system has its own
        what = f"cannot be read ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        raise UserError(url, what, _MEND) from error


def list_remote_logs(url: str) -> list[str]:
    """Addresses of the finished logs directly below `url`, sorted, or `url` itself if it is a log.

    Raises:
        UserError: it cannot be listed.
    """
    files, root = _file_system(url)
    with _network(url):
        if files.exists(f"{root.rstrip('/')}/{MANIFEST}"):
            return [url.rstrip("/")]
        names = sorted(PurePosixPath(path.rstrip("/")).name for path in files.ls(root, detail=False))
        shown = [name for name in names if not name.startswith(".")]
        return [f"{url.rstrip('/')}/{name}" for name in shown if files.exists(f"{root.rstrip('/')}/{name}/{MANIFEST}")]


class RemoteLog(Log):
    """A log at an fsspec address; `path` is its folder in the cache, by which it pickles and is opened again."""

    def __init__(self, path: Path, manifest: dict[str, Any], url: str, cache: Cache) -> None:
        super().__init__(path, manifest)
        self.url, self.cache = url, cache
        self._lock = threading.Lock()

    @staticmethod
    def open_url(url: str, cache: Cache | None = None) -> RemoteLog:
        """Fetch the manifest; cache None = `DEFAULT_CACHE`. UserError where there is none, or none that we know."""
        cache = cache or DEFAULT_CACHE
        url = url.rstrip("/")
        files, root = _file_system(url)
        with _network(f"{url}/{MANIFEST}"):
            data = files.cat_file(f"{root.rstrip('/')}/{MANIFEST}")
        manifest = check_manifest(f"{url}/{MANIFEST}", data)
        # Logs of one name at two addresses, or converted anew at the same, are two logs.
        digest = hashlib.sha256(url.encode() + b"\n" + data).hexdigest()[:16]
        path = cache.root() / digest / manifest["name"]
        address = {"url": url, "cache": str(cache.root()), "max_bytes": cache.max_bytes}
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name, content in ((ADDRESS, json.dumps(address).encode()), (MANIFEST, data)):
                partial = path / f".{name}.{owner()}"
                partial.write_bytes(content)
                os.replace(partial, path / name)
        except OSError as error:
            raise _no_cache(path, error) from error
        return RemoteLog(path, manifest, url, cache)

    @staticmethod
    def open_cached(path: Path, manifest: dict[str, Any]) -> RemoteLog:
        """The log whose folder in the cache `path` is."""
        try:
            address = json.loads((path / ADDRESS).read_bytes())
            cache = Cache(Path(address["cache"]), int(address["max_bytes"]))
            return RemoteLog(path, manifest, str(address["url"]), cache)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(path / ADDRESS, f"not readable ({error})", "remove this folder of the cache") from error

    def __repr__(self) -> str:
        return f"RemoteLog({self.url!r})"

    def local_path(self, name: str) -> Path:
        """The file in the cache, fetched if it is not there."""
        path = self.path / name
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)  # the cache forgets what was not asked for longest
            return path
        with self._lock:
            if not path.exists():
                self._fetch(name, path)
        return path

    def _fetch(self, name: str, path: Path) -> None:
        entry, url = self.manifest["files"][name], f"{self.url}/{name}"
        files, root = _file_system(url)
        if entry["bytes"] > self.cache.max_bytes:
            what = f"has {entry['bytes']} bytes, the cache holds {self.cache.max_bytes}"
            raise UserError(url, what, "give a larger cache")
        partial = path.with_name(f".{path.name}.{owner()}-{threading.get_ident()}")
        digest, size = hashlib.sha256(), 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _network(url), files.open(root, "rb") as source, open(partial, "wb") as sink:
                while size <= entry["bytes"] and (chunk := source.read(_CHUNK)):
                    digest.update(chunk)
                    size += len(chunk)
                    sink.write(chunk)
            if size != entry["bytes"] or digest.hexdigest() != entry["sha256"]:
                what = f"is not what the manifest says ({size} bytes came, {entry['bytes']} expected, or other bytes)"
                raise UserError(url, what, "it was cut or changed: copy or convert this log again")
            os.replace(partial, path)
        except OSError as error:
            raise _no_cache(path, error) from error
        finally:
            partial.unlink(missing_ok=True)
        self.cache.trim(path)


def _no_cache(path: Path, error: OSError) -> UserError:
    return disk_full(path, error) or UserError(
        path, f"cannot write the cache ({error.strerror})", "give another folder"
    )
