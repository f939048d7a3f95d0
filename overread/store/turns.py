"""Writes of several threads, in turns: those that wait share the next transaction, so that one flush serves them all.

A flush to the disk takes milliseconds, whatever it carries.  The thread whose turn it is takes the works of all threads
that wait into its transaction; each of them returns only once that is committed.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from overread.errors import StoreBusy, StoreFull, StoreUnreachable
from overread.store.failures import told

__all__ = ["Turns"]

T = TypeVar("T")
MOST_AT_ONCE = 64


class _Job:
    """One write: what is to be done, and what became of it."""

    def __init__(self, work: Callable[[Connection], Any], repeatable: bool) -> None:
        self.work = work
        self.repeatable = repeatable
        self.woken = threading.Event()
        self.leads = False
        self.result: Any = None
        self.error: BaseException | None = None


class Turns:
    """The door through which every write goes."""

    def __init__(self, engine: Engine, place: str, check: Callable[[], None]) -> None:
        """check: called before every commit; what it raises prevents it."""
        self._engine = engine
        self._place = place
        self._check = check
        self._mutex = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._taken = False

    def run(self, work: Callable[[Connection], T], repeatable: bool = True) -> T:
        """What `work` returns, once its transaction is committed.

        work: may be called more than once, each time in a new transaction; of all but the last one nothing is left.
        repeatable: whether it may also be called again when it is not known if a lost connection has committed.
        """
        job = _Job(work, repeatable)
        with self._mutex:
            job.leads = not self._taken
            self._taken = True
            if not job.leads:
                self._waiting.append(job)
        if not job.leads:
            self._wait(job)
        if job.leads:
            self._lead(job)
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _wait(self, job: _Job) -> None:
        """Wait until the job is done or leads.  Interrupted, it must not be left where it would be given the turn."""
        try:
            job.woken.wait()
        except BaseException:
            with self._mutex:
                if job in self._waiting:
                    self._waiting.remove(job)
                elif job.leads:
                    self._hand_on()
            raise

    def _hand_on(self) -> None:
        """Give the turn to the next that waits; the mutex is held."""
        if self._waiting:
            successor = self._waiting.popleft()
            successor.leads = True
            successor.woken.set()
        else:
            self._taken = False

    def _lead(self, job: _Job) -> None:
        """Do `job` and what waits, then hand the turn on."""
        with self._mutex:
            jobs = [job, *(self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE)))]
        try:
            self._do_all(jobs)
        finally:
            with self._mutex:
                self._hand_on()
            for other in jobs[1:]:
                other.woken.set()

    def _do_all(self, jobs: list[_Job]) -> None:
        """Results or errors for all jobs.  One that fails takes nobody with it: then each has its own transaction."""
        try:
            self._commit(jobs)
        except (StoreBusy, StoreFull, StoreUnreachable) as error:
            for job in jobs:
                job.error = error
        except BaseException as error:
            if len(jobs) == 1:
                jobs[0].error = error
                return
            for job in jobs:
                self._do_all([job])

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            self._attempt(jobs)
        except StoreUnreachable:
            if not all(job.repeatable for job in jobs):
                raise
            self._attempt(jobs)

    def _attempt(self, jobs: list[_Job]) -> None:
        with told(self._place), self._engine.begin() as connection:
            for job in jobs:
                job.result = job.work(connection)
            self._check()
