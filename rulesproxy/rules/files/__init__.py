"""Rule files as they lie on disk: which ones are meant, their YAML with every place, and what belongs to them."""
