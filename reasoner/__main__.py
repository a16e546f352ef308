"""`python -m reasoner`: the command, where its script is not on the path."""

from reasoner.cli import main

if __name__ == "__main__":
    main()
