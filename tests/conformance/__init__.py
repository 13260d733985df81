"""What every telephone network has to do: the transition table, cell by cell."""
