"""What the reference packages decide, in the environment that compare.py makes: cases as JSON in, decisions out."""
# mypy: ignore-errors

import asyncio
import builtins
import contextlib
import io
import json
import math
import random
import sys
import zlib
from collections import Counter
from types import SimpleNamespace
from unittest.mock import patch

import llm_verifier
from its_hub.core.algorithms import particle_gibbs, self_consistency
from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.algorithms.beta_self_consistency import BetaSelfConsistency
from its_hub.core.algorithms.bon import BestOfN
from llm_verifier import fine_grained_reward
from treequest import ABMCTSA
from treequest.algos.ab_mcts_a import prob_state


class Given:
    """An orchestrator and a reward model with given replies and ratings."""

    def __init__(self, replies, ratings):
        self.replies, self.ratings = replies, dict(zip(replies, ratings, strict=True))

    async def agenerate(self, lm, batch, **options):
        return [{"role": "assistant", "content": reply} for reply in self.replies]

    async def ascore(self, conversations, orchestrator):
        return [self.ratings[messages[-1].content] for messages in conversations]


def vote(case):
    made = self_consistency.SelfConsistency(str.strip, orchestrator=Given((), ()))
    return made._process_responses([{"content": answer} for answer in case["answers"]])[
        "content"
    ]


def best_of_n(case):
    given = Given(
        [f"Reply {index}: {answer}" for index, answer in enumerate(case["answers"])],
        case["ratings"],
    )
    chosen = asyncio.run(
        BestOfN(given, given).ainfer(None, "How many?", len(case["answers"]))
    )
    return chosen["content"].partition(": ")[2]


class Steps:
    """Steps named by their number among those of one chain, with ratings that are a hash of the path."""

    def __init__(self, seed, depth):
        self.seed, self.depth, self.levels = seed, depth, []

    async def aforward(self, lm, prompts, steps_so_far, **options):
        paths = [tuple(steps) for steps in steps_so_far]
        self.levels.append(paths)
        seen = Counter()
        steps = []
        for path in paths:
            steps.append((f"{seen[path]}" if path else "root", len(path) >= self.depth))
            seen[path] += 1
        return steps

    def _post_process(self, steps, stopped):
        return "/".join(steps[1:])

    async def ascore(self, prompt, texts):
        return [zlib.crc32(f"{self.seed}/{text}".encode()) / 2**32 for text in texts]


def beam_search(case):
    steps = Steps(case["seed"], case["depth"])
    searched = BeamSearch(steps, steps, case["width"]).ainfer(
        None, "How many?", case["width"] * case["children"]
    )
    best = asyncio.run(searched)["content"]
    # The first level is the root, from which the beam has all its children.
    survivors = [
        Counter("/".join(path[1:]) for path in level) for level in steps.levels[2:]
    ]
    return {"survivors": [sorted(level.items()) for level in survivors], "best": best}


def resampling(case):
    shares = particle_gibbs._softmax(
        [particle_gibbs._inv_sigmoid(rating) for rating in case["ratings"]]
    )
    indices = list(range(len(shares)))
    with patch("numpy.random.uniform", lambda low, high: case["u"]):
        return particle_gibbs.ParticleGibbs._resampling_systematic(
            None, indices, shares, len(indices)
        )


def ab_mcts_posterior(case):
    belief = prob_state.ProbabilisticDist()
    for rating in case["ratings"]:
        belief.tell_observation(rating)
    return [belief.params[name] for name in ("m", "kappa", "nu", "tau_square")]


def ab_mcts_tree(case):
    search = ABMCTSA()
    state, parents, source = search.init_tree(), [], random.Random()
    with (
        patch.object(
            prob_state,
            "invgamma",
            SimpleNamespace(rvs=lambda a, scale: scale / source.gammavariate(a, 1.0)),
        ),
        patch("numpy.random.normal", source.gauss),
    ):
        while len(parents) < len(case["ratings"]):
            trials = []
            for number in range(len(parents), len(parents) + case["batch"]):
                source.seed(f"{case['id']}\0{number}")
                state, asked = search.ask_batch(state, 1, ["generate"])
                trials += asked
            for trial in trials:
                state = search.tell(
                    state, trial.trial_id, ("", case["ratings"][len(parents)])
                )
                parents.append(trial.node_to_expand)
    return parents


def verifier_of(case):
    """What a verifier says of two candidates: the probabilities of spellings of letters, for each."""

    def call(client, prompt, model, top_logprobs=20, images=None):
        tokens, rows = [], []
        for slot in "AB":
            shown = prompt.partition(f"**Trajectory {slot}:**\ncandidate ")[2]
            chances = case["chances"][int(shown.split()[0])]
            tokens += [f"<score_{slot}>", "A", f"</score_{slot}>"]
            rows += [
                [],
                [
                    (word, math.log(chance))
                    for word, chance in chances.items()
                    if chance
                ],
                [],
            ]
        return "".join(tokens), tokens, rows

    return patch.object(fine_grained_reward, "call_verifier", call)


def expected_score(case):
    with verifier_of(case):
        return llm_verifier.compare(
            "How many?",
            "candidate 0 ",
            "candidate 1 ",
            criteria=["correct"],
            client=object(),
            max_workers=1,
        )


def tournament(case, pivots=2):
    names = [f"candidate {index} " for index in range(len(case["chances"]))]
    options = {
        "criteria": ["correct"],
        "n_evaluations": 1,
        "max_workers": 1,
        "client": object(),
        "progress": False,
    }
    with verifier_of(case):
        return llm_verifier.select(
            "How many?", names, seed=case["seed"], pivots=pivots, **options
        ).index


DECISIONS = {
    "vote": vote,
    "stop probability": lambda case: BetaSelfConsistency.beta_stopping_probability(
        *case["votes"]
    ),
    "best of n": best_of_n,
    "beam search": beam_search,
    "resampling": resampling,
    "AB-MCTS-A, posterior": ab_mcts_posterior,
    "AB-MCTS-A, tree": ab_mcts_tree,
    "expected score, one spelling": expected_score,
    "expected score, four spellings": expected_score,
    "best of 4": tournament,
}


def summing_spellings():
    return patch.object(
        fine_grained_reward,
        "max",
        lambda *values: sum(values) if len(values) == 2 else builtins.max(*values),
        create=True,
    )


@contextlib.contextmanager
def round_robin():
    """All four are pivots, and no ring is before it: every pair meets once."""
    with (
        patch.object(tournament, "__defaults__", (4,)),
        patch.object(llm_verifier.ppt, "ring_cycle", lambda n, source: []),
    ):
        yield


CHANGES = {
    "vote": lambda: patch.object(
        self_consistency, "random", SimpleNamespace(choice=lambda indices: indices[0])
    ),
    "expected score, four spellings": summing_spellings,
    "best of 4": round_robin,
}
"""One change to a package each, after which it should decide as we do."""


def main():
    given, decided = json.load(sys.stdin), {}
    with contextlib.redirect_stdout(io.StringIO()):
        for name, cases in given.items():
            random.seed(0)
            decided[name] = {"published": [DECISIONS[name](case) for case in cases]}
            if name in CHANGES:
                with CHANGES[name]():
                    decided[name]["changed"] = [DECISIONS[name](case) for case in cases]
    json.dump(decided, sys.stdout)


if __name__ == "__main__":
    main()
