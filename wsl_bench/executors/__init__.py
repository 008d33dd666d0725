"""Where jobs run: in worker processes of this machine."""
