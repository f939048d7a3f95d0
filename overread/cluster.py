"""Work on a Ray cluster: tasks that are tried again where their process or their machine dies.

The only module that knows Ray, which is imported when it is asked for.  All machines see one file system under the same
paths, so what is large travels as the name of its file.
"""

import gc
import mmap
import os
import socket
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from overread.errors import MissingExtraError, RunError

__all__ = ["LIBRARY_THREADS", "cluster_session", "comes_true", "map_chunks", "names_cluster", "run_tasks"]

Tag = TypeVar("Tag")
Shared = TypeVar("Shared")
Argument = TypeVar("Argument")
Result = TypeVar("Result")

ADDRESS = "RAY_ADDRESS"
TOKEN = Path("~/.ray/auth_token").expanduser()
# Read by numerical libraries when they are loaded.
LIBRARY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
RETRIES = 3
# Tasks handed to Ray for each CPU: enough that none waits for work, few enough to keep count of.
AHEAD = 4
# A file server may tell a machine of a new file so much later.
SIGHT = 60.0


def names_cluster() -> bool:
    """Whether there is a Ray to connect to, so that none is to be started."""
    return _ray().is_initialized() or bool(os.environ.get(ADDRESS))


@contextmanager
def cluster_session(cpus: int | None = None) -> Iterator[int]:
    """A block with Ray at hand; yields the number of its CPUs.

    The cluster that $RAY_ADDRESS names, or a Ray of this machine with `cpus` CPUs (none = all cores), which ends with
    the block.  A session within a session, or within a task, changes nothing.  Errors: MissingExtraError without Ray;
    RunError where it cannot be reached or started.
    """
    ray = _ray()
    if ray.is_initialized():
        yield _cpus(ray)
        return
    address = os.environ.get(ADDRESS)
    where = {"address": address} if address else {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    try:
        if address and address != "auto":
            _knock(address)
            if TOKEN.exists():
                # Ray itself does so for a Ray of this machine alone, whose token every later Ray then asks for.
                os.environ.setdefault("RAY_AUTH_MODE", "token")
        # Silent: what matters comes back as the outcome of a task.
        ray.init(**where, log_to_driver=False, logging_level="critical")
    except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(f"{error} {error.__cause__ or ''}".split()) or type(error).__name__
        if not address:
            raise RunError(f"Ray cannot be started on this machine ({reason}): work without a cluster") from None
        raise RunError(
            f"the Ray cluster at {ADDRESS}={address} cannot be used ({reason}): start it, give HOST:PORT of its head, "
            "install the versions of Python and Ray that it has, set RAY_AUTH_MODE=token where it asks for a token, "
            "or unset the variable"
        ) from None
    try:
        yield _cpus(ray)
    finally:
        with warnings.catch_warnings():
            # Ray drops processes that it has told to end and that are slow to do so.
            warnings.simplefilter("ignore", ResourceWarning)
            ray.shutdown()
            gc.collect()


def comes_true(condition: Callable[[], bool], seconds: float = SIGHT) -> bool:
    """Whether `condition` holds, now or within `seconds`: for files that another machine has just written."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def run_tasks(
    function: Callable[[Shared, Argument], Result],
    shared: Shared,
    waiting: deque[tuple[Tag, Argument]],
    done: Callable[[Tag, Callable[[], Result]], None],
    wants_gpu: Callable[[Argument], bool],
    at_once: int | None = None,
    threads: int = 1,
    cpus: int = 1,
) -> None:
    """Call `function(shared, argument)` for every argument in `waiting`, in tasks of Ray, until none is left.

    function: importable by the other processes, where it works in the folder of this one; it may be called more than
    once for an argument, since the task of a process that dies is tried again `RETRIES` times.
    shared: sent once; memory-mapped files in it are opened there by their names.
    done: called here with the tag of each task as it ends, and with a function that gives its result or raises what
    it raised, or RunError where its process was killed each time; it may add to `waiting`.
    wants_gpu: whether the task of an argument gets a GPU for itself.  at_once: most tasks at a time; none = as many as
    the cluster has room for.  threads: of the libraries in a task.  cpus: set aside for each task.
    """
    ray = _ray()
    if not ray.cluster_resources().get("GPU") and any(wants_gpu(argument) for _, argument in waiting):
        raise RunError("the Ray cluster has no GPU, which the device cuda needs: add one, or set device=cpu")
    ray.util.register_serializer(np.memmap, serializer=_packed, deserializer=_unpacked)
    variables = dict.fromkeys(LIBRARY_THREADS, str(threads))
    if cache := os.environ.get("OVERREAD_CACHE"):
        variables["OVERREAD_CACHE"] = cache
    task = ray.remote(_task)
    options = {"num_cpus": cpus, "max_retries": RETRIES, "runtime_env": {"env_vars": variables}}
    sent, folder = ray.put(shared), Path.cwd()
    flying: dict[Any, Tag] = {}
    try:
        while waiting or flying:
            while waiting and len(flying) < (at_once or AHEAD * _cpus(ray)):
                tag, argument = waiting.popleft()
                place = task.options(**options, num_gpus=int(wants_gpu(argument)))
                flying[place.remote(folder, function, sent, argument)] = tag
            ready, _ = ray.wait(list(flying))
            for ended in ready:
                done(flying.pop(ended), lambda ended=ended: _result(ray, ended))  # type: ignore[misc]
    finally:
        # Empty unless an error or Ctrl-C ended the loop.
        for unfinished in flying:
            ray.cancel(unfinished, force=True)


def map_chunks(
    function: Callable[[Shared, Argument], Result],
    shared: Shared,
    chunks: Sequence[Argument],
    advance: Callable[[Argument], object] | None = None,
    gpu: bool = False,
    threads: int = 1,
) -> list[Result]:
    """What `function(shared, chunk)` gives for each chunk, in their order, computed by tasks of Ray.

    advance: called with each chunk as it is done.  gpu: each task gets one.  threads: of the libraries in a task, which
    gets as many CPUs where a machine has them.  The rest, and the first error, is as in `run_tasks`.
    """
    results: dict[int, Result] = {}

    def done(place: int, result: Callable[[], Result]) -> None:
        results[place] = result()
        if advance:
            advance(chunks[place])

    with cluster_session():
        cpus = min(threads, max(int(node["Resources"].get("CPU", 1)) for node in _ray().nodes() if node["Alive"]))
        run_tasks(function, shared, deque(enumerate(chunks)), done, lambda _: gpu, threads=threads, cpus=max(1, cpus))
    return [results[place] for place in range(len(chunks))]


def _ray() -> Any:
    # Before the import, which reads them: what a hospital computes is reported nowhere, and a task for which memory
    # does not suffice is not tried for ever.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "cluster", "work on a cluster") from None
    return ray


def _knock(address: str) -> None:
    """OSError or ValueError where nobody is at `address`, HOST:PORT: Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _cpus(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _task(folder: Path, function: Callable[[Any, Any], Any], shared: Any, argument: Any) -> Any:
    """What a worker does: a relative path means there what it means here."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise RunError(
            f"the machine {socket.gethostname()} has no folder {folder} ({error.strerror}): "
            "start from one on a file system that all machines of the cluster share"
        ) from None
    return function(shared, argument)


def _result(ray: Any, ended: Any) -> Any:
    try:
        return ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        raise RunError(
            f"the process of a task on the cluster was killed {RETRIES + 1} times, perhaps because memory ran out "
            f"({type(error).__name__}): give it a larger machine, or work without a cluster"
        ) from None
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"Ray could not carry out a task ({type(error).__name__}: {reason})") from None


def _packed(array: Any) -> Any:
    """The place of a whole map in C order; the numbers of a part of one, whose place numpy does not know."""
    if isinstance(array.base, mmap.mmap) and array.filename and array.flags.c_contiguous:
        return Path(array.filename).absolute(), array.dtype, array.shape, array.offset
    return np.array(array)


def _unpacked(packed: Any) -> Any:
    if isinstance(packed, np.ndarray):
        return packed
    file, dtype, shape, offset = packed
    try:
        return np.memmap(file, dtype=dtype, mode="r", shape=shape, offset=offset)
    except (OSError, ValueError) as error:
        raise RunError(
            f"the machine {socket.gethostname()} cannot open {file} ({error}): "
            "the cache must be on a file system that all machines of the cluster share; say where with OVERREAD_CACHE"
        ) from None
