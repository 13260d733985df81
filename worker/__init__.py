"""The call-control worker: one command, one outcome, in order."""
