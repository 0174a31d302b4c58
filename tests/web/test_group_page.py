"""A group's page in real browsers: joining, a network that breaks, the table, and runs from a static site."""

import contextlib
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest

from qwop_datasets import DatasetReader

pytestmark = pytest.mark.real_game

NAME = "<img src=x onerror=alert(1)> Zoë"


class Network:
    """Forwards connections to a port of this machine while it is up; down, it says nothing to anybody."""

    def __init__(self):
        self.up = threading.Event()
        self.up.set()
        self.to = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._forward, args=(near,), daemon=True).start()

    def _forward(self, near):
        with near, contextlib.suppress(OSError):
            born_down = not self.up.wait(60)
            if born_down:
                return
            with socket.create_connection(("127.0.0.1", self.to)) as far:
                other = {near: far, far: near}
                while True:
                    for end in select.select([near, far], [], [])[0]:
                        data = end.recv(65536)
                        if not data:
                            return
                        if not self.up.is_set():  # what was under way is lost, and so is the connection
                            self.up.wait(60)
                            return
                        other[end].sendall(data)

    def close(self):
        self._listening.close()


@pytest.fixture
def network():
    with contextlib.closing(Network()) as network:
        yield network


@pytest.fixture
def group(tmp_path, network, address):
    """A group's server behind the network: its process, its links (the table's first), its file."""
    path = tmp_path / "runs.h5"
    arguments = [str(path), "--web", "--port", "0", "--no-open", "--countdown", "0.1", "--players", "2"]
    with subprocess.Popen(
        [
            *[sys.executable, "-m", "qwop_recorder.cli", *arguments],
            *["--url", network.address, "--sites", address.rstrip("/"), "--license", "CC-BY-4.0"],
        ],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout
        links = [process.stdout.readline().rpartition(": ")[2].strip() for _ in range(3)]
        process.stdout.readline()
        port = int(process.stdout.readline().rpartition(":")[2])
        network.to = port
        yield process, links, path
        process.kill()


def join(driver, link, name):
    driver.get("about:blank")
    driver.get(link)
    driver.wait("return window.page && !document.getElementById('join').hidden")
    driver.find_element("id", "join-name").send_keys(name)
    driver.find_element("id", "join-consent").click()
    driver.find_element("css selector", "#join button").click()
    driver.wait("return page.sync?.state === 'connected'")


def test_a_network_that_breaks_costs_no_frame(driver, group, network):
    process, links, path = group
    join(driver, links[1], NAME)
    assert driver.execute_script("return location.hash + document.getElementById('player').value") == NAME
    driver.play("wqopwo")
    driver.wait("return page.session.run.frames > 40")
    network.up.clear()
    driver.wait("return page.sync.state === 'connecting'")
    said = driver.execute_script("return document.getElementById('recorder').textContent")
    assert "connection to the recorder is lost" in said and "play on" in said
    frames = driver.execute_script("return page.session.run.frames")
    driver.wait(f"return page.session.run.frames > {frames + 20} || page.session.run.ended")
    driver.execute_script("page.session.phase = 'ended'; page.command('keep')")
    driver.wait("return page.records.length > 0 && page.records.at(-1).stored === false")
    assert not driver.execute_script("return page.sync.settled")
    network.up.set()
    driver.wait("return page.records.at(-1).stored === true && page.sync.settled", 60)
    keys = driver.execute_script("return page.session.run.keys")
    (episode,) = DatasetReader(path)
    assert episode.keys.tolist() == keys and episode.verified == "exact" and episode.player == NAME
    assert episode.provenance["page_sha256"] == "checked" and episode.provenance["license"] == "CC-BY-4.0"

    # The table, with the name as text.
    driver.get(links[0])
    driver.wait("return document.querySelectorAll('tbody tr').length === 1")
    assert driver.execute_script("return document.querySelector('td').textContent") == NAME
    assert driver.execute_script("return location.hash") == ""
    # The invitation is known again, in a page that is opened anew.
    driver.get(links[1])
    driver.wait("return window.page?.sync?.state === 'connected'")
    assert driver.execute_script("return document.getElementById('join').hidden")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_a_static_page_sends_its_runs_to_a_group(page, group):
    process, links, path = group
    page.play("wq")
    page.wait("return page.session.run.frames > 20")
    page.execute_script("page.session.phase = 'ended'; page.command('keep')")
    page.wait("return page.records.length === 1")
    send = (
        "const open = document.querySelector('#runs details'); open.open = true;"
        "document.getElementById('invitation').value = arguments[0];"
        "document.getElementById('send').requestSubmit()"
    )
    page.execute_script(send, "https://127.0.0.1/")
    page.wait("return document.getElementById('send-state').textContent.includes('no invitation')")
    page.execute_script(send, links[2])
    page.wait("return !document.getElementById('join').hidden")
    page.find_element("id", "join-name").clear()
    page.find_element("id", "join-name").send_keys("Kim")
    page.find_element("id", "join-consent").click()
    page.find_element("css selector", "#join button").click()
    page.wait("return document.getElementById('send-state').textContent.startsWith('1 of 1 runs')")
    page.execute_script(send, links[2])  # what was sent is not sent again
    page.wait("return document.getElementById('send-state').textContent.startsWith('0 of 0 runs')")
    (episode,) = DatasetReader(path)
    assert episode.player == "Kim" and episode.verified == "exact"
    assert episode.keys.tolist() == page.execute_script("return page.session.run.keys")
    assert episode.provenance["page_sha256"] == "checked" and episode.provenance["invitation"] == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
