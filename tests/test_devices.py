"""Putting models on devices."""

import pytest
import torch

from lis_toolkit.devices import place
from lis_toolkit.errors import LisError


def test_modules_go_where_they_are_asked_to():
    module = torch.nn.Linear(2, 1)
    assert place(module, None) is module and module.weight.device.type == "cpu"
    assert place(module, torch.device("cpu")).weight.device.type == "cpu"


@pytest.mark.parametrize("device", ["nowhere", "xla:7"])
def test_a_device_that_is_not_here_is_named(device):
    with pytest.raises(LisError, match=f"no device '{device}' here"):
        place(torch.nn.Linear(2, 1), device)
