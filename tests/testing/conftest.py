"""Plugins that the tests of the test kit run."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from shop_plugins import BILLING, SHOP, write_plugin

NUMBER = {"type": "number", "default": 0}


@pytest.fixture(params=["trio", "asyncio"])
def library(request):
    return request.param


def write_shop(folder, library):
    write_plugin(
        folder, "billing", BILLING.format(library=library), configuration={"period": NUMBER}
    )
    write_plugin(folder, "shop", SHOP)
    return folder


@pytest.fixture
def shop_folder(tmp_path, library):
    """A folder with the shop, and with billing written for either library in turn."""
    return write_shop(tmp_path, library)


@pytest.fixture
def trio_shop(tmp_path):
    """The same for Trio alone: for tests in which the library of billing plays no part."""
    return write_shop(tmp_path, "trio")
