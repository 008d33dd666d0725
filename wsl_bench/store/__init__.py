"""Records and artefacts on disk: atomic, checksummed, never pickled."""
