"""One mode for all that is written, whatever library wrote it."""

import os
from pathlib import Path

UMASK = os.umask(0o022)  # which cannot be asked for without being set
os.umask(UMASK)


def usual_modes(written: Path) -> None:
    """0644 and, of folders and programs, 0755, or what else the umask leaves.

    Some libraries write through temporary files, which are for their owner alone.
    """
    inside = written.rglob("*") if written.is_dir() else ()
    for path in (written, *inside):
        if path.is_symlink() or not path.exists():
            continue
        mode = path.stat().st_mode
        most = 0o777 if path.is_dir() or mode & 0o100 else 0o666
        if mode & 0o777 != most & ~UMASK:
            path.chmod(most & ~UMASK)
