"""Built-in addons: one file each, on public events only."""
