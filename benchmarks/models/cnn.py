"""CNN: four convolution blocks over pictures of 64 x 64 pixels; about what a detector of face masks needs."""

import itertools

from torch import Tensor, nn

CHANNELS = (3, 16, 32, 64, 128)
PIXELS = 64


class Cnn(nn.Module):
    """(batch, 3, 64, 64) float32 to (batch, 2) float32."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_block(*pair) for pair in itertools.pairwise(CHANNELS)))
        self.classes = nn.Linear(CHANNELS[-1], 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.classes(self.blocks(image).mean((2, 3)))


def _block(before: int, after: int) -> nn.Sequential:
    """Convolution, batch normalisation with the statistics of some training, rectifier, pooling."""
    normal = nn.BatchNorm2d(after)
    nn.init.normal_(normal.running_mean, std=0.1)
    nn.init.uniform_(normal.running_var, 0.5, 2.0)
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(convolution, normal, nn.ReLU(), nn.MaxPool2d(2))
