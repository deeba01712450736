"""How surprising a count is: upper and lower tails of binomial and Poisson counts, with overdispersion.

Overdispersed counts (requests come in sessions, failures in bursts) are judged at 1/dispersion of their size, which
scales the variance by `dispersion` and keeps the mean: McCullagh and Nelder, "Generalized Linear Models", 4.5 and 6.2.
"""

import math

from scipy.special import betainc, gammainc, gammaincc


def binomial_at_least(successes: float, trials: float, ratio: float, dispersion: float = 1.0) -> float:
    """P(X >= successes) of X ~ Binomial(trials, ratio); 1 when there is nothing to be surprised about."""
    if successes <= 0 or trials <= 0 or ratio >= 1:
        return 1.0
    if ratio <= 0:
        return 0.0
    k, n = successes / dispersion, max(successes, trials) / dispersion
    return float(betainc(k, n - k + 1.0, ratio))


def poisson_at_least(count: float, mean: float, dispersion: float = 1.0) -> float:
    """P(X >= count) of X ~ Poisson(mean)."""
    if count <= 0:
        return 1.0
    return float(gammainc(count / dispersion, mean / dispersion)) if mean > 0 else 0.0


def poisson_at_most(count: float, mean: float, dispersion: float = 1.0) -> float:
    """P(X <= count) of X ~ Poisson(mean)."""
    return float(gammaincc((count + 1.0) / dispersion, mean / dispersion)) if mean > 0 else 1.0


def score_of(probability: float) -> float:
    """Score in [0, 1] of a tail probability: 0.5 at 1e-4, 0.75 at 1e-8, 0.94 at 1e-16."""
    return float(1.0 - 2.0 ** (math.log10(max(probability, 1e-300)) / 4.0))
