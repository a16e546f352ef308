"""Families of questions that are drawn from a pool, one or a thousand at once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
from scipy.special import logsumexp

from reasoner.calibration.profile import ArmRow, Family
from reasoner.calibration.promises import SHARES, STAKES
from reasoner.stopping.rules import RISKS
from reasoner_evals.calibration.outcomes import Outcomes, Way
from reasoner_evals.calibration.profiles import counted
from reasoner_evals.stats import Floats, Ints


def averaged(outcomes: Outcomes) -> Outcomes:
    """The mean over orders."""
    mean = {
        each.name: value.mean(axis=1, keepdims=True)
        for each in fields(outcomes)
        if isinstance(value := getattr(outcomes, each.name), np.ndarray)
    }
    return replace(outcomes, **mean)


def resampled(means: Mapping[Way, Outcomes], whole: Family, rows: Ints) -> Family:
    """A family of some questions; one may occur several times; with the confidences of the whole."""
    standard = means[Way(whole.baseline, "", "")].right[:, 0]
    arms = []
    for row in whole.arms:
        outcomes = means[Way(*row.arm)].of(rows)
        losses = (
            counted(outcomes, standard[rows])
            if row.strategy != whole.baseline
            else ((0.0, len(rows)),)
        )
        tokens = float(outcomes.tokens.mean())
        arms.append(
            row.model_copy(
                update={"questions": len(rows), "losses": losses, "tokens": tokens}
            )
        )
    return whole.model_copy(update={"arms": tuple(arms), "questions": len(rows)})


class DrawnRow(ArmRow):
    """A row of many draws, with its p-values by risk."""

    p_values: dict[float, float]

    def p_value(self, risk: float) -> float:
        return self.p_values[risk]


def resampled_often(
    single: Sequence[Family], whole: Family, draws: Ints
) -> Sequence[Family]:
    """The families of many draws [D, size] of single questions, for `promised`: p-values all at once."""
    counts = np.stack([np.bincount(drawn, minlength=len(single)) for drawn in draws])
    columns = []
    for column, row in enumerate(whole.arms):
        losses = np.array([each.arms[column].losses[0][0] for each in single])
        tokens = (
            counts
            @ np.array([each.arms[column].tokens for each in single])
            / draws.shape[1]
        )
        by_risk = {risk: p_values(row, losses, counts, risk) for risk in RISKS.values()}
        columns.append(
            [
                DrawnRow.model_construct(
                    **row.__dict__ | {"tokens": cost, "questions": draws.shape[1]},
                    p_values={
                        risk: float(values[at]) for risk, values in by_risk.items()
                    },
                )
                for at, cost in enumerate(tokens.tolist())
            ]
        )
    return [
        whole.model_copy(update={"arms": arms}) for arms in zip(*columns, strict=True)
    ]


def p_values(row: ArmRow, losses: Floats, counts: Ints, risk: float) -> Floats:
    """[D]: `ArmRow.p_value` where the losses [Q] of questions occur so often, [D, Q]; compared on the first draw."""
    if row.most <= risk:
        return np.zeros(len(counts))
    bound = row.bound
    bets = np.array(STAKES) * (1 - 1e-6) / (bound - risk)
    wealth = logsumexp(
        np.log(SHARES)
        + counts @ np.log1p(bets * (risk - np.minimum(losses, bound)[:, None])),
        axis=1,
    )
    values = np.asarray(np.minimum(1.0, np.exp(-wealth)))
    first = row.model_copy(
        update={"losses": tuple(zip(losses.tolist(), counts[0].tolist(), strict=True))}
    )
    assert math.isclose(values[0], first.p_value(risk), rel_tol=1e-6), (
        row.strategy,
        risk,
    )
    return values
