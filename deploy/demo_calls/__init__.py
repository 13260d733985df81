"""``make demo-calls``: the documented conversation on real telephones, as a ladder.

    scenario.py      what is said, who rings, what everybody hears afterwards: data
    ladder.py        messages to lines: pure
    handset.py       a telephone's column: its messages, its ear
    installation.py  a worker and a gateway, in a namespace of their own
    playing.py       plays the scenes, and holds each step against the data
    __main__.py      servers, Asterisk, telephones

It takes telephones, which are part of ``deploy.local``, and so is no command of ``callctl``.
"""
