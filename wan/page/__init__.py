r"""A page for people who would rather look: its engine, and what it shows."""
