"""The command line: parses, calls, prints. It computes nothing."""
