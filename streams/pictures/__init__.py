"""Pictures of solutions: a file for each kind of picture, `draw.py` the entry. matplotlib is imported lazily."""
