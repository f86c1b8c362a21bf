"""docs/privacy.md: its part that follows from the program."""
