"""The experiments by the name that they have in theory.json.  To add one: its function here, its form in results.py."""

from collections.abc import Callable

from theory.alignment_uniformity import alignment_uniformity
from theory.collapse import collapse
from theory.linear_autoencoder import linear_autoencoder
from theory.mutual_information import mutual_information
from theory.projection_head import projection_head
from theory.reconstruction_loss import reconstruction_loss
from theory.temperature import temperature
from theory.variance_directions import variance_directions

# seed -> numbers and lists of numbers, the same ones for the same seed
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
