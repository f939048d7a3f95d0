"""How often readers err, judged by what models that have not heard them expect them to say."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, logsumexp

from overread.arrays import FloatArray
from overread.errors import DataError

__all__ = ["PRIOR_MEAN", "log_likelihood_of_votes", "reader_error"]

# Pseudo-reads, wrong and right: a few reads of hard items must not make a bad reader.
WRONG, RIGHT = 1.0, 19.0
PRIOR_MEAN = WRONG / (WRONG + RIGHT)
# Deviation of the logarithm of the factor that takes from the expectations what they are too sure.  Never above 1: what
# they are not sure enough would come out as errors of readers where noise is high.
TEMPERATURE_WIDTH = 0.5
LEAST_ERROR, LEAST_FACTOR = 1e-4, 0.2
# A class that is thought impossible would make a read infinitely unlikely.
LEAST = 1e-12


def log_likelihood_of_votes(votes: FloatArray, error: float) -> FloatArray:
    """Log `P(reads of r | true = y)`, (C, R), of every item the largest is 0.

    votes: (C, R) how often item r was called c.  error: share of wrong reads, above 0 and below 1; an erring reader
    names each other class equally often, and repeated reads are independent (Dawid and Skene, "Maximum likelihood
    estimation of observer error-rates using the EM algorithm", Applied Statistics 28 (1979), with one rate for all).
    """
    log_ratio = np.log1p(-error) - np.log(error / max(1, len(votes) - 1))
    found: FloatArray = (votes - votes.max(axis=0)) * log_ratio
    return found


def reader_error(expected: FloatArray, votes: FloatArray) -> float:
    """The most probable share of wrong reads, 0 .. 1; without reads `PRIOR_MEAN`.

    expected: (C, R) `P(true = y | image, given label)` of the read items by models that have not heard the item's own
    reads; columns sum to one.  votes: (C, R) how often each was called c.

    Maximum a posteriori of `sum_r log sum_y expected(y)^t P(reads of r | y)` in the error and in `t <= 1`: expectations
    that are too sure miss, which must not be put down to the reader.  Items that a sampler chose by their expectations
    need no correction, since these are in the likelihood.
    Errors: DataError for shapes that differ, and for fewer than two classes.
    """
    if expected.shape != votes.shape or len(votes) < 2:
        raise DataError(f"expectations of shape {expected.shape} do not fit reads of shape {votes.shape}")
    n_reads, others = float(votes.sum()), len(votes) - 1
    if n_reads == 0:
        return PRIOR_MEAN
    log_expected = np.log(np.maximum(expected, LEAST))

    def loss(point: FloatArray) -> float:
        error, log_factor = float(expit(point[0])), float(point[1])
        # What `log_likelihood_of_votes` leaves out: the votes for the class that has most.
        most = votes.max(axis=0)
        rest = votes.sum(axis=0) - most
        constant = most * np.log1p(-error) + rest * np.log(error / others)
        tempered = log_softmax(np.exp(log_factor) * log_expected, axis=0)
        joint = logsumexp(tempered + log_likelihood_of_votes(votes, error), axis=0) + constant
        prior = WRONG * np.log(error) + RIGHT * np.log1p(-error) - 0.5 * (log_factor / TEMPERATURE_WIDTH) ** 2
        return -(float(joint.sum()) + float(prior)) / n_reads

    limit = others / (others + 1.0)
    ends = (float(logit(LEAST_ERROR)), float(logit(0.99 * limit)))
    bounds = [ends, (float(np.log(LEAST_FACTOR)), 0.0)]
    found = minimize(loss, np.array([logit(PRIOR_MEAN), 0.0]), method="L-BFGS-B", bounds=bounds)
    return float(expit(found.x[0]))
