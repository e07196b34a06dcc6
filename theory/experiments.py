"""The experiments by their names in theory.json."""

from collections.abc import Callable

from theory.alignment_uniformity.experiment import run as alignment_uniformity
from theory.collapse.experiment import run as collapse
from theory.linear_autoencoder.experiment import run as linear_autoencoder
from theory.mutual_information.experiment import run as mutual_information
from theory.projection_head.experiment import run as projection_head
from theory.reconstruction_loss.experiment import run as reconstruction_loss
from theory.temperature.experiment import run as temperature
from theory.variance_directions.experiment import run as variance_directions

# seed -> numbers and lists of numbers, always the same for a seed
EXPERIMENTS: dict[str, Callable[[int], dict]] = {
    "linear_autoencoder": linear_autoencoder,
    "reconstruction_loss": reconstruction_loss,
    "variance_directions": variance_directions,
    "mutual_information": mutual_information,
    "temperature": temperature,
    "alignment_uniformity": alignment_uniformity,
    "projection_head": projection_head,
    "collapse": collapse,
}
