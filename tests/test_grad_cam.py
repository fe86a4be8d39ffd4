"""Grad-CAM against captum and by hand."""

import pytest
import torch
from captum.attr import LayerGradCam

from lis_toolkit import load_classifier, load_fashion
from lis_toolkit.errors import LisError
from lis_toolkit.saliency import explain_images, grad_cam
from lis_toolkit.saliency.grad_cam import grad_cam_weights
from tiny_saliency import by_hand, small_classifier, small_images


@pytest.mark.parametrize("place", [1, 3, 5])
@pytest.mark.parametrize("target", [None, 2])
def test_against_captum_and_by_hand(place, target):
    classifier, x = small_classifier(), small_images()
    # captum's hooks don't bear layers that write in place
    plain = small_classifier()
    for module in plain.network.body:
        module.inplace = False
    targets = classifier.logits(x).argmax(1) if target is None else torch.full((5,), target)
    expected = LayerGradCam(plain, plain.network.body[place]).attribute(x, targets, relu_attributions=True)
    ours = grad_cam(classifier, x, target, f"body.{place}", batch_size=2)
    scale = float(ours.max())  # maps of random weights are small
    assert ours.shape == expected.shape[:1] + expected.shape[2:] and scale > 1e-5
    assert torch.allclose(ours / scale, expected[:, 0].detach() / scale, atol=1e-5)
    for i in range(len(x)):
        maps, gradients, _ = by_hand(classifier, x[i], int(targets[i]))
        a, g = maps[place // 2], gradients[place // 2]
        slow = torch.stack([g[c].mean() * a[c] for c in range(len(a))]).sum(0).clamp_min(0)
        assert torch.allclose(ours[i] / scale, slow / scale, atol=1e-5)


def test_the_bundled_classifier_against_captum():
    classifier = load_classifier("fashion")
    x = load_fashion("sample").images[::250]
    targets = classifier.logits(x).argmax(1)
    ours = grad_cam(classifier, x)
    for module in classifier.network.body:
        if hasattr(module, "inplace"):
            module.inplace = False
    weight = x.clone().requires_grad_(True)  # captum derives by what needs gradients
    expected = LayerGradCam(classifier, classifier.network.body[15]).attribute(
        weight, targets, relu_attributions=True
    )
    assert ours.shape == (4, 4, 4) and float(ours.max()) > 0.1
    assert torch.allclose(ours, expected[:, 0].detach(), rtol=1e-5, atol=1e-5)


def test_units_and_defaults():
    classifier, x = small_classifier(), small_images(3)
    assert torch.equal(grad_cam(classifier, x), grad_cam(classifier, x, layer="body.5"))
    for i in range(3):
        maps, gradients, _ = by_hand(classifier, x[i], unit=4)
        expected = (grad_cam_weights(gradients[1])[:, None, None] * maps[1]).sum(0).relu()
        assert torch.allclose(grad_cam(classifier, x, layer="body.3", unit=4)[i], expected, atol=1e-7)
    with pytest.raises(LisError, match="positions"):
        grad_cam(classifier, x, layer="penultimate")
    with pytest.raises(LisError, match="a class .* and a unit"):
        grad_cam(classifier, x, "disc", unit=1)


def test_the_papers_weights_are_not_grad_cams():
    """Grad-CAM averages gradients of either sign over all places; the paper counts what is active and raises."""
    classifier, x = small_classifier(), small_images(1)
    maps, gradients, _ = by_hand(classifier, x[0])
    part = explain_images(classifier, x)[0].layers[1]
    cam = grad_cam_weights(gradients[1])
    assert not torch.allclose(part.weights, cam / cam.sum(), atol=1e-3)
