"""What README.md says about an Asterisk of one's own is all that it takes."""

import os
import subprocess
import sys
from pathlib import Path

from deploy.local import asterisk_server, rabbitmq_server, redis_server
from deploy.local.phones import Phones
from tests.pages import SECONDS, is_shown, normal, parts, shell
from worker.settings import PREFIX

BLOCKS = parts("Telephone networks")["In front of your own Asterisk"]
((_, COMMANDS),) = (block for block in BLOCKS if block[0] == "sh")
((_, SHOWN),) = (block for block in BLOCKS if block[0] == "text")

#: What the page has in Asterisk's files, by their names.
FILES = {
    text.removeprefix("; ").split(maxsplit=1)[0].strip(","): text
    for language, text in BLOCKS
    if language == "ini"
}


def test_an_asterisk_of_ones_own_takes_no_more_than_the_page_says(
    box: Phones, tmp_path: Path
) -> None:
    """A call goes out and comes to what is shown; then one that comes in is offered."""
    assert set(FILES) == {"http.conf", "ari.conf", "extensions.conf"}
    phone = box.answering(ring_ms=100)
    trunk = f"{phone.address}:{phone.port}"
    with (
        asterisk_server(trunk=trunk, files=FILES) as asterisk,
        rabbitmq_server() as rabbitmq,
        redis_server() as redis,
    ):
        (tmp_path / "ari.password").write_text(asterisk.ari_password)
        assert "http://127.0.0.1:8088" in COMMANDS
        commands = COMMANDS.replace("http://127.0.0.1:8088", asterisk.ari_url)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
            "CALL_CONTROL_AMQP_URL": rabbitmq.url,
            "CALL_CONTROL_REDIS_URL": redis.url,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        with shell(commands, tmp_path, environment) as printed:
            log = (tmp_path / "gateway.log").read_text()
            assert is_shown(normal(SHOWN), normal(printed)), printed + log
            # Both parties: the trunk leads all numbers to one telephone.
            assert phone.count("BYE") == 2
            caller = box.calling("+15557000", asterisk.sip, caller="+16660001")
            said = subprocess.run(
                ["callctl", "watch", "--kind", "call_offered", "--since", "10m", "--limit", "1"],  # noqa: S607 - of this environment
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            assert "call_offered" in said.stdout, said.stderr + log
            caller.kill()
