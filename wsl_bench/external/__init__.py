"""Score maps that some other tool has made: reading them, and measuring them like any method's."""
