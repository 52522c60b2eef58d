"""Webhooks may go to the loopback here, and a receiver listens there."""

from collections.abc import AsyncIterator

import pytest

from service.kit.settings import Settings
from tests.webhooks.receiver import Receiver, receiving


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The settings with the loopback as a network for webhooks."""
    return settings.model_copy(update={"webhook_networks": ["127.0.0.0/8"]})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver."""
    async with receiving() as found:
        yield found
