"""From nodes to rules: keys, filters, names and values, and the JSON Schema that says the same to editors."""
