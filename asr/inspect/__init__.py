"""Looking inside a model: its gates and memories, what it listens to, and how far gradients reach."""
