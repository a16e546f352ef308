"""Several questions about one document: its prefix is computed once and served from the cache to all samples."""

from reasoner import Question, solve_many_sync

LOG = "\n".join(
    f"Day {day}: {day * 3} ships came in and {day + 2} ships left."
    for day in range(1, 31)
)

if __name__ == "__main__":
    questions = [
        Question.of(f"How many ships came in on day {day}?", context=LOG)
        for day in (2, 3, 5)
    ]
    solutions = solve_many_sync(questions, "self_consistency:n=4,max_tokens=48")
    for question, solution in zip(questions, solutions, strict=True):
        answer = solution.answer.text if solution.answer else "no answer"
        share = solution.cost.cached_tokens / (
            solution.cost.cached_tokens + solution.cost.prompt_tokens
        )
        print(
            f"{question.text} {answer}; {share:.0%} of the prompt tokens came from the cache"
        )
