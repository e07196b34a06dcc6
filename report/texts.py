"""The report's own prose: what the tasks are, how the numbers are to be read, what they do not say."""

from utils.record import HEADLINE

TITLE = "Structured latent representations: results"

# task -> what is learned, in two or three sentences
ABOUT = {
    "1.2.1": "An encoder and a decoder learn to give an image back through the latent; no label is used. "
             "The encoder is then frozen.",
    "1.2.2": "An encoder and a classifier are trained together, with all labels and no decoder. "
             "That classifier gives the headline accuracy.",
    "1.2.3": "An encoder learns to give two augmented views of one image similar latents; no label is used. "
             "The encoder is then frozen.",
    "rotation": "An encoder learns to tell by how many quarter turns an image was rotated; no label is used. "
                "The encoder is then frozen.",
}

# (term, explanation)
READING = [
    ("Test accuracy",
     f"The mean over seeds of {HEADLINE}: the share of test images whose class an MLP names from the frozen 128-d "
     "latent. In task 1.2.2 the classifier is the one that was trained with the encoder."),
    ("SD (n)",
     "Sample standard deviation over n seeds: how far the result moves when training is repeated. "
     "One run has no standard deviation; a dash stands there."),
    ("95 % interval",
     "Wilson's score interval (1927) of the mean accuracy, with the number of test images as its n: how far the result "
     "could move with another test set of the same size and kind. It does not cover the seeds."),
    ("Reference, difference",
     "The accuracy that the task is known for, and test accuracy minus reference in percentage points. "
     "Where the interval contains the reference, the difference can be chance."),
    ("Linear, kNN",
     "Means over seeds of two more scores of the same 128-d latent: a linear classifier, and the vote of the 20 "
     "nearest training latents by cosine similarity."),
    ("Choosing",
     "Whatever is chosen (the epoch, the recipe) is chosen on validation images. "
     "The test set is read once, after the last step."),
    ("Minutes",
     "Mean wall time of a whole run, training and scoring."),
]

LIMITS = [
    "The interval covers the sampling of the test images, the standard deviation the seeds of training. Neither covers "
    "the choice of the validation split, which the recipes hold fixed.",
    "The references are single known accuracies without seeds or intervals of their own.",
    "MNIST and CIFAR-10 have been used to compare methods for many years; a small gain on their test sets need not "
    "carry over to new images.",
    "A t-SNE map shows neighbourhoods. It does not show distances between clusters, and it is no score.",
    "A record is checked for agreement with itself and with its arrays. That finds slips and careless edits; "
    "it does not prove that a run took place.",
]
