"""Answer a question within a budget, and see what was bought."""

from reasoner import solve_sync

if __name__ == "__main__":
    question = "A box holds 3 apples and 4 more are added. How many apples are in it?"
    solution = solve_sync(question, "self_consistency:n=8", budget="tokens=2000")
    print(solution)
    print(solution.text)
