r"""The benchmark's world in depth: pairs, measures, and what needs no model."""
