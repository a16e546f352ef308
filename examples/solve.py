"""Answer a question within a budget, and see what was bought."""

from reasoner import Budget, Question, solve_sync
from reasoner.engines.vllm import VllmEngine
from reasoner_strategies import SelfConsistency

if __name__ == "__main__":
    question = Question.of("A box holds 3 apples and 4 more are added. How many apples are in it?")
    solution = solve_sync(question, SelfConsistency(n=8), VllmEngine(), budget=Budget(tokens=2000))
    print(solution.answer.text if solution.answer else "no answer")
    for vote in solution.vote_state.votes:
        print(f"  {vote.count} x {vote.answer.text}")
    print(f"{solution.cost.tokens} tokens, {solution.cost.cached_tokens} more from the prefix cache")
