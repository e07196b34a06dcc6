"""The report's own words: names of tasks, methods and data sets, how to read the numbers, and their limits."""

from typing import NamedTuple

import training.control_recipe
import training.tasks
from utils.recipe import LatentRecipe

TITLE = "Structured latent representations: results"
CONTROLS = {name: control.title for name, control in training.control_recipe.METHODS.items()}  # of task control


class Task(NamedTuple):
    """A task: what is learned in two or three sentences, how a latent is learned ("learned by ..."), and a heading
    other than its name.
    """

    about: str
    way: str = ""
    heading: str = ""


TASKS = {
    "1.2.1": Task("An encoder and a decoder learn to reconstruct an image through the latent, without labels. "
                  "The encoder is then frozen.", "by reconstructing the image (1.2.1)"),
    "1.2.2": Task("An encoder and a classifier are trained together, with all labels and without a decoder. "
                  "That classifier gives the headline accuracy.", "from the image's label (1.2.2)"),
    "1.2.3": Task("An encoder learns to map two augmented views of one image to similar latents, without labels. "
                  "The encoder is then frozen.", "by contrasting augmented views of the image (1.2.3)"),
    "rotation": Task("An encoder learns to predict by how many quarter turns an image was rotated, without labels. "
                     "The encoder is then frozen.", "by predicting how the image was rotated",
                     "Rotation prediction (beyond the coursework)"),
    "control": Task("The same scores for latents that were not learned: encoders with random weights, also read at "
                    "every depth, and the first 128 principal components of the pixels and of frozen patch features. "
                    "The classifiers on top are trained as for every other latent.", heading="Controls"),
}

READING = {  # term: explanation
    "Encoders":
        f"In the recipes, by name: {LatentRecipe.__dataclass_fields__['encoder'].metadata['help']}. Convolution "
        "filters are trained with Muon (Jordan 2024) where muon_learning_rate is not 0, everything else with AdamW "
        "(Loshchilov and Hutter 2019); the rate rises linearly, then falls as a cosine. Fine-tuning uses AdamW only.",
    "Test accuracy":
        "The share of test images that an MLP of two hidden layers on the frozen 128-d latent classifies correctly, "
        "mean over seeds. "
        "In task 1.2.2, and after fine-tuning, the classifier is the linear one that was trained with the encoder.",
    "SD (n)":
        "Sample standard deviation over n seeds: how much the result varies when training is repeated. "
        "A single run has none and shows a dash.",
    "Labels, learned dimensions":
        "Which labels shaped the latent, and how many of its dimensions training could change. A hybrid latent joins "
        "learned dimensions to frozen patch components ('without the patch components': the same classifier on the "
        "learned ones alone); a control has none that were learned. The labels are those of the training. Recipes were "
        "chosen with validation labels even where training used none or few; see Selection for the exceptions.",
    "Fewer labels":
        "The labelled images are repeated up to the number of training images, so that an epoch is equally long for "
        "every fraction of the labels. Unless its row says otherwise, fine-tuning starts from an encoder that was "
        "trained on all images without labels, so its epochs are added to that training's.",
    "95 % interval, images":
        "The score interval (Wilson 1927) of the mean accuracy, with the number of test images as its n: where the "
        "accuracy on all images of this kind plausibly lies. Accuracies on other test sets of this size vary by more. "
        "The interval does not cover the seeds.",
    "95 % interval, seeds":
        "The t interval (Student 1908) of the mean over seeds, if there are three seeds or more: where the mean "
        "over all seeds plausibly lies. A single further run varies more. With three seeds the interval itself is "
        "imprecise.",
    "Over the best control":
        "Test accuracy minus that of the best control on the same data set, in percentage points: whether a bar is "
        "passed, not how much was learned, as the best control is another encoder. Controls are encoders left at their "
        "random weights (as they are; with the statistics of their batch norms set from training images, called "
        "calibrated; or calibrated and read at every depth), the first 128 principal components of the pixels (all "
        "where there are fewer) and of frozen patch features, and cmc without training: a calibrated encoder joined "
        "to patch components. Only statistics, components and patch filters come from the training images.",
    "Read at every depth":
        "With encoder conv_depths (the default of 1.2.3 on MNIST and CIFAR-10 except for cmc, of 1.2.1 augmented on "
        "CIFAR-10, and of one control) the latent is not the vector that training shapes. It is the first 128 "
        "principal components, each divided by its standard deviation, of the pooled outputs of all blocks, fitted to "
        "the training images without labels; in these rows after training. An autoencoder's decoder is then trained "
        "further, for the latent that is read.",
    "Reference, difference":
        "The accuracy given as the task's reference, and test accuracy minus reference in percentage points (like all "
        "differences, of means before rounding). The references are published results of coursework of this kind: one "
        "run each, without seeds or intervals, scored by an unknown protocol.",
    "Linear, kNN":
        "Two more scores of the same 128-d latent, means over seeds: a linear classifier, and the vote of the 20 "
        "nearest training latents by cosine similarity.",
    "Effective rank":
        "The exponential of the entropy of the latent's normalised singular values (Roy and Vetterli 2007): how many "
        "of the 128 dimensions are in use.",
    "Alignment, uniformity":
        "The mean squared distance between the normalised latents of two views of an image, and the log of the mean "
        "Gaussian potential over pairs of images (Wang and Isola 2020). Lower is closer and more even, but not better "
        "by itself: a nearly constant latent has the best alignment, and principal components divided by their "
        "standard deviation (latents read at every depth, PCA of patch features) have nearly the best uniformity and "
        "effective rank whatever was learned.",
    "Map agreement":
        "The average share of a point's 10 nearest points that are of its own class, on a 2-D map of test images by "
        "t-SNE (van der Maaten and Hinton 2008) or by PCA. The maps of the raw pixels are the baseline.",
    "McNemar's test":
        "Compares two rows on the same test images (McNemar 1947). If the two are equally good and exactly one of "
        "them is right about an image, it is equally likely to be either (exact, two-sided). Holm's correction (Holm "
        "1979) covers all pairs of default recipes of the data set. The test compares two trained networks, one seed "
        "each, not the two methods over all seeds.",
    "Selection":
        "The encoder is taken after its last epoch, and the classifier that scores it after its best epoch on the "
        "validation images. Recipes were selected on the validation images, with these exceptions: BYOL's batch norms, "
        "momentum and heads, and the recipe of fine-tuning, were chosen on MNIST's test images; the scoring "
        "classifier's number format on MNIST, and its choice among equally good epochs on digits, were compared on "
        "test images; 1.2.2's progressive resizing on CIFAR-10 was kept for its lower cost, although its validation "
        "accuracy was lower and its test accuracy higher.",
    "Minutes":
        "Wall time of a whole run, training and scoring: mean over the n seeds that ran on one kind of machine, with "
        "two threads or more, while other programs were nearly idle (other_load in a record). Older records do not say "
        "whether they were, so ≤ marks their minutes as upper bounds.",
}

PROBLEM = (
    "A latent is a short vector that represents an image. If the latents of one class lie close together, a simple "
    "classifier needs only a few labels to tell the classes apart. Autoencoders learn such vectors without labels, by "
    "reconstructing the image (Hinton and Salakhutdinov 2006; Vincent et al. 2010). Contrastive methods learn them "
    "without labels, too, by giving two augmented views of an image similar vectors (Chen et al. 2020).")

LIMITS = [
    "No interval covers what is the same for all runs: the validation split, and the random patches that serve as "
    "filters for the patch features.",
    "MNIST and CIFAR-10 have been used to compare methods for many years; a small gain on their test sets need not "
    "carry over to new images.",
    "All runs with the same fraction of labels use the same images, whatever their seed.",
    "The best rows are chosen by test accuracy, so their accuracy is somewhat too high as an estimate. Parts of some "
    "recipes were chosen on test images (see Selection).",
    "A t-SNE map shows neighbourhoods. It does not show distances between clusters, and it is not a score.",
    "Each record is checked for consistency with itself and with its arrays. That finds slips and careless edits; "
    "it does not prove that a run took place.",
]


# Every method in words, by its name in the records, in the order of the tables
METHODS = {name: method for task in training.tasks.TASKS.values()
           for name, method in task.recipe.methods_in_words.items()}
