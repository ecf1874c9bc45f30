"""Where things lie in a node's state directory, and how a file there comes to be whole or not at all.

It decides names, modes and the order of write, sync and rename; it never looks into what it keeps. One
runtime at a time owns a state directory: `lock` says so to the next one. Read on in `identity` and `plans`.

    node_key, node_key.pub    the node's own key, made here
    authority.pub, name       given at `init`: the only authority and name that this node may be enrolled with
    enrolment.json            the fleet that this node belongs to, and the certificates it gave
    plans/<digest>.json       signed plans; plans/current names the one that runs
    control.sock, lock        only while a runtime runs
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node_runtime.errors import NodeError

MAX_SOCKET_PATH_BYTES = 107  # sun_path without its NUL, unix(7)


@dataclass(frozen=True, slots=True)
class Layout:
    """The names in one state directory."""

    root: Path

    @property
    def key(self) -> Path:
        """The private key."""
        return self.root / "node_key"

    @property
    def public_key(self) -> Path:
        """The public key, for people to copy."""
        return self.root / "node_key.pub"

    @property
    def authority(self) -> Path:
        """The authority named at `init`; there only if one was."""
        return self.root / "authority.pub"

    @property
    def name(self) -> Path:
        """The node name given at `init`; there only if one was."""
        return self.root / "name"

    @property
    def enrolment(self) -> Path:
        """The enrolment; there only once enrolled."""
        return self.root / "enrolment.json"

    @property
    def plans(self) -> Path:
        """The directory of plans."""
        return self.root / "plans"

    @property
    def control_socket(self) -> Path:
        """The Unix socket of the control conversation."""
        return self.root / "control.sock"

    @property
    def lock_file(self) -> Path:
        """Held by the runtime that owns this directory."""
        return self.root / "lock"

    def create(self) -> None:
        """Make the directory, for this user alone. One with other things in it is left as it is."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.root.stat().st_mode & 0o077:
                if any(self.root.iterdir()) and not self.key.exists():
                    raise NodeError(
                        f"{self.root} is open to others and isn't a state directory; choose one with --state"
                    )
                self.root.chmod(0o700)
        except OSError as error:
            raise NodeError(
                f"can't use {self.root} as the state directory: {error.strerror}; choose one with --state"
            ) from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Own the directory while the block runs. The kernel lets go when the holder dies."""
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise NodeError(
                    f"another node runtime (pid {holder or 'unknown'}) uses {self.root}; "
                    "stop it, or choose another directory with --state"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def publish(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put a file in place whole and durable: whoever looks, whenever, finds the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Remove what a crash in the middle of `publish` left."""
    for leftover in directory.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a socket that fits into sun_path, however deep it lies. Holds inside the block."""
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def connect_control(layout: Layout) -> socket.socket:
    """A connection to the control socket of the runtime that owns this directory."""
    try:
        connection = socket.socket(socket.AF_UNIX)
        with short_path(layout.control_socket) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NodeError(
            f"no node runtime is running on {layout.root}; start it with "
            f"`syncgraph-node run --state {layout.root}`"
        ) from None
    except OSError as error:
        raise NodeError(f"can't reach the node runtime on {layout.root}: {error.strerror}") from None
    return connection
