"""What can go wrong between a replica and its disk, in sentences an operator can act on.

Only conditions that stop a whole pass are exceptions. A path that can't be read or written is a value
(a scan's problem, an applier's outcome), so that the other paths go on.
"""

from __future__ import annotations

import errno
import os

from node_runtime.errors import NodeError

_ADVICE = {
    errno.ENOSPC: "free space on this file system",
    errno.EDQUOT: "free space within the quota or raise it",
    errno.EACCES: "give the account that runs the node access to it",
    errno.EPERM: "run the node as the owner, or clear the immutable flag",
    errno.EROFS: "mount the file system writable",
    errno.ENAMETOOLONG: "shorten the name; this file system can't hold it",
    errno.EILSEQ: "rename it; this file system can't hold the name",
    errno.EINVAL: "rename it if this file system forbids the name",
    errno.EIO: "check the disk",
    errno.EFBIG: "this file system can't hold a file of that size",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (fs.file-max)",
    errno.ELOOP: "a symbolic link stands where a directory should be; links are never followed",
    errno.ENOTDIR: "something that is no directory stands in its path; rename it",
    errno.EXDEV: "another file system is mounted below the replica; give it a replica of its own",
    errno.EMLINK: "the directory can't hold more subdirectories",
    errno.EBUSY: "it is in use (a mount point or a running program); try again",
    errno.ETXTBSY: "it is a running program; try again",
    errno.ESTALE: "mount the network file system again",
}


class DiskError(NodeError):
    """The operator has to act; the message says what to do. Nothing was changed by the failed step."""


class ContentMismatch(Exception):
    """Staged bytes don't hash to what was announced; they are removed. Fetch them again.

    `resumed` is true where a part left by an earlier run was continued: then the fault may be the
    crash's, not the peer's.
    """

    def __init__(self, message: str, *, resumed: bool) -> None:
        super().__init__(message)
        self.resumed = resumed


def explain(error: OSError | DiskError) -> str:
    """An operating system error as a reason and, where there is one, what to do about it.

    What says so itself already is left as it is.
    """
    if isinstance(error, DiskError):
        return str(error)
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    advice = _ADVICE.get(error.errno or 0)
    return f"{reason}; {advice}" if advice else reason
