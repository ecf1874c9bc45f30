"""The thin shell over the file system and the index database. Start with `root` and `index`."""
