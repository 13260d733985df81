"""Real calls through an Asterisk, by its REST interface (ARI)."""
