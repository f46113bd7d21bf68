"""Writes reference.json: the values that stats_test.go compares with, computed by other libraries.

python3 -m venv .venv && .venv/bin/pip install scipy==1.17.1 statsmodels==0.15.0 gbstats==0.8.0
.venv/bin/python reference.py > reference.json
"""
import json
import math

import numpy as np
import statsmodels.api as sm
from gbstats.frequentist.tests import (FrequentistConfig, SequentialConfig, SequentialTwoSidedTTest, TwoSidedTTest)
from gbstats.models.statistics import RatioStatistic, SampleMeanStatistic
from scipy import integrate, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

rng = np.random.default_rng(7)


def arm(n, lift):
    """Users with their clicks and lists, now and before: ratio metrics with a history."""
    activity = rng.normal(0, 0.5, n)
    lists, before = rng.poisson(4, n) + 1, rng.poisson(3, n)
    rate = 0.8 * np.exp(activity)
    clicks, earlier = rng.poisson(lists * rate * lift), rng.poisson(before * rate)
    return np.column_stack([clicks, lists, earlier, before]).astype(float)


a, b = arm(120, 1.0), arm(150, 1.15)


def gb_ratio(x):
    m, d = x[:, 0], x[:, 1]
    return RatioStatistic(n=len(x), m_statistic=SampleMeanStatistic(len(x), m.sum(), (m**2).sum()),
                          d_statistic=SampleMeanStatistic(len(x), d.sum(), (d**2).sum()), m_d_sum_of_products=(m * d).sum())


def gb():
    absolute = TwoSidedTTest(gb_ratio(a), gb_ratio(b), FrequentistConfig(difference_type="absolute"))
    relative = TwoSidedTTest(gb_ratio(a), gb_ratio(b), FrequentistConfig(difference_type="relative"))
    sequential = SequentialTwoSidedTTest(gb_ratio(a), gb_ratio(b), SequentialConfig(difference_type="absolute"))
    return {"absolute": [absolute.point_estimate, math.sqrt(absolute.variance), absolute.dof, *absolute.confidence_interval, absolute.p_value],
            "relative": [relative.point_estimate, math.sqrt(relative.variance), *relative.confidence_interval],
            "sequential": [*sequential.confidence_interval, sequential.p_value]}


def clustered(x):
    """The same ratio as a regression of each list's clicks on a constant, errors clustered by user."""
    y, user = [], []
    for u, (m, d, _, _) in enumerate(x):
        y += [m / d] * int(d)
        user += [u] * int(d)
    fit = sm.OLS(y, np.ones(len(y))).fit(cov_type="cluster", cov_kwds={"groups": user, "use_correction": False})
    n = len(x)
    return [fit.params[0], fit.bse[0] * math.sqrt(n / (n - 1))]


def ancova():
    """CUPED of a mean is the analysis of covariance: the arm's coefficient beside the earlier value."""
    y = np.concatenate([a[:, 0], b[:, 0]])
    before = np.concatenate([a[:, 2], b[:, 2]])
    treated = np.concatenate([np.zeros(len(a)), np.ones(len(b))])
    fit = sm.OLS(y, np.column_stack([np.ones(len(y)), treated, before])).fit()
    return {"theta": fit.params[2], "difference": fit.params[1]}


def best(means, ses):
    out = []
    for k in range(len(means)):
        def f(x, k=k):
            p = stats.norm.pdf(x, means[k], ses[k])
            for j in range(len(means)):
                if j != k:
                    p *= stats.norm.cdf(x, means[j], ses[j])
            return p
        out.append(integrate.quad(f, means[k] - 9 * ses[k], means[k] + 9 * ses[k], epsabs=1e-12, limit=500, points=means)[0])
    return out


slope_t, slope_v, slope_se = [0, 1, 2, 4, 5], [0.10, 0.08, 0.09, 0.03, 0.05], [0.02, 0.01, 0.03, 0.02, 0.01]
slope = sm.WLS(slope_v, sm.add_constant(slope_t), weights=1 / np.square(slope_se)).fit(cov_type="fixed scale")
p = [0.01, 0.04, 0.03, 0.005, 0.2, 0.9]
compare = CompareMeans(DescrStatsW(b[:, 0]), DescrStatsW(a[:, 0]))
print(json.dumps({
    "a": a.tolist(), "b": b.tolist(),
    "cov_a": np.cov(a.T).tolist(),
    "growthbook": gb(),
    "clustered_a": clustered(a),
    "ancova": ancova(),
    "noninferiority": compare.ttest_ind(alternative="larger", usevar="unequal", value=-0.5)[1],
    "best": {"means": [0.10, 0.12, 0.115, 0.05], "ses": [0.01, 0.01, 0.002, 0.03], "p": best([0.10, 0.12, 0.115, 0.05], [0.01, 0.01, 0.002, 0.03])},
    "srm": {"counts": [5100, 4900, 2600], "weights": [2, 2, 1], "chi2_p": list(stats.chisquare([5100, 4900, 2600], np.array([2, 2, 1]) * 12600 / 5))},
    "sign": {"wins": 61, "n": 100, "p": stats.binomtest(61, 100).pvalue, "low_high": list(stats.binomtest(61, 100).proportion_ci(method="exact"))},
    "slope": {"t": slope_t, "v": slope_v, "se": slope_se, "slope_se_p": [slope.params[1], slope.bse[1], slope.pvalues[1]]},
    "p": p,
    "holm": multipletests(p, method="holm")[1].tolist(),
    "bh": multipletests(p, method="fdr_bh")[1].tolist(),
    "units_per_arm": NormalIndPower().solve_power(effect_size=0.1 / 1.7, alpha=0.05, power=0.8),
}, separators=(",", ":")))
