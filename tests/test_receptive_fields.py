import pytest
import torch
from torch import nn

from lis_toolkit import load_classifier
from lis_toolkit.activations import list_layers, receptive_fields
from lis_toolkit.activations.fields import proportional_boxes
from lis_toolkit.classifiers import Classifier, ResidualNet
from lis_toolkit.errors import LisError
from test_activations import Shared, native


def recursion(convolutions, size):
    """The textbook rule: size and jump grow with each layer; the start moves left by the padding."""
    boxes, jump, start, extent, count = [], 1, 0, 1, size
    for kernel, stride, padding in convolutions:
        start, extent = start - padding * jump, extent + (kernel - 1) * jump
        jump, count = jump * stride, (count + 2 * padding - kernel) // stride + 1
        ends = [(max(0, start + i * jump), min(size, start + i * jump + extent)) for i in range(count)]
        boxes.append(ends)
    return boxes


def test_the_plain_network_by_the_textbook_rule():
    classifier = load_classifier("fashion")
    rule = recursion([(3, 1, 1)] + [(3, s, 1) for s in (2, 1, 2, 1, 1, 2, 1)], 32)
    fields = receptive_fields(classifier)
    for layer, ends in zip(list_layers(classifier), rule, strict=False):
        field = fields[layer.name]
        assert field.how == "exact" and field.size == (32, 32)
        for row, (top, bottom) in enumerate(ends):
            for column, (left, right) in enumerate(ends):
                assert field.boxes[row, column].tolist() == [top, bottom, left, right]
    assert fields["body.3"].extent == (5, 5)
    assert fields["penultimate"].boxes.tolist() == [[[0, 32, 0, 32]]]


class Odd(nn.Module):
    """Two ways of different reach, a kernel that is wider than tall, dilation, and a gate by the whole image."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, (1, 5), padding=(0, 2))
        self.far = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.gate = nn.Conv2d(4, 4, 1)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.GroupNorm(2, 4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.norm(self.far(x))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.fc(self.pool(x).mean((2, 3)))


def by_gradients(classifier, layer):
    """Box of every position: the pixels with a gradient, one position after another, with positive weights."""
    network = classifier.network
    inputs = torch.rand(1, 3, *classifier.input_size, dtype=torch.float64).requires_grad_()
    kept = {}
    handle = network.get_submodule(layer).register_forward_hook(lambda m, a, out: kept.update(out=out))
    network(inputs) if isinstance(network, Odd) else classifier.encode(inputs)
    handle.remove()
    value = kept["out"].sum(1)[0]  # [h, w]
    boxes = torch.zeros(*value.shape, 4, dtype=torch.int64)
    for row in range(value.shape[0]):
        for column in range(value.shape[1]):
            (gradient,) = torch.autograd.grad(value[row, column], inputs, retain_graph=True)
            lit = gradient[0].abs().sum(0) > 0
            rows, columns = lit.any(1).nonzero().flatten(), lit.any(0).nonzero().flatten()
            boxes[row, column] = torch.stack([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1])
    return boxes


def test_other_networks_by_gradients_position_by_position():
    torch.manual_seed(0)
    residual = native(ResidualNet).double().requires_grad_(False)
    for weight in residual.parameters():
        weight.abs_()
    for layer in ("body.1", "body.4.first.0", "body.4", "body.6", "body.7.second.0"):
        found = receptive_fields(residual, layer)[layer]
        assert found.how == "exact" and torch.equal(found.boxes, by_gradients(residual, layer)), layer
    odd = Classifier(Odd().eval(), size=(12, 10), name="odd")
    fields = receptive_fields(odd, ["stem", "far", "pool"])
    assert [field.extent for field in fields.values()] == [(1, 5), (5, 9), (6, 10)]
    odd = odd.double().requires_grad_(False)
    assert torch.equal(fields["stem"].boxes, by_gradients(odd, "stem"))
    assert torch.equal(fields["far"].boxes, by_gradients(odd, "far"))


def test_the_network_is_left_as_it_was_and_weights_do_not_matter():
    torch.manual_seed(0)
    classifier = Classifier(Shared().eval(), size=(8, 8), name="shared")
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    fields = receptive_fields(classifier)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    dead = Classifier(Shared().eval(), size=(8, 8), name="dead")
    with torch.no_grad():
        for weight in dead.network.parameters():
            weight.mul_(-1)
    for name, field in receptive_fields(dead).items():
        assert torch.equal(field.boxes, fields[name].boxes) and field.how == fields[name].how
    assert fields["relu#1"].extent == (3, 3) and fields["bn2"].extent == (5, 5)


class Attention(nn.Module):
    """Patches as tokens, then one layer in which each looks at all."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))  # [N, 16, 8]
        return self.fc((tokens + self.attention(tokens, tokens, tokens)[0]).mean(1))


def test_tokens_are_positions():
    torch.manual_seed(0)
    classifier = Classifier(Attention().eval(), size=(16, 16), name="attention")
    layers = {layer.name: layer for layer in list_layers(classifier, "all")}
    assert layers["patches"].shape == (8, 4, 4)
    assert layers["norm"].shape == layers["attention"].shape == (8, 16, 1)
    assert (
        layers["norm"].title == "norm (LayerNorm) · 16 tokens×8"
        and "first output" in layers["attention"].title
    )
    fields = receptive_fields(classifier, ["norm", "attention"])
    for token in range(16):
        row, column = divmod(token, 4)
        box = [4 * row, 4 * row + 4, 4 * column, 4 * column + 4]
        assert fields["norm"].boxes[token, 0].tolist() == box
    assert fields["attention"].boxes.unique(dim=0).tolist() == [[[0, 16, 0, 16]]]


class Stubborn(nn.Module):
    """A network that can't be copied."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.fc = nn.Linear(4, 3)

    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


def test_where_it_cannot_be_told_boxes_are_proportional():
    classifier = Classifier(Stubborn().eval(), size=(8, 6), name="stubborn")
    field = receptive_fields(classifier, "conv")["conv"]
    assert field.how == "proportional" and field.boxes.shape == (4, 3, 4)
    assert field.boxes[1, 2].tolist() == [2, 4, 4, 6] and field.extent == (2, 2)
    layer = list_layers(classifier)[0]
    assert proportional_boxes(layer, (2, 2))[:, 0, :2].tolist() == [[0, 1], [0, 1], [1, 2], [1, 2]]
    with pytest.raises(LisError, match="no layer 'cnv'.*Did you mean 'conv'"):
        receptive_fields(classifier, "cnv")
