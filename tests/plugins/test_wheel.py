"""The wheel: it holds the shipped plugins, and what is in it runs them from an empty folder."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds that a node may take for its start or its stop on a busy machine."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The folder that the wheel of this checkout was unpacked into."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_every_file_of_the_plugins_is_in_it(unpacked):
    def files(folder):
        return {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and not {"__pycache__", ".pytest_cache"} & {*path.parts}
        }

    assert files(unpacked / "nexus_actors" / "shipped") == files(ROOT / "plugins")


@asynccontextmanager
async def a_node(unpacked, folder):
    """``nexus run`` in ``folder`` with the code of the wheel; gives a client and the process."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    environ |= {"PYTHONPATH": str(unpacked), "NEXUS_NODE_INSTALLED_PLUGINS": "false"}
    with (folder / "stdout").open("w+") as stdout, (folder / "stderr").open("w") as stderr:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "nexus_actors.cli", "run", "--bind", "127.0.0.1:0"],
            cwd=folder,
            env=environ,
            stdout=stdout,
            stderr=stderr,
        )
        try:
            with trio.fail_after(PATIENCE):
                url = await address_of(process, folder)
            async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False) as client:
                yield client, process
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(PATIENCE):
                assert await process.wait() == 0
        finally:
            if process.poll() is None:
                process.kill()


async def address_of(process, folder):
    while True:
        for line in (folder / "stdout").read_text().splitlines():
            if "http://" in line:
                return "http://" + line.partition("http://")[2].split()[0].rstrip(".")
        assert process.poll() is None, (folder / "stderr").read_text()
        await trio.sleep(0.02)


async def test_in_an_empty_folder_it_runs_them_all_and_nothing_is_lost_by_a_stop(
    unpacked, tmp_path
):
    async with a_node(unpacked, tmp_path) as (client, _):
        created = (await client.post("/my-plugin/data", json={"name": "tea"})).json()
        assert (await client.get("/external-api/users/1")).status_code == 503
        mail = {"type": "email", "recipient": "a@b.c"}
        assert (await client.post("/notifications/send", json=mail)).status_code == 503
        states = (await client.get("/readyz")).json()["plugins"]
        for number in range(5):  # in the batch for a second, while the node stops
            record = {"id": number, "value": "v"}
            assert (await client.post("/data-processor/records", json=record)).status_code == 202
    assert [state["state"] for state in states] == ["running"] * 4, states
    log = [json.loads(line) for line in (tmp_path / "stderr").read_text().splitlines()]
    warned = {record.get("plugin") for record in log if record["level"] == "warning"}
    assert warned >= {"external-api", "notifications"}, log
    assert not warned & {"my-first-plugin", "data-processor"}, log
    assert not [record for record in log if record["level"] in ("error", "critical")]
    async with a_node(unpacked, tmp_path) as (client, _):
        assert (await client.get("/my-plugin/data")).json() == {"data": [created]}
        results = (await client.get("/data-processor/results")).json()["results"]
        assert [row["original_id"] for row in reversed(results)] == ["0", "1", "2", "3", "4"]
