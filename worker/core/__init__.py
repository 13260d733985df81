"""The pure core: the state of a call and what each message does to it. No I/O, no clock."""
