r"""The benchmark: edits of procedural clips against their true answers."""
