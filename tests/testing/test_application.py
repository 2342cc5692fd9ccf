"""TestApplication: what it notices about its node."""

from __future__ import annotations

import pytest

from nexus_actors.testing import NodeFailed, TestApplication


@pytest.mark.parametrize(("code", "how"), [(1, "had to be killed"), (70, "a part of it gave up")])
async def test_a_node_that_did_not_end_in_good_order_is_an_error_of_the_test(code, how):
    app = TestApplication()
    await app.start()
    app.node.exit_code = code
    with pytest.raises(NodeFailed, match=f"exit code {code}: .*{how}"):
        await app.cleanup()
    await app.cleanup()  # it is told once


async def test_what_the_test_itself_raised_goes_first():
    with pytest.raises(KeyError) as caught:
        async with TestApplication() as app:
            app.node.exit_code = 1
            raise KeyError("x")
    assert "exit code 1" in caught.value.__notes__[0]
