"""Start a script or module in several processes, as a user would."""

import os
import subprocess
import sys


def torchrun(processes: int, *command: str) -> subprocess.CompletedProcess[str]:
    """The outcome of `command`, a script or `-m module` with arguments, in `processes` processes of one thread each."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
