"""The kit in tests written for asyncio, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from shop_plugins import BILLING, SHOP, write_plugin

TESTS = """
import asyncio

import pytest

from nexus_actors.testing import TestApplication, TestClient


@pytest.fixture
async def app():
    app = TestApplication(plugins=[".."])
    yield app
    await app.cleanup()


async def test_probes(app):
    billing = await app.probe("billing", methods=["charge"], events=["order.*"])
    await app.register_plugin("shop")
    client = TestClient(app)

    async def charge(number, currency):
        return number

    billing.answer("charge", charge)
    assert (await client.post("/shop/order/3")).json() == {"paid": 3}
    await billing.expect("charge")
    await billing.expect("order.placed")
    await billing.expect_nothing()
    with pytest.raises(AssertionError, match="it got nothing else"):
        await billing.expect("charge", timeout=0.01)


async def test_faults(app):
    await app.register_plugin("billing")
    await app.register_plugin("shop")
    client = TestClient(app)
    with app.faults("billing").crash():
        assert (await client.post("/billing")).status_code == 503
    with app.faults("billing").hang("by_http") as hang:
        asking = asyncio.create_task(client.post("/billing"))
        await hang.wait_hit()
    assert (await asking).status_code == 200


async def test_time(app, mock_clock):
    await app.register_plugin("billing", {"period": 60})
    client = TestClient(app)
    await app.advance(180)
    assert (await client.get("/billing/done")).json() == {"done": ["timer"] * 3}
    with app.faults("billing").hang("by_http"):
        async with app.autojump():
            assert (await client.post("/billing")).status_code == 504
    with pytest.raises(KeyError):
        async with app.autojump():
            raise KeyError("x")
"""


def test_it_works_in_tests_written_for_asyncio(tmp_path):
    number = {"type": "number", "default": 0}
    folder = write_plugin(
        tmp_path, "billing", BILLING.format(library="asyncio"), configuration={"period": number}
    )
    write_plugin(tmp_path, "shop", SHOP)
    (folder / "test_billing.py").write_text(TESTS)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--timeout=30", "-W", "error", "test_billing.py"],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout
