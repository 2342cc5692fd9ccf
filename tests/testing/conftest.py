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


@pytest.fixture
def shop_folder(tmp_path, library):
    """A folder with billing, written for the library, and the shop."""
    write_plugin(
        tmp_path, "billing", BILLING.format(library=library), configuration={"period": NUMBER}
    )
    write_plugin(tmp_path, "shop", SHOP)
    return tmp_path
