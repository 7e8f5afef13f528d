"""What may stand in `${…}`, and the files, paths and URLs that are made of it."""
