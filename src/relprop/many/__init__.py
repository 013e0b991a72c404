"""Many pictures: files, folders and loaders, explained in batches, as a stream or on the disk."""
