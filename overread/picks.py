"""Which items a round reads: those of the audit, those that the sampler buys, and those it would buy next."""

import numpy as np

from overread.arrays import FloatArray, IntArray
from overread.arrays.acquisition import Pool, sampler_needs, select
from overread.arrays.rows import RowArray
from overread.config import Config
from overread.learn.crew import score
from overread.learn.learners import Scores, State, open_pool
from overread.learn.models import Network
from overread.learn.task import Task
from overread.rng import derived_seed, generator

__all__ = ["audit", "choose", "next_reads"]

# What `next_100_reads` in the results counts.
NEXT_READS = 100


def choose(task: Task, network: Network, state: State, scores: Scores, config: Config, number: int) -> IntArray:
    """Positions that round `number` buys: at most the budget, fewer where the pool runs empty."""
    needs = sampler_needs(config.active.sampler)
    draws: FloatArray | None = None
    features: RowArray | None = None
    if "features" in needs and network.reads_inputs_directly:
        # They are the inputs of a linear head: no pass, and no copy.
        features = task.train.fixed_features
        needs -= {"features"}
    if needs & {"draws", "features"}:
        # Probabilities are there from the end of the last round; these cost a pass of their own.
        more = score(
            task,
            network,
            "train",
            draws=config.active.draws if "draws" in needs else 0,
            seed=derived_seed(config.seed, "draws", number),
            want_features="features" in needs,
        )
        draws, features = more.draws, more.features if "features" in needs else features
    pool = Pool(
        probs=scores.probs,
        draws=draws,
        features=features,
        given=task.given,
        open=open_pool(state, config),
        posterior=scores.posterior if "posterior" in needs else None,
    )
    return select(config.active.sampler, pool, config.active.budget, generator(config.seed, "sampler", number))


def audit(state: State, config: Config, number: int) -> IntArray:
    """Positions that the audit of round `number` reads: drawn from all unread items, whatever is thought of them."""
    unread = np.flatnonzero(~state.bought)
    if not config.active.audit:
        return unread[:0]
    return generator(config.seed, "audit", number).permutation(unread)[: config.active.audit]


def next_reads(task: Task, state: State, scores: Scores, config: Config, number: int) -> IntArray:
    """Positions of the reads after round `number` whose gain is estimated.

    Where a sampler needs a pass of its own over the data, they are drawn from its pool instead.
    """
    name = config.active.sampler if sampler_needs(config.active.sampler) <= {"probs", "posterior"} else "random"
    pool = Pool(scores.probs, None, None, task.given, open_pool(state, config), scores.posterior)
    return select(name, pool, NEXT_READS, generator(config.seed, "sampler", number + 1))
