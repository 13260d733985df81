"""What the contract's readers are given, made from the code's own: ``make docs`` renews it."""
