"""Receptive fields against closed forms, and the Jacobian itself."""

import pytest
import torch
from torch import nn

from asr.encoders import GridLSTMEncoder, StackedRNNEncoder
from asr.inspect.receptive import ReceptiveField, field_of_grid, field_of_model, gradient_norms, receptive_field, spread
from asr.model import CTCModel


def leaky_sum(x, weight=0.8):
    """h_t = weight * h_{t-1} + the sum of x_t over its features: (P, T, M) -> (P, T, 1)."""
    hidden, outputs = x.new_zeros(len(x), 1), []
    for t in range(x.shape[1]):
        hidden = weight * hidden + x[:, t].sum(dim=1, keepdim=True)
        outputs.append(hidden)
    return torch.stack(outputs, dim=1)


def test_the_field_of_a_linear_recurrence_is_its_weight_to_the_power_of_the_distance():
    field = receptive_field(leaky_sum, torch.randn(9, 3, dtype=torch.double), [(4,), (6,)], subsampling=1, draws=2)
    past = torch.tensor([0.8**distance for distance in range(7)], dtype=torch.double)
    torch.testing.assert_close(field.norms[field.reach - 6 : field.reach + 1].flip(0), past[:, None].expand(7, 3))
    assert (field.norms[field.reach + 1 : field.reach + 5] == 0).all()
    assert field.norms[field.reach - 7 :][:1].isnan().all()
    torch.testing.assert_close(field.along_time[field.reach], torch.tensor(3.0, dtype=torch.double).sqrt())


def test_norms_are_those_of_the_jacobian_s_columns():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 6)).double()
    inputs = torch.randn(3, 4, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x)[1], inputs)
    norms = gradient_norms(net, inputs, [(1,)], draws=4000)[0]
    torch.testing.assert_close(norms, jacobian.norm(dim=0), rtol=0.05, atol=0)
    assert (norms[[0, 2]] == 0).all()


def test_a_place_does_not_see_the_copies_of_the_others():
    inputs = torch.randn(9, 3, dtype=torch.double)
    both = gradient_norms(leaky_sum, inputs, [(4,), (6,)], draws=1)
    torch.testing.assert_close(both[0], gradient_norms(leaky_sum, inputs, [(4,)], draws=1)[0])


def grid_encoder(**options):
    torch.manual_seed(0)
    given = {"hidden_size": 4, "num_layers": 1, "patch_mels": 2, "lstm_layers": 1, "lstm_hidden_size": 5}
    return GridLSTMEncoder(8, **{**given, **options}).eval()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_grid_that_runs_forward_only_sees_nothing_of_the_future(bidirectional):
    encoder = grid_encoder(bidirectional_time=bidirectional, lstm_bidirectional=False)
    field = field_of_model(CTCModel(encoder, 4), torch.randn(60, 8))
    own = encoder.patches.patch_frames
    future = field.norms[field.reach + own :].nan_to_num()
    assert bool((future == 0).all()) != bidirectional
    assert (field.norms[field.reach - 6 : field.reach + own] > 0).all()


def test_a_cell_of_a_grid_that_runs_upward_sees_nothing_above_it():
    encoder = grid_encoder(bidirectional_time=True, bidirectional_frequency=False)
    field = field_of_grid(encoder, torch.randn(60, 8), block=1)
    assert (field.along_frequency[:4] > 0).all()
    assert (field.along_frequency[4:] == 0).all()


def test_the_field_of_another_encoder_is_measured_alike():
    torch.manual_seed(0)
    model = CTCModel(StackedRNNEncoder(8, hidden_size=4, num_layers=1, bidirectional=False), 4).eval()
    field = field_of_model(model, torch.randn(60, 8))
    assert (field.norms[field.reach] > 0).all()
    assert (field.norms[field.reach + model.encoder.subsampling :].nan_to_num() == 0).all()


def test_the_share_of_the_squared_gradient_within_some_frames():
    norms = torch.tensor([[0.0], [1.0], [2.0], [1.0], [float("nan")]])
    field = ReceptiveField(norms, 1)
    assert [field.within(share) for share in (0.1, 0.6, 0.7, 1.0)] == [0, 0, 1, 1]


def test_places_are_spread_over_the_middle_half():
    places = spread(100)
    assert (len(places), min(places), max(places)) == (24, 25, 75)
