"""Networks known by name, one file each; plug-ins register theirs in their own files."""
