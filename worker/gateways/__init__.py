"""The telephone networks that a worker can act on."""
