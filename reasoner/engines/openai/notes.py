"""What a server cannot do exactly, each said once."""


class Notes(list[str]):
    """Notes in the order in which they were first made."""

    def add(self, *notes: str) -> None:
        """Add those that are new."""
        self += [note for note in dict.fromkeys(notes) if note not in self]
