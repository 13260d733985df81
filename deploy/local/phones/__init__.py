"""Telephones for calls through Asterisk: sipp for SIP, tones for voices.

    with asterisk_server() as asterisk, telephones() as box:
        alice = box.answering(tone=400)
        bob = box.answering(ring_ms=500, tone=500)
        busy, nobody = box.refusing(486), box.ringing()
        alice.endpoint("+15550001")              # for ARI: PJSIP/trunk/sip:+15550001@127.0.0.1:…
        carol = box.calling("+15550002", through=asterisk.sip, tone=600, hang_up_ms=1500)

        alice.wait_for("INVITE"), alice.wait_for("BYE"), carol.wait_for(200)
        alice.count("INVITE")                    # calls; retransmissions and re-INVITEs are none
        alice.found("INVITE", again=True)        # the re-INVITEs
        alice.wait_tones(500)                    # that, and nothing else
        bob.wait_tones()                         # silence
        bob.digits()

All telephones may have several calls at once, by one RTP port each, told apart by where in Asterisk
they come from: ``bob.calls`` has the Call-IDs that most questions take. A telephone that cannot be
reached is a port on which there is none.
"""

from deploy.local.phones.behaviour import NEVER, Answers, Behaviour, Calls, Refuses
from deploy.local.phones.box import Phones
from deploy.local.phones.media import Address, Media
from deploy.local.phones.messages import Message
from deploy.local.phones.phone import Phone

__all__ = [
    "NEVER",
    "Address",
    "Answers",
    "Behaviour",
    "Calls",
    "Media",
    "Message",
    "Phone",
    "Phones",
    "Refuses",
]
